"""Bundles: manifest, assembly, smoke runs and inspection."""
