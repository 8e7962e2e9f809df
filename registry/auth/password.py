"""Passwords against their hashes: bcrypt, as `htpasswd -B` writes it, and Argon2id for users of our own.

Comparing takes long by design, and frees the GIL: call it in a thread.
"""

import re
import secrets
from typing import Final

import argon2
import bcrypt

_BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_ARGON2: Final = re.compile(r"\$argon2(?:id|i|d)\$[!-~]{1,256}")
_MOST_ROUNDS: Final = 16
"""Of bcrypt, as a power of two: 16 takes seconds, and 31, the most there is, days."""

_SIGNIFICANT: Final = 72
"""Bytes of a password that bcrypt looks at. Those who wrote the hash have dropped the rest without a word."""

# OWASP's least for Argon2id, "Password Storage Cheat Sheet": clients with Basic send their password all the time.
_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def is_bcrypt(stored: str) -> bool:
    """Whether this is a bcrypt hash that can be compared in reasonable time."""
    found = _BCRYPT.fullmatch(stored)
    return found is not None and 4 <= int(found[1]) <= _MOST_ROUNDS


def hash_password(password: str) -> str:
    """A hash to keep, with a salt of its own."""
    return _hasher.hash(password)


def make_password() -> str:
    """A password that nobody has to remember, for machines."""
    return secrets.token_urlsafe(24)


def matches(stored: str, password: str) -> bool:
    """Whether `stored` is the hash of `password`; False for what is no hash either."""
    if is_bcrypt(stored):
        try:
            return bcrypt.checkpw(password.encode()[:_SIGNIFICANT], stored.encode())
        except ValueError:
            return False
    if not _ARGON2.fullmatch(stored):
        return False
    try:
        return _hasher.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def decoy_like(stored: str) -> str:
    """The hash of a password that nobody knows, which takes as long to compare as `stored` does."""
    found = _BCRYPT.fullmatch(stored)
    secret = secrets.token_bytes(24)
    if found is not None and is_bcrypt(stored):
        return bcrypt.hashpw(secret, bcrypt.gensalt(int(found[1]))).decode()
    return _hasher.hash(secret)
