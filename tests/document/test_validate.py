"""Validation: every error of a model at its place, in plain English."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError
from layerkit.document.types import Boolean, ByteSize, Integer, ListOf, MapOf, Section, StringList, Text, TextMap
from layerkit.document.validate import closest, validate


class Listener(Section):
    other_words: ClassVar = {"address": "host"}
    later: ClassVar = frozenset({"tls"})

    host: Text
    port: Annotated[Integer, Field(ge=1, le=65535)] = 5000


class Settings(Section):
    listeners: ListOf[Listener] = ()
    by_name: MapOf[Text, Listener] = Field(default_factory=dict)
    main: Listener | None = None
    level: Literal["debug", "warning"] = "warning"
    cache: ByteSize = 0
    debug: Boolean = False
    command: StringList = ()
    headers: TextMap = Field(default_factory=dict)


def refuse(text: str) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as caught:
        validate(parse_document(text, "r.yaml"), Settings)
    return [(str(problem), problem.hint) for problem in caught.value.problems]


def test_a_document_becomes_an_instance_of_its_model() -> None:
    document = parse_document("{listeners: [{host: a, port: '80'}], level: debug, cache: 1KiB, debug: true}", "r.yaml")
    settings = validate(document, Settings)
    assert settings.listeners == (Listener(host="a", port=80),)
    assert (settings.level, settings.cache, settings.debug) == ("debug", 1024, True)
    assert type(settings.listeners[0].host) is str


def test_all_problems_are_shown_at_once_in_the_order_of_the_file() -> None:
    text = """\
listeners:
  - {host: a, port: 0}
  - {port: 70000}
by_name:
  x: {hots: a}
main: {tls: yes, address: b}
level: warn
cache: 1K
debug: yes
command: run "this one"
headers: [A=1]
"""
    assert refuse(text) == [
        ("r.yaml:2:21: expected 1 or more, found '0'", ""),
        ("r.yaml:3:5: missing key `host` in listeners[1]", ""),
        ("r.yaml:3:12: expected 65535 or less, found '70000'", ""),
        ("r.yaml:5:7: unknown key 'hots' in by_name.x", "did you mean `host`?"),
        ("r.yaml:6:8: `tls` is not supported yet by this version", ""),
        ("r.yaml:6:18: unknown key 'address' in main", "did you mean `host`?"),
        ("r.yaml:7:8: expected 'debug' or 'warning', found 'warn'", "did you mean `warning`?"),
        ("r.yaml:8:8: expected a size in bytes, found '1K'", "write 1KiB (powers of 1024) or 1KB (of 1000)"),
        ("r.yaml:9:8: expected true or false, found 'yes'", "write true"),
        ("r.yaml:10:10: expected a list, found 'run \"this one\"'", 'write it as a list: ["run", "this one"]'),
        ("r.yaml:11:10: expected a map, found a list", 'write it as a map: {"A": "1"}'),
    ]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[]", "1:1: expected a map, found a list", ""),
        ("text", "1:1: expected a map, found 'text'", ""),
        ("main: text", "1:7: expected a map, found 'text'", ""),
        ("main:\n  port: 1", "1:1: missing key `host` in main", ""),
        ("main:", "1:1: `main` has no value", "give it one, or remove the key"),
        ("listeners: [{host: ~}]", "1:20: `host` has no value", "give it one, or remove the key"),
        ("listeners: [~]", "1:13: expected a map, found nothing", ""),
        ("listeners: {host: a}", "1:12: expected a list, found a map", "begin each item with `- `"),
        ("headers: {A: }", "1:11: expected text, found nothing", 'write "" for an empty text'),
        ("command: 'it''s'", '1:10: expected a list, found "it\'s"', 'write it as a list: ["it\'s"]'),
        ("headers: {'[key]': [a]}", "1:20: expected text, found a list", ""),
        ("level: xyz", "1:8: expected 'debug' or 'warning', found 'xyz'", ""),
        ("level: [a]", "1:8: expected 'debug' or 'warning', found a list", ""),
        (
            "zzz: 1",
            "1:1: unknown key 'zzz'",
            "known keys: by_name, cache, command, debug, headers, level, listeners, main",
        ),
        ('headers: {"a\\0": b}', "1:11: 'a\\x00' contains a NUL character", ""),
    ],
)
def test_one_wrong_value_gives_one_problem(text: str, problem: str, hint: str) -> None:
    assert refuse(text) == [(f"r.yaml:{problem}", hint)]


def test_no_message_speaks_the_language_of_the_validator() -> None:
    problems = refuse("{main: [], listeners: x, by_name: 1, level: {}, cache: [], debug: {}, command: {}, headers: x}")
    assert len(problems) == 8
    assert not [text for text, _ in problems for word in ("Input", "type=", "http", "Value error") if word in text]


@pytest.mark.parametrize("word", ["WorkingDir", "working-dir", "workingdir", "wrking_dir"])
def test_the_closest_word_is_found_across_spellings(word: str) -> None:
    assert closest(word, ["user", "working_dir"]) == "working_dir"


def test_no_word_is_close_to_anything() -> None:
    assert closest("zzz", ["user", "workdir"]) is None
