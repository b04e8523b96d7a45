"""Measurements. Each module has `run(quick)`, which returns the JSON that `freshet bench NAME --json` prints."""
