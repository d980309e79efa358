"""The stages of the build graph, one module each."""
