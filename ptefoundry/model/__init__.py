"""The eager model, its reference and the comparison of the two."""
