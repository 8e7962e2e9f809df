"""Where users are kept: an htpasswd file, and the registry's own table. A name in both is the file's."""

from registry.auth.htpasswd import HtpasswdFile
from registry.metadata import users
from registry.metadata.database import Queries


class Accounts:
    """The Directory of the Gate."""

    def __init__(self, queries: Queries, file: HtpasswdFile | None) -> None:
        self._queries = queries
        self._file = file

    async def find_password(self, name: str) -> str | None:
        found = self._file.find_password(name) if self._file else None
        return found or await users.find_password(self._queries, name)

    def any_password(self) -> str | None:
        return self._file.any_password() if self._file else None
