"""Limits: what a layer or an archive that others made may cost. Pure."""

from typing import Final

import msgspec

from layerkit.layer.errors import LayerError


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a layer may cost (LAYERS, S5). All are of bytes but `ratio` and `entries`.

    `ratio` of uncompressed to stored bytes holds once `ratio_after` are uncompressed. `extended_header` is one PAX or
    GNU header's content, `path` one path or link target, `xattrs` the names and values of one entry's, and `names` is
    all that is kept of all entries: paths, link targets and xattrs.
    """

    uncompressed_size: int = 64 * 2**30
    ratio: int = 1000
    ratio_after: int = 100 * 2**20
    entries: int = 5_000_000
    extended_header: int = 2**20
    path: int = 4096
    xattrs: int = 64 * 2**10
    names: int = 512 * 2**20


DEFAULT_LIMITS: Final = Limits()


def exceeds(limits: Limits, name: str, what: str) -> LayerError:
    """What to raise where `what` is above the limit of that name."""
    return LayerError(
        f"{what}, above the limit `{name}` of {getattr(limits, name)}: whoever trusts where it is from can raise that "
        f"(layerkit build --limit {name}=NUMBER)"
    )
