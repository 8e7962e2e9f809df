"""What packages say of their licences, as SPDX expressions."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layerkit.sbom.licenses import license_of_copyright, license_of_metadata, normalize

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"


def of_copyright(*names: str) -> str:
    parts = "".join(f"\nFiles: {number}/*\nCopyright: somebody\nLicense: {name}\n" for number, name in enumerate(names))
    return license_of_copyright(f"{HEAD}{parts}".encode())


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        (["Expat"], "MIT"),
        (["GPL-2+"], "GPL-2.0-or-later"),
        (["GPL-2"], "GPL-2.0-only"),
        (["LGPL-2.1+", "GPL-2+", "GPL-2+"], "GPL-2.0-or-later AND LGPL-2.1-or-later"),
        (["GPL-1+ or Artistic"], "GPL-1.0-or-later OR Artistic-1.0-Perl"),
        (["GPL-1+ or Artistic, and Expat"], "(GPL-1.0-or-later OR Artistic-1.0-Perl) AND MIT"),
        (["Apache-2.0 or Expat", "Zlib"], "(Apache-2.0 OR MIT) AND Zlib"),
        (["GFDL-1.3+"], "GFDL-1.3-or-later"),
        (["Expat", "our-own-words"], ""),
        (["GPL-3+ with Bison exception"], ""),
        (["Expat, Zlib"], ""),
        ([], ""),
    ],
    ids=lambda value: None,
)
def test_the_parts_of_a_debian_package(names: list[str], expression: str) -> None:
    assert of_copyright(*names) == expression


def test_the_text_of_a_licence_puts_nothing_under_it() -> None:
    text = f"{HEAD}\nFiles: *\nCopyright: x\nLicense: Expat\n\nLicense: GPL-2+\n The text that others refer to.\n"
    assert license_of_copyright(text.encode()) == "MIT"


def test_free_text_says_nothing_that_is_clear() -> None:
    assert license_of_copyright(b"This is under the GPL-2, mostly.\nLicense: MIT\n") == ""


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ("License-Expression: Apache-2.0 OR BSD-3-Clause", "Apache-2.0 OR BSD-3-Clause"),
        ("License-Expression: mit", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: Apache 2", "Apache-2.0"),
        ("License: BSD-3-Clause", "BSD-3-Clause"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", ""),
        (
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: Apache Software License",
            "",
        ),
        ("License: see LICENSE", ""),
        ("License-Expression: ()", ""),
        ("License: MIT AND ()", ""),
        ("", ""),
    ],
    ids=lambda value: None,
)
def test_the_metadata_of_a_python_package(fields: str, expression: str) -> None:
    raw = f"Metadata-Version: 2.4\nName: x\nVersion: 1\n{fields}\n\nLicense: Zlib\n"
    assert license_of_metadata(raw.encode()) == expression


@example("()")
@given(st.text(max_size=60) | st.text(alphabet="()MITANDORWH -+", max_size=30))
def test_whatever_stands_there_is_an_expression_or_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    of_copyright(text)
    license_of_metadata(f"License: {text}\n\n".encode(errors="replace"))
