"""The entries of the golden layers: one of each kind, and of each form that a header takes."""

from typing import Final

from layerkit.layer.entry import MAX_ID, Entry, EntryType, opaque, whiteout
from layerkit.layer.source import BytesSource

SCRIPT: Final = b"#!/bin/sh\nexec sleep infinity\n"
CAPABILITY: Final = bytes.fromhex("0100000200040000000000000000000000000000")

FIXTURE: Final = [
    Entry(path="tmp", type=EntryType.DIRECTORY, mode=0o1777),
    Entry(path="usr/bin/tool", type=EntryType.FILE, mode=0o755, source=BytesSource(SCRIPT)),
    Entry(path="usr/bin/alias", type=EntryType.HARDLINK, mode=0o755, link="usr/bin/tool"),
    Entry(path="usr/bin/python", type=EntryType.SYMLINK, mode=0o777, link="../lib/python3/python"),
    Entry(
        path="usr/bin/serve",
        type=EntryType.FILE,
        mode=0o755,
        xattrs=(("security.capability", CAPABILITY), ("user.note", b"a=b\n")),
        source=BytesSource(b"\x7fELF" + bytes(5000)),
    ),
    Entry(path="srv/" + "d" * 120, type=EntryType.DIRECTORY, mode=0o700, uid=2097152, gid=MAX_ID),
    Entry(path="srv/été/日本.txt", type=EntryType.FILE, mode=0o644, mtime=1_700_000_000, source=BytesSource(b"hi\n")),
    Entry(path="p" * 150 + "/" + "n" * 99, type=EntryType.FILE, mode=0o600, source=BytesSource(b"")),
    Entry(path="dev/null", type=EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3)),
    Entry(path="run/pipe", type=EntryType.FIFO, mode=0o600, uid=5),
    Entry(
        path="var/lib/big",
        type=EntryType.FILE,
        mode=0o644,
        source=BytesSource(b"".join(b"%d\n" % i for i in range(400_000))),
    ),
    whiteout("etc/motd"),
    opaque("opt"),
]
