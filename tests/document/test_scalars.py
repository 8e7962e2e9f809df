"""The types of values, and what they say to a value that is none of theirs."""

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.document import scalars
from layerkit.document.problem import InvalidValue


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (scalars.parse_text, "1.10", "1.10"),
        (scalars.parse_integer, "8000", 8000),
        (scalars.parse_integer, "-1", -1),
        (scalars.parse_integer, "0o755", 0o755),
        (scalars.parse_integer, "0xff", 255),
        (scalars.parse_boolean, "true", True),
        (scalars.parse_boolean, "FALSE", False),
        (scalars.parse_file_mode, "0755", 0o755),
        (scalars.parse_file_mode, "0o644", 0o644),
        (scalars.parse_file_mode, "04755", 0o4755),
        (scalars.parse_duration, "30s", timedelta(seconds=30)),
        (scalars.parse_duration, "1h30m", timedelta(minutes=90)),
        (scalars.parse_duration, "1.5s", timedelta(milliseconds=1500)),
        (scalars.parse_duration, "500ms", timedelta(milliseconds=500)),
        (scalars.parse_duration, "30d", timedelta(days=30)),
        (scalars.parse_byte_size, "512", 512),
        (scalars.parse_byte_size, "64MiB", 64 * 2**20),
        (scalars.parse_byte_size, "10 GB", 10 * 10**9),
        (scalars.parse_byte_size, "1.5KiB", 1536),
    ],
)
def test_a_text_becomes_its_value(parse: Callable[[object], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "message", "hint"),
    [
        (scalars.parse_text, None, "expected text, found nothing", 'write "" for an empty text'),
        (scalars.parse_text, ["a"], "expected text, found a list", ""),
        (scalars.parse_text, "a\0b", "'a\\x00b' contains a NUL character", ""),
        (scalars.parse_integer, "1_000", "expected a whole number, found '1_000'", "write 1000"),
        (
            scalars.parse_integer,
            "0755",
            "expected a whole number, found '0755'",
            "write 755, or 0o755 for an octal number",
        ),
        (scalars.parse_integer, "1.0", "expected a whole number, found '1.0'", ""),
        (scalars.parse_integer, {}, "expected text, found a map", ""),
        (scalars.parse_boolean, "yes", "expected true or false, found 'yes'", "write true"),
        (scalars.parse_boolean, "Off", "expected true or false, found 'Off'", "write false"),
        (scalars.parse_boolean, "maybe", "expected true or false, found 'maybe'", ""),
        (scalars.parse_file_mode, "755", "file mode 755 could be decimal or octal", 'write "0755"'),
        (scalars.parse_file_mode, "u+x", "expected an octal file mode, found 'u+x'", 'write it like "0755"'),
        (scalars.parse_file_mode, "0999", "expected an octal file mode, found '0999'", 'write it like "0755"'),
        (scalars.parse_duration, "30", "expected a duration with its unit, found '30'", "write 30s"),
        (
            scalars.parse_duration,
            "1 hour",
            "expected a duration with its unit, found '1 hour'",
            "write it like 30s, 500ms or 1h30m",
        ),
        (scalars.parse_duration, "9999999999999d", "duration '9999999999999d' is too long", ""),
        (
            scalars.parse_byte_size,
            "64M",
            "expected a size in bytes, found '64M'",
            "write 64MiB (powers of 1024) or 64MB (of 1000)",
        ),
        (
            scalars.parse_byte_size,
            "-1",
            "expected a size in bytes, found '-1'",
            "write it like 512, 64KiB, 10MB or 1.5GiB",
        ),
    ],
)
def test_a_wrong_value_is_told_what_to_be(
    parse: Callable[[object], object], value: object, message: str, hint: str
) -> None:
    """SPEC, rule 3: "Modes: `"0755"` or `0o755`; bare `755` is an error"."""
    with pytest.raises(InvalidValue) as caught:
        parse(value)
    assert (caught.value.message, caught.value.hint) == (message, hint)


PARSERS = [
    scalars.parse_text,
    scalars.parse_integer,
    scalars.parse_boolean,
    scalars.parse_file_mode,
    scalars.parse_duration,
    scalars.parse_byte_size,
]


@given(st.sampled_from(PARSERS), st.one_of(st.none(), st.text(), st.text("0123456789.smhdMiGBox_-+"), st.just([])))
def test_a_parser_answers_or_refuses_and_nothing_else(parse: Callable[[object], object], value: object) -> None:
    with contextlib.suppress(InvalidValue):
        parse(value)


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_every_whole_number_is_itself(number: int) -> None:
    assert scalars.parse_integer(str(number)) == number
