"""Tests of pipeline.progress."""
