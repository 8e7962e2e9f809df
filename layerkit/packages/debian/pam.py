"""PAM: the common files of /etc/pam.d, made of templates and of the profiles that packages bring.

What `pam-auth-update` does on a new system: profiles that are on by default, the highest priority first. Source:
pam-auth-update(8), "PROFILES"; https://wiki.ubuntu.com/PAMConfigFrameworkSpec.
"""

import re
from dataclasses import dataclass
from typing import Final

from layerkit.packages.debian.control import decode
from layerkit.packages.debian.system import System

PROFILES: Final = "usr/share/pam-configs"
TEMPLATES: Final = "usr/share/pam"
_STATE: Final = "var/lib/pam"
_NO_MODULE: Final = "[default=1]\t\t\tpam_permit.so"
"""In the place of a primary block without modules: it jumps over the line that refuses all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    """A file of /etc/pam.d. `kind` begins its lines, `key` the fields of profiles, `block` marks of the template."""

    name: str
    kind: str
    key: str
    block: str
    interactive: bool = True


_STACKS: Final = (
    _Stack(name="auth", kind="auth", key="auth", block="auth"),
    _Stack(name="account", kind="account", key="account", block="account"),
    _Stack(name="password", kind="password", key="password", block="password"),
    _Stack(name="session", kind="session", key="session", block="session"),
    _Stack(name="session-noninteractive", kind="session", key="session", block="session_nonint", interactive=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    name: str
    fields: dict[str, list[str]]

    def value(self, field: str) -> str:
        return " ".join(self.fields.get(field, [])).strip()

    def lines(self, stack: _Stack, *, is_first: bool) -> list[str]:
        key = stack.key
        fields = [f"{key}-initial", key, f"{key}-final"] if is_first else [key, f"{key}-final"]
        found = next((self.fields[field] for field in fields if field in self.fields), [])
        return [line.strip() for line in found if line.strip()]


def install_pam(system: System) -> None:
    """Write the common files, where there are templates for them."""
    profiles = [_parse(name, decode(system.read(f"{PROFILES}/{name}"))) for name in system.names(PROFILES)]
    profiles.sort(key=lambda profile: (-_number(profile.value("priority")), profile.name))
    enabled = [profile for profile in profiles if profile.value("default") == "yes"]
    for stack in _STACKS:
        template = decode(system.read(f"{TEMPLATES}/common-{stack.name}"))
        if not template:
            continue
        chosen = [
            profile for profile in enabled if stack.interactive or profile.value("session-interactive-only") != "yes"
        ]
        saved: list[str] = []
        for part in ("primary", "additional"):
            block = "\n".join(_fill(stack, part, chosen, saved))
            template = template.replace(f"${stack.block}_{part}\n", f"{block}\n" if block else "")
        system.make_directory("etc/pam.d")
        system.write(f"etc/pam.d/common-{stack.name}", template.encode())
        system.make_directory(_STATE)
        system.write(f"{_STATE}/{stack.name}", "".join(f"{line}\n" for line in saved).encode())
    if system.is_directory(_STATE):
        system.write(f"{_STATE}/seen", "".join(f"{profile.name}\n" for profile in profiles).encode())


def _fill(stack: _Stack, part: str, profiles: list[_Profile], saved: list[str]) -> list[str]:
    """The lines of one block; what `pam-auth-update` remembers of them is added to `saved`."""
    modules: list[str] = []
    for profile in profiles:
        if profile.value(f"{stack.key}-type").lower() != part:
            continue
        lines = profile.lines(stack, is_first=not modules)
        if lines:
            saved += [f"Module: {profile.name}", *lines]
            modules += lines
    if part == "primary" and not modules:
        saved += ["Module: null", _NO_MODULE]
        modules.append(_NO_MODULE)
    count = len(modules)
    # To the end is a number of lines to jump over: those that follow, and of the first block the one that refuses.
    beyond = 1 if part == "primary" else 0
    return [f"{stack.kind}\t{_finish(line, count - n - 1 + beyond)}" for n, line in enumerate(modules)]


def _finish(line: str, to_the_end: int) -> str:
    line = re.sub(r"=end(?=[^a-z])", f"={to_the_end}", line)
    # `pam-auth-update`, which goes on with these files, parts a module and its arguments by a space, be there none.
    return f"{line} " if line.endswith(".so") and line != _NO_MODULE else line


def _parse(name: str, text: str) -> _Profile:
    fields: dict[str, list[str]] = {}
    field = ""
    for line in text.splitlines():
        if line[:1] in {" ", "\t"}:
            if field:
                fields[field].append(line)
            continue
        head, colon, value = line.partition(":")
        if colon:
            field = head.strip().lower()
            fields[field] = [value] if value.strip() else []
    return _Profile(name=name, fields=fields)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
