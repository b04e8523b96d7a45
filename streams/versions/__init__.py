"""Versions of a model: gated, appended to the log, written to Redis, in an order that bears a crash."""
