"""Recommenders that know no language: what the language model has to beat."""
