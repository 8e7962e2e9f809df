"""Capabilities of a file, as the kernel keeps them in `security.capability`.

Revision 2: revision 3 adds the user who is root of a namespace, which an image does not know. Sources:
linux/capability.h, struct vfs_cap_data; LAYERS, item 22. Pure.
"""

import struct
from typing import Final

from layerkit.spec.capabilities import Capabilities

_REVISION_2: Final = 0x02000000
_REVISION_3: Final = 0x03000000
_REVISION_MASK: Final = 0xFF000000
_EFFECTIVE: Final = 0x000001
_SIZE_2: Final = 20
_SIZE_3: Final = 24


def encode_capabilities(capabilities: Capabilities) -> bytes:
    """The 20 bytes of revision 2: magic and flags, then permitted and inheritable, the lower 32 of each first."""
    permitted, inheritable = capabilities.permitted, capabilities.inheritable
    mask = 2**32 - 1
    return struct.pack(
        "<5I",
        _REVISION_2 | (_EFFECTIVE if capabilities.effective else 0),
        permitted & mask,
        inheritable & mask,
        permitted >> 32,
        inheritable >> 32,
    )


def to_revision_2(value: bytes) -> bytes | None:
    """The capabilities of another layer or archive as revision 2; None for what is neither 2 nor 3."""
    if len(value) < 4:
        return None
    magic = int.from_bytes(value[:4], "little")
    revision = magic & _REVISION_MASK
    if revision == _REVISION_2 and len(value) == _SIZE_2:
        return value
    if revision == _REVISION_3 and len(value) == _SIZE_3:
        return ((magic & ~_REVISION_MASK) | _REVISION_2).to_bytes(4, "little") + value[4:_SIZE_2]
    return None
