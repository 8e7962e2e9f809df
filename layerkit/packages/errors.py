"""What can be wrong with packages."""


class PackageError(Exception):
    """A package, list or lock that cannot be used; the message names it and the fix."""
