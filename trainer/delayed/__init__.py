"""Labels that change after they were learnt: importance weights for what is learnt before its click comes."""
