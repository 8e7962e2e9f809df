"""Sending clients elsewhere for the bytes of blobs."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from layerkit.oci.digest import Digest
from registry.handlers.proxies import is_within


class Redirect:
    """`url_of` signs a URL that holds for a while. Only `clients` in these networks are sent there, all where there
    are none: not everybody can reach the place."""

    def __init__(self, url_of: Callable[[Digest], str], clients: Sequence[str] = ()) -> None:
        self._url_of = url_of
        self._clients: list[IPv4Network | IPv6Network] = [ip_network(network) for network in clients]

    def url_for(self, address: str, digest: Digest) -> str | None:
        """Where the client at `address` finds the blob, None where that is here."""
        if self._clients and not is_within(address, self._clients):
            return None
        return self._url_of(digest)
