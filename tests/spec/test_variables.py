"""Variables (SPEC, rule 4)."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.document.problem import InvalidValue
from layerkit.oci.platform import parse_platform
from layerkit.spec.model import Spec
from layerkit.spec.variables import expand

Load = Callable[..., Spec]
Refuse = Callable[..., list[tuple[str, str]]]

VARIABLES = {"TAG": "1.4", "EMPTY": "", "NOTHING": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a${TAG}b${TAG}", "a1.4b1.4"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NOTHING:-x}", "x"),
        ("${TAG:-x}", "1.4"),
        ("${TAG:?no}", "1.4"),
        ("${NOTHING:-}", ""),
        ("${NOTHING:-a:-b}", "a:-b"),
        ("${NOTHING:-${TAG}-${EMPTY:-y}}", "1.4-y"),
        ("$${TAG} $$ $$$$", "${TAG} $ $$"),
        ("$$${TAG}", "$1.4"),
        ("cost: 5$ $1 $(cmd) a$", "cost: 5$ $1 $(cmd) a$"),
    ],
)
def test_the_forms_are_those_of_compose(text: str, value: str) -> None:
    """Rule 1: "compose's variables (`${VAR}`, `${VAR:-x}`, `${VAR:?message}`, `$$`)"."""
    assert expand(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("${TGA}", "variable `TGA` is not declared", "did you mean `TAG`?"),
        ("${XYZW:-a}", "variable `XYZW` is not declared", "declare it under `vars:`"),
        ("${NOTHING}", "variable `NOTHING` has no value", "write ${NOTHING:-default}, or give it one"),
        (
            "${EMPTY:?set ${TAG}}",
            "variable `EMPTY`: set 1.4",
            "give it a value with --var EMPTY=VALUE",
        ),
        ("${EMPTY:?}", "variable `EMPTY`: it must have a value", "give it a value with --var EMPTY=VALUE"),
        (
            "$TAG",
            "`$TAG` could be a variable or mere text",
            "write ${TAG} for the variable, $$TAG for the text",
        ),
        ("a${TAG", "`${` is not closed", "put a } after the name, or write $${ for the text"),
        (
            "${TAG+x}",
            "'${TAG+x}' is not understood",
            "known are ${VAR}, ${VAR:-default} and ${VAR:?message}; write $${ for the text",
        ),
    ],
)
def test_what_cannot_be_substituted_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        expand(text, VARIABLES)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_defaults_within_defaults_have_an_end() -> None:
    with pytest.raises(InvalidValue, match="more than 8 defaults within defaults"):
        expand("${EMPTY:-" * 5000 + "}" * 5000, VARIABLES)


@given(st.text("${}:-?TAGEMPY x"))
def test_any_text_is_expanded_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        expand(text, VARIABLES)


@given(st.text())
def test_a_doubled_dollar_sign_protects_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text


def test_declared_variables_are_substituted_in_every_value(load: Load) -> None:
    """Rule 4: "Only variables declared under `vars:` are visible, plus `arch os variant platform`"."""
    spec = load(
        "vars: {TAG: dev, PORT: 80}\nfrom: 'a:${TAG}-${arch}'\n"
        "config: {expose: ['${PORT}'], env: {P: '${os}/${arch}/${variant} ${platform}', '${TAG}': x}}",
        platform=parse_platform("linux/arm/v7"),
    )
    assert str(spec.locate("config", "env", "P")) == "layerkit.yaml:3:40"
    assert spec.config.expose == ("80/tcp",)
    assert spec.config.env == {"P": "linux/arm/v7 linux/arm/v7", "${TAG}": "x"}
    assert str(spec.base).endswith("tag='dev-arm', digest=None))")


def test_the_command_line_overrides_what_is_declared(load: Load) -> None:
    spec = load("vars: {A: x, B: '${A}-${arch}'}\nfrom: scratch\nlabels: {l: '${B}'}", variables={"A": "y"})
    assert spec.config.labels == {"l": "y-amd64"}


def test_a_value_cannot_bring_structure_with_it(load: Load) -> None:
    """Rule 4: "values cannot inject structure"."""
    spec = load("vars: {A: x}\nfrom: scratch\nlabels: {l: '${A}', m: '${A}'}", variables={"A": "}, b: [c]\nd: $A null"})
    assert spec.config.labels == dict.fromkeys(["l", "m"], "}, b: [c]\nd: $A null")


def test_a_substituted_null_is_text(load: Load) -> None:
    assert load("vars: {A: 'null'}\nfrom: scratch\nlabels: {l: '${A}'}").config.labels == {"l": "null"}


def test_source_date_epoch_is_visible_and_wins_over_the_timestamp(load: Load) -> None:
    """Rule 4: "and `SOURCE_DATE_EPOCH`"; `timestamp`: "SOURCE_DATE_EPOCH wins"."""
    spec = load("from: scratch\ntimestamp: 5\nlabels: {t: '${SOURCE_DATE_EPOCH}'}", source_date_epoch=1700000000)
    assert (spec.timestamp, spec.config.labels) == (1700000000, {"t": "1700000000"})
    spec = load("from: scratch\ntimestamp: 5\nlabels: {t: '${SOURCE_DATE_EPOCH:-unset}'}")
    assert (spec.timestamp, spec.config.labels) == (5, {"t": "unset"})


@pytest.mark.parametrize(
    ("text", "variables", "problem", "hint"),
    [
        (
            "from: scratch\nvars: {TAG: x}",
            {"TGA": "y"},
            "2:1: --var TGA: no variable of this name is declared",
            "did you mean `TAG`?",
        ),
        ("from: scratch", {"A": "b"}, "1:1: --var A: no variable of this name is declared", "declare it under `vars:`"),
        (
            "from: scratch",
            {"arch": "b"},
            "1:1: --var arch: `arch` is given by layerkit",
            "remove it from the command line",
        ),
        ("from: scratch\nvars: {arch: x}", {}, "2:8: `arch` is given by layerkit", "choose another name"),
        (
            "from: scratch\nvars: {1a: x}",
            {},
            "2:8: '1a' cannot be the name of a variable: expected letters, digits and _",
            "",
        ),
        ("from: scratch\nvars: {A: [x]}", {}, "2:11: expected text, found a list", ""),
        ("from: scratch\nvars: [A]", {}, "2:7: expected a map, found a list", "write `NAME: value`"),
        ("from: scratch\nvars:", {}, "2:1: `vars` has no value", "give it one, or remove the key"),
        (
            "from: scratch\nvars: {A: '${B}', B: x}",
            {},
            "2:11: variable `B` is not declared",
            "a value under `vars:` may use those above it",
        ),
        (
            "from: 'a:${V:?set V}'\nvars: {V: }",
            {},
            "1:7: variable `V`: set V",
            "give it a value with --var V=VALUE",
        ),
    ],
)
def test_a_wrong_variable_is_refused_at_its_place(
    refuse: Refuse, text: str, variables: dict[str, str], problem: str, hint: str
) -> None:
    """Rule 4: "Only variables declared under `vars:` are visible"."""
    assert refuse(text, variables=variables) == [(problem, hint)]
