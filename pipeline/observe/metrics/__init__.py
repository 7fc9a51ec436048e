"""Figures of a run for Prometheus: what is measured, and how it is handed out."""
