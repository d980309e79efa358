"""Base models: getting them, reading them, and their canonical form."""
