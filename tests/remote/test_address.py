"""Where URLs lead, what of them is shown, and which proxy is in between."""

import pytest

from layerkit.remote.address import follow, is_loopback, origin_of, proxy_of, show

PROXY = "http://proxy.example:3128"


class TestLoopback:
    @pytest.mark.parametrize(
        "host", ["localhost", "localhost:5000", "127.0.0.1", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost"]
    )
    def test_this_machine_is_loopback(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host",
        [
            *("registry.example", "registry.example:5000", "localhost.example", "notlocalhost", "127.0.0.1.example"),
            *("10.0.0.1", "192.168.1.1:5000", "0.0.0.0:5000", "[::]:5000", "[fe80::1]:5000", "docker.io", ""),
        ],
    )
    def test_another_machine_is_not(self, host: str) -> None:
        assert not is_loopback(host)


class TestUrls:
    def test_a_target_is_followed_from_where_it_was_named(self) -> None:
        assert follow("https://a/v2/x", "/v2/y?z=1") == "https://a/v2/y?z=1"
        assert follow("https://a/v2/x", "https://b/c") == "https://b/c"

    def test_an_origin_has_the_port_of_its_scheme(self) -> None:
        assert origin_of("https://a/x") == origin_of("https://A:443/y") == ("https", "a", 443)
        assert origin_of("http://a/x") != origin_of("https://a/x")

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("https://a.example:5000/v2/x?X-Signature=s3cret#s3cret", "https://a.example:5000/v2/x"),
            ("https://user:s3cret@a.example/up", "https://a.example/up"),
            ("https://s3cret@[::1]:5000/up?s3cret", "https://[::1]:5000/up"),
        ],
    )
    def test_what_lets_somebody_in_is_not_shown(self, url: str, shown: str) -> None:
        assert show(url) == shown


class TestProxies:
    def test_each_scheme_has_its_own(self) -> None:
        environment = {"HTTPS_PROXY": PROXY, "http_proxy": "other.example:80"}
        assert proxy_of("https://registry.example/x", environment) == PROXY
        assert proxy_of("http://registry.example/x", environment) == "http://other.example:80"
        assert proxy_of("https://registry.example/x", {}) is None

    def test_the_lower_case_comes_first(self) -> None:
        assert proxy_of("https://a.example/", {"HTTPS_PROXY": "http://no.example", "https_proxy": PROXY}) == PROXY

    def test_this_machine_is_reached_without(self) -> None:
        for host in ("localhost:5000", "127.0.0.1", "[::1]:5000"):
            assert proxy_of(f"https://{host}/x", {"HTTPS_PROXY": PROXY}) is None

    def test_a_header_of_a_request_to_a_script_is_no_proxy(self) -> None:
        """CVE-2016-5385."""
        assert proxy_of("http://a.example/", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}) is None
        assert proxy_of("http://a.example/", {"http_proxy": PROXY, "REQUEST_METHOD": "GET"}) == PROXY

    @pytest.mark.parametrize(
        ("no_proxy", "host"),
        [
            ("*", "registry.example"),
            ("registry.example", "registry.example"),
            ("registry.example", "registry.example:5000"),
            ("registry.example:5000", "registry.example:5000"),
            ("registry.example:443", "registry.example"),
            ("example", "registry.example"),
            (".example", "registry.example"),
            ("*.example", "registry.example"),
            ("other, Registry.Example ,third", "registry.example"),
            ("10.1.2.3", "10.1.2.3:5000"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("fd00::/8", "[fd00::1]:5000"),
            ("fd00::1", "[fd00::1]"),
        ],
    )
    def test_what_no_proxy_names_is_reached_without(self, no_proxy: str, host: str) -> None:
        assert proxy_of(f"https://{host}/x", {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is None

    @pytest.mark.parametrize(
        ("no_proxy", "host"),
        [
            ("", "registry.example"),
            (",, ,", "registry.example"),
            ("registry.example:5001", "registry.example:5000"),
            (".registry.example", "registry.example"),
            ("gistry.example", "registry.example"),
            ("registry.example", "registry.example.evil.org"),
            ("10.1.2.4", "10.1.2.3"),
            ("192.168.0.0/16", "10.1.2.3"),
            ("10.0.0.0/8", "registry.example"),
        ],
    )
    def test_anything_else_is_not(self, no_proxy: str, host: str) -> None:
        assert proxy_of(f"https://{host}/x", {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) == PROXY
