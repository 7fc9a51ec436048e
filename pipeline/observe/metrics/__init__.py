"""Metrics of a run for Prometheus: the catalogue, the figures, and the export."""
