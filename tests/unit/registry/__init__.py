"""Tests of the registry protocol, against a registry that misbehaves on command."""
