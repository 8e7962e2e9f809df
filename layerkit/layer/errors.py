"""What cannot become a layer."""


class LayerError(Exception):
    """The message names the path, what is wrong with it, and what to do."""
