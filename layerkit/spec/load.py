"""Loading: a file to a Spec."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.oci.platform import Platform
from layerkit.spec.model import Spec
from layerkit.spec.variables import substitute

DEFAULT_FILE: Final = "layerkit.yaml"


def load_spec(
    path: Path | str,
    *,
    variables: Mapping[str, str] = MappingProxyType({}),
    platform: Platform,
    source_date_epoch: int | None = None,
) -> Spec:
    """The image that the file at `path` describes.

    `variables` are the values of `--var`; `platform` gives `${arch}`, `${os}`, `${variant}` and `${platform}`;
    `source_date_epoch`, in seconds, is the environment's SOURCE_DATE_EPOCH, and wins over `timestamp:`.

    Raises DocumentError with all that is wrong with the file, or that there is none.
    """
    path = Path(path)
    document = parse_document(_read(path), str(path))
    given = {
        "arch": platform.architecture,
        "os": platform.os,
        "variant": platform.variant,
        "platform": str(platform),
        "SOURCE_DATE_EPOCH": None if source_date_epoch is None else str(source_date_epoch),
    }
    document = substitute(document, overrides=variables, given=given)
    # Not at the top: pydantic takes 0.1 s, and `layerkit push` or a missing file need none of it.
    from layerkit.spec.convert import convert  # noqa: PLC0415

    spec = convert(document, path)
    return spec if source_date_epoch is None else replace(spec, timestamp=source_date_epoch)


def _read(path: Path) -> bytes:
    place = Position(str(path))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DocumentError(
            [Problem(place, "there is no such file", hint="name the build spec with -f FILE")]
        ) from None
    except IsADirectoryError:
        hint = f"name the file: -f {path / DEFAULT_FILE}"
        raise DocumentError([Problem(place, "this is a folder, not a build spec", hint=hint)]) from None
    except OSError as error:
        raise DocumentError([Problem(place, f"cannot be read: {error.strerror}")]) from error
