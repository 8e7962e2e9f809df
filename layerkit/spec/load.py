"""Loading: a file to a SpecFile."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.oci.platform import Platform
from layerkit.spec.kept import Files, KeptFile, make_key
from layerkit.spec.model import SpecFile

DEFAULT_FILE: Final = "layerkit.yaml"
_MAX_SIZE: Final = 4 * 2**20


def load_file(
    path: Path | str,
    *,
    variables: Mapping[str, str] = MappingProxyType({}),
    default_platform: Platform,
    platforms: Sequence[Platform] = (),
    source_date_epoch: int | None = None,
    files: Files | None = None,
    program: str = "",
) -> SpecFile:
    """The images that the file at `path` describes.

    `variables` are the values of `--var`. `platforms` are those of `--platform`, which replace an image's own;
    `default_platform` is for an image that names none. Each in turn gives `${arch}`, `${os}`, `${variant}` and
    `${platform}`. `source_date_epoch`, in seconds, is the environment's SOURCE_DATE_EPOCH, and wins over `timestamp:`.
    What was loaded before is found again in `files`, as far as the same `program` has loaded it.

    Raises DocumentError with all that is wrong with the file, or that there is none.
    """
    path = Path(path)
    context = path.parent.resolve()
    platforms = tuple(dict.fromkeys(platforms))
    content = _read(path)
    key = make_key(
        content,
        program,
        str(path),
        str(context),
        sorted(variables.items()),
        default_platform,
        platforms,
        source_date_epoch,
    )
    commit_time = cache(lambda: _ask_git(context))
    kept = KeptFile(files, key, str(path), commit_time) if files is not None else None
    known = kept.find() if kept is not None else None
    if known is not None:
        return known
    # Not at the top: yaml and pydantic take 0.1 s, and a file that is known or missing needs none of it.
    from layerkit.document.parse import parse_document  # noqa: PLC0415
    from layerkit.spec.assemble import Assembly  # noqa: PLC0415

    file = Assembly(
        document=parse_document(content, str(path)),
        path=path,
        context=context,
        variables=variables,
        default_platform=default_platform,
        platforms=platforms,
        source_date_epoch=source_date_epoch,
        commit_time=commit_time,
    ).assemble()
    if kept is not None:
        kept.keep(file, asks_git=commit_time.cache_info().misses > 0)
    return file


def _ask_git(folder: Path) -> int:
    from layerkit.spec.timestamp import read_commit_time  # noqa: PLC0415 - few specs ask it

    return read_commit_time(folder)


def _read(path: Path) -> bytes:
    place = Position(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise DocumentError(
            [Problem(place, "there is no such file", hint="name the build spec with -f FILE")]
        ) from None
    except IsADirectoryError:
        hint = f"name the file: -f {path / DEFAULT_FILE}"
        raise DocumentError([Problem(place, "this is a folder, not a build spec", hint=hint)]) from None
    except OSError as error:
        raise DocumentError([Problem(place, f"cannot be read: {error.strerror}")]) from error
    if len(content) > _MAX_SIZE:
        raise DocumentError([Problem(place, f"the file has more than {_MAX_SIZE} bytes, no build spec has that many")])
    return content
