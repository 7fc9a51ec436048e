"""A scripted registry: a real HTTP server on loopback that behaves well, badly, or as scripted."""
