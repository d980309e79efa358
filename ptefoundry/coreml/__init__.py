"""CoreML programs: the base and all adapters as methods of one `.pte`."""
