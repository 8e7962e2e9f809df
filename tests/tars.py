"""Tars that no program would write: of raw headers, their checksums right."""


def header(name: bytes = b"a", flag: bytes = b"0", size: bytes = b"00000000000\0", **fields: bytes) -> bytes:
    """A ustar header of raw fields, its checksum right."""
    places = {"mode": 100, "uid": 108, "gid": 116, "mtime": 136, "link": 157, "magic": 257, "major": 329, "prefix": 345}
    block = bytearray(512)
    fields = {"magic": b"ustar\x0000", **fields}
    block[: len(name)] = name
    block[124:136] = size
    block[156:157] = flag
    for key, value in fields.items():
        block[places[key] : places[key] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def with_pax(content: bytes, *rest: bytes, flag: bytes = b"x") -> bytes:
    """Records, and the entries that they are of: a file by default."""
    pax = header(b"pax", flag, b"%011o\0" % len(content)) + content + bytes(-len(content) % 512)
    return pax + (b"".join(rest) or header())


def record(key: str, value: str | bytes) -> bytes:
    """A PAX record, its length counting its own digits."""
    value = value.encode() if isinstance(value, str) else value
    body = b" " + key.encode() + b"=" + value + b"\n"
    size = len(body) + len(str(len(body)))
    return b"%d" % (len(body) + len(str(size))) + body
