"""Examples in, a servable model out."""
