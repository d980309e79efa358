"""The registry: immutable versions of bundles on a store that can only hold objects."""
