"""The event log: one protocol, Kafka and an embedded log behind it."""
