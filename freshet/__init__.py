"""The umbrella command, and the demo that runs every station at once."""
