"""Building a bundle again from what it records, and comparing the bytes."""
