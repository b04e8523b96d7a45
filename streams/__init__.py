"""Events in, labelled examples out."""
