"""The vocabulary does no I/O: nothing of an event loop, a network or a file system comes with it."""

import json
import pkgutil
import subprocess
import sys

import pytest

import layerkit.oci

MODULES = sorted(f"layerkit.oci.{module.name}" for module in pkgutil.iter_modules(layerkit.oci.__path__))

# `os` and `io` are in every interpreter before the first import.
FORBIDDEN = {
    "_socket",
    "aiohttp",
    "apsw",
    "asyncio",
    "click",
    "cryptography",
    "http",
    "multiprocessing",
    "pathlib",
    "pydantic",
    "rich",
    "selectors",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "yaml",
    "zlib_ng",
    "zstandard",
}

PROGRAM = """
import importlib, json, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported_by(module: str, *, after: tuple[str, ...] = ()) -> set[str]:
    """What importing `module` into a fresh interpreter adds to its modules, where it has those of `after` already."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, module, *after], check=True, capture_output=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_vocabulary_brings_no_io_and_nothing_of_third_parties_beside_the_codec(module: str) -> None:
    added = imported_by(module, after=("msgspec",))
    assert added & FORBIDDEN == set()
    assert {name.partition(".")[0] for name in added} - {"layerkit"} - sys.stdlib_module_names == set()


def test_the_json_codec_brings_neither_an_event_loop_nor_a_network_library() -> None:
    """It does bring `typing_extensions`, and with that the interpreter's bare `_socket`: harmless, and not ours."""
    assert imported_by("msgspec") & FORBIDDEN <= {"_socket"}


def test_the_room_s_map_names_every_module() -> None:
    documented = layerkit.oci.__doc__ or ""
    missing = [name for name in MODULES if f"`{name.rpartition('.')[2]}`" not in documented]
    assert missing == []
