"""Copy container images between registries: expand rules, resolve manifests, transfer blobs."""

__version__ = "2.1.0"
