"""Timestamps that a folder tells: the time of the commit that is checked out."""

import subprocess
from pathlib import Path

from layerkit.document.problem import InvalidValue
from layerkit.oci.digest import shorten


def read_commit_time(folder: Path) -> int:
    """When HEAD of the git repository around `folder` was committed, in seconds since 1970. Blocking.

    Raises InvalidValue where there is no repository, no commit or no git.
    """
    command = ["git", "-C", str(folder), "rev-list", "--max-count=1", "--format=%ct", "HEAD"]
    hint = "commit first, or write `timestamp: epoch` or a number of seconds"
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except FileNotFoundError:
        raise InvalidValue(
            "`timestamp: git` needs git, and there is none", "install git, or give the seconds"
        ) from None
    lines = done.stdout.split()
    if done.returncode or not lines or not lines[-1].isdecimal():
        said = next((line for line in done.stderr.splitlines() if line.strip()), "it names no commit")
        reason = shorten(said.removeprefix("fatal: "))
        raise InvalidValue(f"`timestamp: git`: git knows no commit of {folder}: {reason}", hint)
    return int(lines[-1])
