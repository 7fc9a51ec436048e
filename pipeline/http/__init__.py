"""Transport: connections and their pools, TLS, proxies, deadlines, and which URL may follow which."""
