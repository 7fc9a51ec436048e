"""Real registries, real images and independent witnesses, for tests, the demo and the benchmark.

Nothing here imports `pipeline`: what the program did is judged by Debian's tools and by plain http.client.
"""
