"""Catalogues: the repositories of a registry, and the digests of their tags, by each vendor's interface."""
