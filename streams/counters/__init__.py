"""Online counters: decayed shows and outcomes of keys, as they stood at the time of each example."""
