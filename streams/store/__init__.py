"""The row store: embedding rows, bundles and generations of a model in Redis."""
