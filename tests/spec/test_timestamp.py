"""`timestamp: git`: `created` is when the commit was made that is checked out."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.spec.model import Spec, SpecFile

Load = Callable[..., Spec]
Refuse = Callable[..., list[tuple[str, str]]]

GIT = "from: scratch\ntimestamp: git"
HINT = "commit first, or write `timestamp: epoch` or a number of seconds"


def git(*arguments: str, date: int = 1700000000) -> None:
    identity = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_AUTHOR_DATE": "1600000000 +0200",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "GIT_COMMITTER_DATE": f"{date} +0200",
    }
    subprocess.run(["git", *arguments], check=True, env={**os.environ, **identity}, capture_output=True)


@pytest.fixture
def committed(folder: Path) -> Path:
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_it_is_the_committer_time_of_head(load: Load, committed: Path) -> None:
    assert load(GIT).timestamp == 1700000000


def test_a_folder_within_the_repository_has_the_same(committed: Path, load_file_text: Callable[..., SpecFile]) -> None:
    below = committed / "below"
    below.mkdir()
    os.chdir(below)
    assert load_file_text(GIT).images[0].specs[0].timestamp == 1700000000


def test_source_date_epoch_wins_and_git_is_not_asked(load: Load, folder: Path) -> None:
    """SPEC: "SOURCE_DATE_EPOCH wins"; here is no repository that could answer."""
    assert load(GIT, source_date_epoch=5).timestamp == 5


def test_without_a_commit_it_is_an_error_at_its_place(refuse: Refuse, folder: Path) -> None:
    git("init", "-q")
    ((problem, hint),) = refuse(GIT)
    assert problem.startswith(f"2:12: `timestamp: git`: git knows no commit of {folder}: ")
    assert hint == HINT


def test_without_a_repository_it_is_an_error_once_for_all_platforms(
    refuse: Refuse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder of the tests may stand in a repository of somebody's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    ((problem, hint),) = refuse(f"{GIT}\nplatforms: [linux/amd64, linux/arm64]")
    assert problem.startswith(f"2:12: `timestamp: git`: git knows no commit of {folder}: 'not a git repository")
    assert hint == HINT


def test_without_git_it_is_an_error(refuse: Refuse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert refuse(GIT) == [("2:12: `timestamp: git` needs git, and there is none", "install git, or give the seconds")]
