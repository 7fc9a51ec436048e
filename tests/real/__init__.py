"""Real registries, real images and independent witnesses, for tests, the demo and the benchmark.

Nothing here imports `pipeline`: Debian's tools and plain http.client check what the program did.
"""
