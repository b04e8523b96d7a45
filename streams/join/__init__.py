"""The join: impressions and feedback in, labelled examples out, exactly once."""
