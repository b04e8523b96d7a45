"""The gateway: the HTTP API before the scorer."""
