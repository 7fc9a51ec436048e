"""HTTP transport: connections and pools, TLS, proxies, deadlines, and checks of redirect URLs."""
