"""The recommender learns on line: likes out of the examples in, gated versions out (docs/recommender-learning.md)."""
