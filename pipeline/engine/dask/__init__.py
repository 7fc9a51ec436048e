"""Workers on other machines: a cluster of Dask's. The only package that imports `distributed`."""
