"""Adapters: read, checked against a base and converted, or refused with every reason."""
