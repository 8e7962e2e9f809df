"""The Gate that a configuration asks for."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from registry.auth.accounts import Accounts
from registry.auth.gate import Gate
from registry.auth.htpasswd import HtpasswdFile
from registry.auth.signin import SignIn
from registry.auth.token import Tokens, load_key
from registry.config import Users
from registry.metadata.database import Queries

KEY_FILE: Final = "token.key"


def open_gate(users: Users, root: Path, queries: Queries, *, clock: Callable[[], float] = time.time) -> Gate:
    """With the key in the data folder `root`, which is made where there is none. Raises DocumentError for a file
    that cannot be used."""
    accounts = Accounts(queries, HtpasswdFile(users.htpasswd) if users.htpasswd else None)
    tokens = Tokens(
        load_key(root / KEY_FILE),
        service=users.service,
        lifetime=timedelta(seconds=users.token_seconds),
        refresh_lifetime=timedelta(seconds=users.refresh_seconds),
        clock=clock,
    )
    return Gate(users.access, accounts, SignIn(accounts), tokens, clock=clock)


def check_files(users: Users, root: Path) -> None:
    """What `open_gate` will read, before there are workers to fail at it. Raises DocumentError."""
    load_key(root / KEY_FILE)
    if users.htpasswd is not None:
        HtpasswdFile(users.htpasswd)
