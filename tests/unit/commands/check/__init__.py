"""Tests of `check`: its findings and their wording."""
