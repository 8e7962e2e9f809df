"""TLS for the sockets that workers serve: a certificate that can be exchanged while they do."""

import logging
import ssl

from layerkit.document.problem import DocumentError, Position, Problem
from registry.config import Tls

logger = logging.getLogger("registry")


def make_context(tls: Tls) -> ssl.SSLContext:
    """Raises DocumentError where a file is missing, or certificate and key do not fit."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, tls)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.client_ca)
        except (OSError, ValueError) as error:
            raise _problem(tls.client_ca, error) from error
    return context


def reload_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """New connections get what is in the files now; what cannot be used is logged, and the old one stays."""
    try:
        # Not into the living one at once: a certificate without its key would end every handshake.
        make_context(tls)
        _load_certificate(context, tls)
    except DocumentError as error:
        logger.error("the certificate stays as it was: %s", error)  # noqa: TRY400 - no fault of ours
    else:
        logger.info("the certificate %s was read again", tls.certificate)


def _load_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    for path in (tls.certificate, tls.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise _problem(path, error) from error
    try:
        # Nobody is there to be asked for the password of a key.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise _problem(tls.certificate, error, f"it must be a PEM certificate that fits the key {tls.key}") from error


def _problem(path: object, error: Exception, hint: str = "") -> DocumentError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return DocumentError(
        [Problem(Position(str(path)), f"cannot be used: {str(reason).lower().replace('_', ' ')}", hint=hint)]
    )
