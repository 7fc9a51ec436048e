"""Tests of the transport, against peers that send arbitrary bytes."""
