"""The registry protocol: sessions, authentication, requests, uploads."""
