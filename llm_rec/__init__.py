"""A second ranker, through a language model: the next station, behind the same ranker protocol."""
