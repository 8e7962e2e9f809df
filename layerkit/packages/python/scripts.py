"""Scripts: what a wheel's entry points become, and whose interpreter they begin with. Pure.

Source: PyPA, "Entry points specification" and "Binary distribution format"; Linux, `fs/binfmt_script.c`.
"""

import configparser
import re
from dataclasses import dataclass
from typing import Final

from layerkit.oci.digest import shorten
from layerkit.packages.errors import PackageError

LONGEST_SHEBANG: Final = 127
"""Bytes of the first line, without its end, that every kernel in use reads."""

_GROUPS: Final = ("console_scripts", "gui_scripts")
_OBJECT: Final = re.compile(r"(?P<module>[^:\[\s]+)\s*(?::\s*(?P<attribute>[^:\[\s]+)\s*)?(?:\[[^\]]*\]\s*)?\Z")
_PLACEHOLDER: Final = re.compile(rb"#!pythonw?(?=[ \t\r\n]|\Z)")


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A program `name`, which calls `attribute` of `module`; both are dotted names."""

    name: str
    module: str
    attribute: str


def parse_entry_points(text: str) -> tuple[EntryPoint, ...]:
    """The programs of an `entry_points.txt`, by name. Raises PackageError for what is no such file, or names what no
    program can be."""
    parser = _Parser(delimiters=("=",), interpolation=None, strict=True)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise PackageError(f"its entry_points.txt cannot be read: {' '.join(str(error).split())}") from error
    found: dict[str, EntryPoint] = {}
    for group in _GROUPS:
        for name, value in parser.items(group) if parser.has_section(group) else ():
            found[name] = _parse_entry_point(name, value)
    return tuple(found[name] for name in sorted(found))


def make_launcher(point: EntryPoint, interpreter: str) -> bytes:
    """The program. Raises PackageError for an interpreter that the kernel would not find."""
    first, *_ = point.attribute.split(".")
    return (
        shebang(interpreter)
        + (
            "import sys\n\n"
            f"from {point.module} import {first}\n\n"
            # Whoever spawns processes imports the program anew in each.
            'if __name__ == "__main__":\n'
            f"    sys.exit({point.attribute}())\n"
        ).encode()
    )


def set_interpreter(script: bytes, interpreter: str) -> bytes:
    """The script with this interpreter where it begins with `#!python`, which stands for it; any other as it is."""
    found = _PLACEHOLDER.match(script)
    if found is None:
        return script
    line, end, rest = script.partition(b"\n")
    arguments = line[found.end() :].strip()
    first = shebang(interpreter, arguments.decode(errors="replace"))
    return first + rest if end else first


def shebang(interpreter: str, arguments: str = "") -> bytes:
    """The first line. Raises PackageError for one that the kernel would cut off or part."""
    line = f"#!{interpreter} {arguments}".rstrip().encode()
    if any(letter.isspace() for letter in interpreter):
        raise PackageError(
            f"programs cannot begin with #!{interpreter}: the kernel ends the name at the space; choose an `into` "
            "without one"
        )
    if len(line) > LONGEST_SHEBANG:
        raise PackageError(
            f"programs cannot begin with {shorten(line.decode())}: kernels read {LONGEST_SHEBANG} bytes of it, and "
            f"it has {len(line)}; choose a shorter `into`"
        )
    return line + b"\n"


class _Parser(configparser.ConfigParser):
    """Names of entry points are case sensitive."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _parse_entry_point(name: str, value: str) -> EntryPoint:
    if not name or name in {".", ".."} or "/" in name or "\\" in name or any(ord(letter) < 32 for letter in name):
        raise PackageError(f"its program {shorten(name)} has a name that no file can have")
    found = _OBJECT.match(value.strip())
    module, attribute = (found["module"], found["attribute"]) if found else ("", None)
    # What stands there becomes code.
    if attribute is None or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise PackageError(f"its program {shorten(name)} is {shorten(value)}, and not like `module:function`")
    return EntryPoint(name, module, attribute)
