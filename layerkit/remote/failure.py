"""What broke between us and a registry, in words that say how to mend it, and whether it may pass."""

import os
import socket
from typing import Final

import aiohttp

from layerkit.remote.retry import PASSING

_UNKNOWN_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA} if hasattr(socket, "EAI_NODATA") else ())


def is_passing(error: aiohttp.ClientError) -> bool:
    """Whether it is weather rather than a mistake: what says that there is no such thing as we expect stays so."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status in PASSING
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.errno not in _UNKNOWN_NAME
    return not isinstance(
        error,
        # What it speaks is not HTTP; what it shows is not trusted; what it speaks is not TLS.
        aiohttp.ClientResponseError | aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError,
    )


def explain(error: BaseException, host: str) -> str:
    """What is wrong at the registry `host`, without its name."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"its certificate is not trusted ({error.certificate_error}): put the certificate of who signed it into "
            f"~/.config/containers/certs.d/{host}/ca.crt, or name it with --ca or SSL_CERT_FILE"
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # Not its own words: they have the proxy's URL, and that may have a password.
        return f"the proxy answers with HTTP status {error.status}, {error.message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        # Its errno is one of OpenSSL's.
        return f"it does not speak TLS ({error.os_error}): plain HTTP must be allowed (--insecure)"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error.os_error)
    return str(error) or type(error).__name__
