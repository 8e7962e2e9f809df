"""Images as immutable values: append layers, set the config, and a new image comes out."""
