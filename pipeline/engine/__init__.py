"""The supervisor, its workers and the queues between them."""
