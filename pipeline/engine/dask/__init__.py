"""Workers on other machines, in a Dask cluster. Only this package imports `distributed`."""
