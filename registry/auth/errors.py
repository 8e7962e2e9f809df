"""Why somebody does not come in.

Unauthorized
  InvalidToken, InsufficientScope
TooManyRequests
  TooManyAttempts
"""

from layerkit.oci.errors import TooManyRequests, Unauthorized


class InvalidToken(Unauthorized):
    """A token that is forged, expired, for somebody else, or none."""

    summary = "the token is not valid"


class InsufficientScope(Unauthorized):
    """A token that is valid, but not for this: with another one it may work."""

    summary = "the token does not allow this: ask for one that does"


class TooManyAttempts(TooManyRequests):
    """Somebody has to wait before trying another password; `details` are the seconds."""

    summary = "too many wrong passwords: wait, and try again"
