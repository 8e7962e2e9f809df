"""A file and the environment to a Configuration.

Of the environment a variable `LAYERKIT_REGISTRY_<KEY>` counts, like LAYERKIT_REGISTRY_LOG_FORMAT for `log: {format: }`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.document.tree import Document, KeyPath
from layerkit.document.types import Section
from layerkit.document.validate import validate
from registry.config.shape import (
    Anonymous,
    AuthSection,
    ConfigurationFile,
    RedirectSection,
    RuleSection,
    TlsSection,
    section_of,
)
from registry.config.values import Address, Configuration, Limits, Redirect, Tls, Users
from registry.policy.access import ALL_ACTIONS, ANONYMOUS, EVERY_REPOSITORY, SIGNED_IN, Access, Action, Rule

_PREFIX: Final = "LAYERKIT_REGISTRY_"
_ENVIRONMENT: Final = f"the environment, {_PREFIX}*"

AnySection = TypeVar("AnySection", bound=Section)
Tree = dict[str, "Tree | str"]


def load_configuration(
    path: Path | None,
    *,
    environment: Mapping[str, str],
    default_root: Path,
    root: Path | None = None,
    listen: Address | None = None,
    workers: int | None = None,
) -> Configuration:
    """The configuration of the file at `path`, if any, with the environment and then the arguments above it.

    A relative path in the file is relative to the file's folder. Raises DocumentError.
    """
    document = parse_document("{}" if path is None else _read(path), str(path or _ENVIRONMENT))
    file = validate(document, ConfigurationFile)
    above = _from_environment(environment)
    merged = _merge(_anchor(file, path.parent if path else Path()), _anchor(above, Path()))
    problems = list(_find_gaps(merged, document))
    if problems:
        raise DocumentError(problems)
    configuration = Configuration(
        root=(merged.root or default_root).absolute(),
        listen=merged.listen or Address(),
        workers=merged.workers,
        drain_seconds=merged.drain.total_seconds(),
        metrics=merged.metrics,
        log_format=merged.log.format,
        log_level=merged.log.level,
        warnings=merged.warnings,
        trusted_proxies=merged.trusted_proxies,
        public_url=merged.public_url or "",
        users=_to_users(merged.auth) if merged.auth else None,
        tls=_to_tls(merged.tls) if merged.tls else None,
        redirect=_to_redirect(merged.redirect) if merged.redirect else None,
        limits=Limits(requests=merged.limits.requests, uploads=merged.limits.uploads),
        upload_seconds=int(merged.uploads.expire.total_seconds()),
    )
    return replace(
        configuration,
        root=root.absolute() if root else configuration.root,
        listen=listen or configuration.listen,
        workers=workers or configuration.workers,
    )


def _find_gaps(merged: ConfigurationFile, document: Document) -> Iterator[Problem]:
    """What only the file and the environment together tell."""

    def problem(path: KeyPath, message: str, hint: str = "", *, key: bool = False) -> Problem:
        return document.problem(document.locate(path, key=key), message, hint)

    for name in ("tls", "redirect"):
        section: Section | None = getattr(merged, name)
        needed = ("certificate", "key") if name == "tls" else ("url", "secret")
        for key in needed:
            if section is not None and getattr(section, key) is None:
                yield problem((name,), f"missing key `{key}` in {name}", key=True)
    if merged.auth is None:
        return
    for number, rule in enumerate(merged.auth.access or ()):
        place = ("auth", "access", number)
        if not rule.users and not rule.groups:
            hint = f'users: ["{SIGNED_IN}"] is everybody who signs in, [{ANONYMOUS}] who does not'
            yield problem(place, "the rule is for nobody: it needs `users` or `groups`", hint)
        for index, group in enumerate(rule.groups):
            if group not in merged.auth.groups:
                known = ", ".join(merged.auth.groups) or "none"
                yield problem((*place, "groups", index), f"there is no group {group!r}", f"groups in `auth`: {known}")


def _to_users(section: AuthSection) -> Users:
    if section.access is None:
        rules = [Rule(repository=EVERY_REPOSITORY, users=frozenset({SIGNED_IN}), actions=ALL_ACTIONS)]
    else:
        rules = [_to_rule(rule) for rule in section.access]
    if section.anonymous is Anonymous.PULL:
        pull = frozenset({Action.PULL})
        rules.append(Rule(repository=EVERY_REPOSITORY, users=frozenset({ANONYMOUS}), actions=pull))
    groups = {name: frozenset(members) for name, members in section.groups.items()}
    return Users(
        access=Access(tuple(rules), groups),
        htpasswd=section.htpasswd,
        service=section.token.service,
        token_seconds=int(section.token.lifetime.total_seconds()),
        refresh_seconds=int(section.token.refresh.total_seconds()),
    )


def _to_rule(section: RuleSection) -> Rule:
    return Rule(
        repository=section.repository,
        users=frozenset(section.users),
        groups=frozenset(section.groups),
        actions=frozenset[Action]().union(*section.actions),
    )


def _to_tls(section: TlsSection) -> Tls:
    assert section.certificate is not None  # noqa: S101 - see _find_gaps
    assert section.key is not None  # noqa: S101
    return Tls(certificate=section.certificate, key=section.key, client_ca=section.client_ca)


def _to_redirect(section: RedirectSection) -> Redirect:
    assert section.url is not None  # noqa: S101 - see _find_gaps
    assert section.secret is not None  # noqa: S101
    seconds = int(section.expires.total_seconds())
    return Redirect(url=section.url, secret=section.secret, seconds=seconds, clients=section.clients)


def _from_environment(environment: Mapping[str, str]) -> ConfigurationFile:
    """The variables as a file with the same keys, so that they are checked, and told, in the same way."""
    tree: Tree = {}
    for name, value in sorted(environment.items()):
        if name.startswith(_PREFIX) and value:
            _plant(tree, name.removeprefix(_PREFIX).lower(), value, ConfigurationFile)
    text = "\n".join(_render(tree))
    return validate(parse_document(text, _ENVIRONMENT), ConfigurationFile) if text else ConfigurationFile()


def _plant(tree: Tree, name: str, value: str, section: type[Section]) -> None:
    """`log_format` becomes `format` below `log`. A list has commas between its items."""
    for field, info in section.model_fields.items():
        key = info.alias or field
        inner = section_of(info.annotation)
        if inner is not None and name.startswith(f"{key}_"):
            below = tree.setdefault(key, {})
            if isinstance(below, dict):
                return _plant(below, name.removeprefix(f"{key}_"), value, inner)
        if name == key and get_origin(info.annotation) is tuple:
            value = f"[{', '.join(_quote(part.strip()) for part in value.split(','))}]"
            tree[key] = value
            return None
    tree[name] = _quote(value)
    return None


def _render(tree: Tree, indent: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, str):
            yield f"{indent}{key}: {value}"
        else:
            yield f"{indent}{key}:"
            yield from _render(value, f"{indent}  ")


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _anchor(section: AnySection, base: Path) -> AnySection:
    """The same with its relative paths relative to `base`."""
    changes: dict[str, Any] = {}
    for name in section.model_fields_set:
        match getattr(section, name):
            case Path() as path:
                changes[name] = base / path
            case Section() as inner:
                changes[name] = _anchor(inner, base)
    return section.model_copy(update=changes)


def _merge(file: AnySection, above: AnySection) -> AnySection:
    changes: dict[str, Any] = {}
    for name in above.model_fields_set:
        low, high = getattr(file, name), getattr(above, name)
        changes[name] = _merge(low, high) if isinstance(low, Section) and isinstance(high, Section) else high
    return file.model_copy(update=changes)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(Position(str(path)), f"cannot be read: {error.strerror}")]) from error
