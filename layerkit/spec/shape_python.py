"""The shape of a layer's `python:`: wheels, and the environment that they make."""

from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, PlainValidator, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import ListOf, Section
from layerkit.spec import python
from layerkit.spec.shape_types import parsed

_Extra: TypeAlias = Annotated[str, parsed(python.parse_extra)]

_INDEX: Final = "wheels come from where pip and uv of this machine have been told: pip.conf, uv.toml, UV_INDEX"


def _as_word(value: object) -> object:
    """`false` and `no` mean the same here as leaving it out."""
    if value == "false":
        return "none"
    if value == "true":
        raise InvalidValue("byte code is made in one way only", "write unchecked-hash")
    return value


class PythonShape(Section):
    short_form: ClassVar = {"type": "string", "description": "A requirements.txt, uv.lock or pylock.toml."}
    other_words: ClassVar = {
        "requirement": "requirements",
        "file": "requirements",
        "lockfile": "lock",
        "lock_file": "lock",
        "venv": "into",
        "dest": "into",
        "destination": "into",
        "target": "into",
        "path": "into",
        "python": "interpreter",
        "executable": "interpreter",
        "python_version": "version",
        "extra": "extras",
        "group": "groups",
        "dependency_groups": "groups",
        "bytecode": "compile",
        "pyc": "compile",
        "package": "project",
        "root": "project",
    }
    elsewhere: ClassVar = {
        "owner": "give the owner to the layer: {owner: ..., python: ...}",
        "packages": "name what you want in a requirements.txt",
        "index": _INDEX,
        "index_url": _INDEX,
        "find_links": _INDEX,
    }

    requirements: Annotated[str, parsed(python.parse_file)] | None = None
    """A requirements.txt in the folder of this file, with hashes or without; or a pyproject.toml. uv resolves it."""
    lock: Annotated[str, parsed(python.parse_lock)] | None = None
    """A uv.lock or pylock.toml in the folder of this file, in the place of `requirements`."""
    into: Annotated[str, parsed(python.parse_into, "^/")] = "/opt/venv"
    """The folder of the environment, /opt/venv by default."""
    interpreter: Annotated[str, parsed(python.parse_interpreter, "^/")] = "/usr/bin/python3"
    """The interpreter of the image, /usr/bin/python3 by default."""
    version: Annotated[str, PlainValidator(python.parse_version, json_schema_input_type=float | str)] | None = None
    """The interpreter's version, like `3.13`. By default what is in the image tells it."""
    extras: ListOf[_Extra] = ()
    """Extras of the project to install too."""
    groups: ListOf[_Extra] | None = None
    """Groups of dependencies to install too. By default none of a uv.lock, and those that a pylock.toml takes."""
    project: Annotated[str, PlainValidator(python.parse_project, json_schema_input_type=bool | str)] = ""
    """`true` to install the project of the lock as well, or its folder. It has to be pure Python."""
    compile: Annotated[
        Literal["none", "unchecked-hash"],
        BeforeValidator(_as_word, json_schema_input_type=bool | Literal["none", "unchecked-hash"]),
    ] = "none"
    """`unchecked-hash` for byte code, which needs an interpreter of the same version on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        if isinstance(value, str):
            return {"lock" if python.is_lock(value) else "requirements": value}
        if isinstance(value, list):
            raise InvalidValue(
                f"expected the name of a file or a map, found {describe(value)}", "name a requirements.txt"
            )
        return value

    @model_validator(mode="after")
    def _names_wheels(self) -> Self:
        if self.requirements is not None and self.lock is not None:
            raise InvalidValue("expected `requirements` or `lock`, found both", "remove one of them")
        if self.requirements is None and self.lock is None and not self.project:
            raise InvalidValue("`python` names no wheels", "give it `requirements: requirements.txt`, or a `lock`")
        is_of_a_project = self.lock is not None or (self.requirements or "x.toml").endswith(".toml")
        if (self.extras or self.groups) and not is_of_a_project:
            raise InvalidValue(
                "`extras` and `groups` are those of a project, and a requirements.txt is of none",
                "write them into that file, like name[extra]",
            )
        return self
