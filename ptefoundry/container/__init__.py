"""Running builds in containers: the engine, the image, what is mounted."""
