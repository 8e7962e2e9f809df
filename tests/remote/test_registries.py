"""registries.conf: the rules of its files, and where they lead."""

from pathlib import Path

import pytest

from layerkit.oci.errors import Denied, OCIError
from layerkit.oci.reference import parse_reference
from layerkit.remote.registries import Pulls, Registries, Route, load_registries, parse_registries

FILE = "/etc/containers/registries.conf"


def registries(text: str) -> Registries:
    return Registries({rule.prefix: rule for rule in parse_registries(text.encode(), FILE)})


def route(text: str, name: str) -> Route:
    return registries(text).route(parse_reference(name))


def located(text: str, name: str) -> str:
    return route(text, name).location.reference.name


class TestPrefixes:
    @pytest.mark.parametrize(
        ("prefix", "name", "expected"),
        [
            ("example.com", "example.com/a/b", "inner:5000/x/a/b"),
            ("example.com/a", "example.com/a/b", "inner:5000/x/b"),
            ("example.com/a/b", "example.com/a/b:1", "inner:5000/x"),
            ("example.com/a", "example.com/ab", None),
            ("example.com", "example.com:5000/a", None),
            ("example.com", "www.example.com/a", None),
            ("*.example.com", "www.example.com/a", "inner:5000/x/a"),
            ("*.example.com", "a.b.example.com/a", "inner:5000/x/a"),
            ("*.example.com/a", "www.example.com/a/b", "inner:5000/x/b"),
            ("*.example.com", "example.com/a", None),
            ("*.example.com", "wwwexample.com/a", None),
            ("*.example.com", "www.example.com.evil.org/a", None),
            ("*.example.com", "evil.org/www.example.com/a", None),
            ("*.example.com", "www.example.com.example.com/a", "inner:5000/x/a"),
            ("docker.io", "debian", "inner:5000/x/library/debian"),
            ("docker.io/library", "debian:12", "inner:5000/x/debian"),
        ],
    )
    def test_a_prefix_is_replaced_where_it_fits(self, prefix: str, name: str, expected: str | None) -> None:
        text = f'[[registry]]\nprefix = "{prefix}"\nlocation = "inner:5000/x"\n'
        assert located(text, name) == (expected or parse_reference(name).name)

    def test_the_longest_prefix_decides(self) -> None:
        text = "".join(
            f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n'
            for prefix, location in (("a.example", "one:1"), ("a.example/x/y", "three:3"), ("a.example/x", "two:2"))
        )
        assert located(text, "a.example/z") == "one:1/z"
        assert located(text, "a.example/x/z") == "two:2/z"
        assert located(text, "a.example/x/y/z") == "three:3/z"

    def test_without_a_prefix_the_location_is_one(self) -> None:
        found = route('[[registry]]\nlocation = "a.example:5000"\ninsecure = true\n', "a.example:5000/web:1")
        assert (found.location.reference.name, found.location.insecure) == ("a.example:5000/web", True)

    def test_a_wildcard_needs_no_location(self) -> None:
        found = route('[[registry]]\nprefix = "*.example"\ninsecure = true\n', "a.example/web")
        assert (found.location.reference.name, found.location.insecure) == ("a.example/web", True)

    def test_without_a_rule_a_registry_is_where_its_name_says(self) -> None:
        found = route("", "a.example/web")
        assert (found.location.reference.name, found.location.insecure, found.mirrors) == ("a.example/web", False, ())

    def test_a_location_that_makes_no_name_is_told(self) -> None:
        text = f'[[registry]]\nprefix = "a.example"\nlocation = "b.example/{"x" * 200}"\n'
        with pytest.raises(OCIError, match=rf"{FILE}: the rule for a\.example makes .* longer than 255"):
            route(text, f"a.example/{'y' * 100}")


class TestMirrors:
    def test_they_come_in_their_order_with_the_rest_of_the_name(self) -> None:
        text = """
            [[registry]]
            prefix = "docker.io"
            location = "docker.io"
            [[registry.mirror]]
            location = "one.example/hub"
            insecure = true
            [[registry.mirror]]
            location = "two.example:5000"
            pull-from-mirror = "digest-only"
            """
        found = route(text, "debian:12")
        assert found.location.reference.host == "registry-1.docker.io"
        assert [(m.reference.name, m.insecure, m.pulls) for m in found.mirrors] == [
            ("one.example/hub/library/debian", True, Pulls.ALL),
            ("two.example:5000/library/debian", False, Pulls.DIGEST_ONLY),
        ]

    def test_all_of_a_registry_may_be_for_digests_alone(self) -> None:
        text = """
            [[registry]]
            location = "a.example"
            mirror-by-digest-only = true
            mirror = [{location = "b.example"}]
            """
        assert [mirror.pulls for mirror in route(text, "a.example/x").mirrors] == [Pulls.DIGEST_ONLY]


class TestBlocked:
    def test_what_is_blocked_is_told_with_the_file(self) -> None:
        text = '[[registry]]\nlocation = "a.example/bad"\nblocked = true\n'
        with pytest.raises(Denied, match=rf"a\.example/bad/web is blocked by {FILE}: its rule for a\.example/bad"):
            route(text, "a.example/bad/web:1")
        assert located(text, "a.example/good") == "a.example/good"


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("registry = 1", "`registry` is a list of tables"),
            ("registry = [1]", "`registry` is a list of tables"),
            ("[[registry]]", r"\[\[registry\]\] 1: it needs a `location`"),
            ('[[registry]]\nlocation = "a.example"\n[[registry]]\nprefix = "b"', r"\[\[registry\]\] 2: it needs a"),
            ("[[registry]]\nlocation = 1", "`location` is a string"),
            ('[[registry]]\nlocation = "https://a.example"', "`location`: .*no scheme"),
            ('[[registry]]\nlocation = "acme"', "`location` is 'acme', expected HOST or HOST/path"),
            ('[[registry]]\nlocation = "a.example/UPPER"', "`location`: invalid repository name"),
            ('[[registry]]\nlocation = "a.example"\ninsecure = "yes"', "`insecure` is true or false"),
            ('[[registry]]\nlocation = "a.example"\nblocked = 1', "`blocked` is true or false"),
            ('[[registry]]\nlocation = "a.example"\nmirror = "b"', "`mirror` is a list of tables"),
            ('[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\n', r"\[\[registry.mirror\]\] 1: it needs a"),
            (
                '[[registry]]\nlocation = "a.example"\nmirror = [{location = "b.example", pull-from-mirror = "some"}]',
                "`pull-from-mirror` is 'some', expected all, digest-only, tag-only",
            ),
            (
                '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n'
                'mirror = [{location = "b.example", pull-from-mirror = "all"}]',
                "`pull-from-mirror` is not for a registry with `mirror-by-digest-only`",
            ),
            ("[[registry]", r"\(at line 1, column"),
            ("x = " + "[" * 100_000, "."),
        ],
    )
    def test_a_mistake_is_told_with_its_place(self, text: str, said: str) -> None:
        with pytest.raises(OCIError, match=f"^{FILE}: .*{said}"):
            registries(text)

    def test_what_is_not_text_is_told(self) -> None:
        with pytest.raises(OCIError, match=FILE):
            parse_registries(b"\xff", FILE)

    def test_what_is_for_others_is_passed_over(self) -> None:
        text = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "enforcing"\n[aliases]\nx = "y/z"\n'
        assert registries(text).rules == {}
        assert registries('[registries.search]\nregistries = ["a.example"]\n').rules == {}


class TestFiles:
    """containers-registries.conf.d.5: what is added, and what stands for what."""

    @staticmethod
    def write(path: Path, prefix: str, location: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n')

    def load(self, home: Path, **environment: str) -> dict[str, str]:
        found = load_registries({"HOME": str(home), **environment}, system=home / "etc")
        return {prefix: rule.place.location for prefix, rule in found.rules.items()}

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        assert self.load(tmp_path) == {}

    def test_what_is_added_comes_after_in_the_order_of_its_names(self, tmp_path: Path) -> None:
        self.write(tmp_path / "etc/registries.conf", "a.example", "main.example")
        self.write(tmp_path / "etc/registries.conf.d/10.conf", "b.example", "ten.example")
        self.write(tmp_path / "etc/registries.conf.d/20.conf", "b.example", "twenty.example")
        self.write(tmp_path / "etc/registries.conf.d/30.txt", "c.example", "no.example")
        self.write(tmp_path / ".config/containers/registries.conf.d/10.conf", "a.example", "mine.example")
        assert self.load(tmp_path) == {"b.example": "twenty.example", "a.example": "mine.example"}

    def test_the_users_file_stands_for_all_of_the_systems(self, tmp_path: Path) -> None:
        self.write(tmp_path / "etc/registries.conf", "a.example", "main.example")
        self.write(tmp_path / "etc/registries.conf.d/10.conf", "b.example", "ten.example")
        self.write(tmp_path / ".config/containers/registries.conf", "c.example", "mine.example")
        self.write(tmp_path / ".config/containers/registries.conf.d/10.conf", "d.example", "mine.example")
        assert self.load(tmp_path) == {"c.example": "mine.example", "d.example": "mine.example"}

    def test_a_file_that_was_named_stands_for_the_main_one(self, tmp_path: Path) -> None:
        self.write(tmp_path / "etc/registries.conf", "a.example", "main.example")
        self.write(tmp_path / "named.conf", "b.example", "named.example")
        named = str(tmp_path / "named.conf")
        assert self.load(tmp_path, CONTAINERS_REGISTRIES_CONF=named) == {"b.example": "named.example"}
        with pytest.raises(OCIError, match=r"CONTAINERS_REGISTRIES_CONF=.*absent\.conf cannot be read: No such file"):
            self.load(tmp_path, CONTAINERS_REGISTRIES_CONF=str(tmp_path / "absent.conf"))
