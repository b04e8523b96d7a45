"""Recorded logs as streams of what was shown and what came of it, one reader a file."""
