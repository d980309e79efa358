"""Stores: places that hold a registry's objects."""
