"""Indexes: what pip and uv have been told (pip, "Configuration"; uv, "Configuration files")."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from layerkit.packages.python.indexes import Indexes, read_indexes, without_login

HOME = Path("/home/a")


def indexes(environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Indexes:
    texts = {Path(path): text for path, text in (files or {}).items()}
    return read_indexes(environ or {}, HOME, [Path("/spec/app")], texts.get)


def test_nothing_told_is_nothing_said() -> None:
    assert indexes() == Indexes(environment={}, options=(), logins={})


def test_what_pip_has_been_told_is_told_to_uv() -> None:
    files = {
        "/etc/pip.conf": "[global]\nindex-url = https://old.example.org/simple\ntimeout = 5\n",
        "/home/a/.config/pip/pip.conf": (
            "[global]\nindex_url = https://me:s%3Acret@pypi.example.org/simple\n"
            "extra-index-url =\n    https://b.example.org/simple\n    https://c.example.org:8443/simple\n"
            "[install]\nfind-links = /wheels https://d.example.org/wheels\ntrusted-host = b.example.org\n"
            "[freeze]\nno-index = true\n"
        ),
    }
    found = indexes({"PIP_CERT": "/etc/ca.pem"}, files)
    assert found.environment == {
        "UV_DEFAULT_INDEX": "https://me:s%3Acret@pypi.example.org/simple",
        "UV_INDEX": "https://b.example.org/simple https://c.example.org:8443/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,https://d.example.org/wheels",
        "UV_INSECURE_HOST": "b.example.org",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    assert found.logins == {"https://pypi.example.org": ("me", "s:cret")}


def test_the_environment_goes_before_files_and_the_users_file_before_the_machines() -> None:
    files = {"/etc/pip.conf": "[global]\nindex-url = https://a.example\nno-index = 1\n"}
    found = indexes({"PIP_INDEX_URL": "https://b.example", "PIP_NO_INDEX": "true"}, files)
    assert found.environment == {"UV_DEFAULT_INDEX": "https://b.example"}
    assert found.options == ("--no-index",)
    files["/home/a/.pip/pip.conf"] = "[global]\nindex-url = https://c.example\nno-index = 0\n"
    assert indexes({}, files).environment == {"UV_DEFAULT_INDEX": "https://c.example"}
    assert indexes({}, files).options == ()
    assert indexes({"PIP_CONFIG_FILE": "/dev/null"}, files).environment == {}
    assert indexes({}, {**files, "/home/a/.config/pip/pip.conf": "broken"}).environment


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"UV_INDEX": "https://uv.example"}, {}),
        ({}, {"/home/a/.config/uv/uv.toml": '[[index]]\nurl = "https://uv.example"\n'}),
        ({}, {"/etc/uv/uv.toml": '[pip]\nindex-url = "https://uv.example"\n'}),
        ({}, {"/spec/pyproject.toml": '[tool.uv]\nfind-links = ["w"]\n'}),
        ({"UV_CONFIG_FILE": "/uv"}, {"/uv": 'index-url = "https://uv.example"'}),
    ],
)
def test_where_uv_has_been_told_of_indexes_pip_has_no_say(environ: dict[str, str], files: dict[str, str]) -> None:
    pip = {"/etc/pip.conf": "[global]\nindex-url = https://pip.example\n"}
    assert indexes(environ, {**files, **pip}).environment == {}


def test_where_uv_has_been_told_of_other_things_pip_has_its_say() -> None:
    files = {
        "/etc/pip.conf": "[global]\nindex-url = https://pip.example\n",
        "/home/a/.config/uv/uv.toml": "offline = false\n",
        "/spec/app/pyproject.toml": '[project]\nname = "index"\nindex = 3\n[tool]\nuv = 3\n',
        "/spec/uv.toml": "no toml",
    }
    assert indexes({}, files).environment == {"UV_DEFAULT_INDEX": "https://pip.example"}
    assert indexes({"UV_NO_CONFIG": "1"}, {**files, "/etc/uv/uv.toml": 'index-url = "https://uv.example"'}).environment


def test_logins_are_those_of_urls_of_the_environment_and_of_netrc() -> None:
    files = {
        "/home/a/.netrc": (
            "machine n.example.org login me password secret\nmachine a.example.org\n  login you\n  password other\n"
            "machine nobody.example.org login me\ndefault login x password y\n"
        ),
        "/home/a/.config/uv/uv.toml": (
            '[[index]]\nname = "in-house"\nurl = "https://a.example.org/simple"\n'
            '[[index]]\nurl = "https://u:p@b.example.org:8080/simple"\n'
            '[[index]]\nurl = "http://n.example.org:81/simple"\n'
        ),
    }
    environ = {
        "UV_INDEX_IN_HOUSE_USERNAME": "team",
        "UV_INDEX_IN_HOUSE_PASSWORD": "p@ss/word",
        "UV_EXTRA_INDEX_URL": "https://e:f@c.example.org",
        "UV_INDEX": "named=https://g:h@d.example.org/simple https://[broken",
    }
    found = indexes(environ, files)
    assert found.logins == {
        "https://n.example.org": ("me", "secret"),
        "http://n.example.org:81": ("me", "secret"),
        "https://a.example.org": ("team", "p@ss/word"),
        "https://b.example.org:8080": ("u", "p"),
        "https://c.example.org": ("e", "f"),
        "https://d.example.org": ("g", "h"),
    }
    assert found.authorization("https://b.example.org:8080/files/a.whl") == "Basic dTpw"
    assert found.authorization("https://c.example.org:443/files/a.whl") == "Basic ZTpm"
    for other in ("http://b.example.org:8080/a", "https://b.example.org/a", "https://evil-b.example.org:8080/a", "x:["):
        assert found.authorization(other) == ""


def test_a_login_is_taken_off_a_url() -> None:
    assert without_login("https://me:secret@a.example:8080/b?c#d") == "https://a.example:8080/b?c#d"
    assert without_login("https://a.example/b@c") == "https://a.example/b@c"
