"""Checkpoints of a learner: written whole or not at all, beside the learning; the newest valid one is resumed."""
