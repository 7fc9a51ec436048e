"""Tests of the transport, against peers that say any bytes."""
