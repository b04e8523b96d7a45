"""The feature schemas that come with the data sets, as TOML files."""
