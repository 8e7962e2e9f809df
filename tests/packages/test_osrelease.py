"""Which distribution a system says that it is."""

import pytest

from layerkit.packages.osrelease import parse_os_release, read_os_release


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('ID=debian\nVERSION_ID="12"\n', {"ID": "debian", "VERSION_ID": "12"}),
        ("# ID=a comment\n\nNAME='A B'\nno field\nURL=a=b\n", {"NAME": "A B", "URL": "a=b"}),
        ("", {}),
    ],
)
def test_fields_are_read_without_their_quotes(text: str, fields: dict[str, str]) -> None:
    assert parse_os_release(text) == fields


def test_the_file_of_the_machine_comes_before_that_of_the_distribution() -> None:
    files = {"etc/os-release": b"ID=ours\n", "usr/lib/os-release": b"ID=theirs\nVERSION_ID=1\n"}
    assert read_os_release(lambda path: files.get(path, b"")) == {"ID": "ours"}
    del files["etc/os-release"]
    assert read_os_release(lambda path: files.get(path, b"")) == {"ID": "theirs", "VERSION_ID": "1"}
    assert read_os_release(lambda _: b"") == {}
