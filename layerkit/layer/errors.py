"""What cannot become a layer."""


class LayerError(Exception):
    """The message names the path, what is wrong with it, and what to do."""


def ends_early(where: str) -> LayerError:
    return LayerError(f"the content ends early, {where}: fetch it again")
