"""File capabilities: `cap_net_bind_service=ep` as sets, and these as the kernel keeps them in `security.capability`.

They are kept as revision 2: revision 3 adds the user who is root of a namespace, which an image does not know. Sources:
cap_from_text(3), capabilities(7); linux/capability.h, struct vfs_cap_data; LAYERS, item 22. Pure.
"""

import re
import struct
from typing import Final

import msgspec

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import shorten

CAPABILITY: Final = "security.capability"
"""The extended attribute that they are in."""

_REVISION_2: Final = 0x02000000
_REVISION_3: Final = 0x03000000
_REVISION_MASK: Final = 0xFF000000
_EFFECTIVE: Final = 0x000001
_SIZE_2: Final = 20
_SIZE_3: Final = 24

_NAMES: Final = (
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
)
NUMBERS: Final = {name: number for number, name in enumerate(_NAMES)}
"""Bit of each capability, by its name."""

_ALL: Final = (1 << len(_NAMES)) - 1
_CLAUSE: Final = re.compile(r"([A-Za-z0-9_,]*)((?:[-+=][eip]*)+)")
_ACTION: Final = re.compile(r"([-+=])([eip]*)")
_EXAMPLE: Final = "write it like cap_net_bind_service=ep"


class Capabilities(msgspec.Struct, frozen=True):
    """Bit masks, and whether the process has what it is permitted from the start."""

    permitted: int
    inheritable: int
    effective: bool


def parse_capabilities(value: object) -> Capabilities:
    """What `caps:` says. Raises InvalidValue, also for what no file can have."""
    text = parse_text(value)
    sets = dict.fromkeys("eip", 0)
    clauses = text.split()
    if not clauses:
        raise InvalidValue("expected capabilities, found an empty text", _EXAMPLE)
    for clause in clauses:
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise InvalidValue(f"expected capabilities, found {shorten(clause)}", _suggest(clause))
        mask = _parse_names(found[1])
        for operator, flags in _ACTION.findall(found[2]):
            if operator != "=" and not found[1]:
                raise InvalidValue(f"{shorten(clause)} names no capability", _EXAMPLE)
            for flag in "eip":
                if operator == "=":
                    sets[flag] &= ~mask
                if flag in flags:
                    sets[flag] = sets[flag] & ~mask if operator == "-" else sets[flag] | mask
    either = sets["p"] | sets["i"]
    if not either:
        raise InvalidValue(f"{shorten(text)} gives no capability", "write what is permitted, like cap_net_raw=ep")
    if sets["e"] and sets["e"] != either:
        # The kernel keeps a single bit for all of them (capabilities(7), "File capabilities").
        raise InvalidValue(
            f"{shorten(text)}: of a file either all of its capabilities are effective or none",
            "write e with each, or none",
        )
    return Capabilities(permitted=sets["p"], inheritable=sets["i"], effective=bool(sets["e"]))


def _parse_names(text: str) -> int:
    if not text:
        return _ALL
    mask = 0
    for name in text.lower().split(","):
        if name == "all":
            mask = _ALL
            continue
        if name not in NUMBERS:
            from layerkit.document.validate import closest  # noqa: PLC0415 - only a mistake needs it

            meant = f"cap_{name}" if f"cap_{name}" in NUMBERS else closest(name, NUMBERS)
            hint = f"did you mean `{meant}`?" if meant else "the names are those of capabilities(7)"
            raise InvalidValue(f"no capability is named {shorten(name)}", hint)
        mask |= 1 << NUMBERS[name]
    return mask


def _suggest(clause: str) -> str:
    name = clause.lower() if clause.lower().startswith("cap_") else f"cap_{clause.lower()}"
    return f"write {name}=ep" if name in NUMBERS else _EXAMPLE


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
