"""Tests of pipeline.observe.choice."""
