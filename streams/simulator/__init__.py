"""An ad market whose true click probabilities are known."""
