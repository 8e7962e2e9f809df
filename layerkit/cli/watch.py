"""`layerkit build --watch`: the same build again whenever something changes that it reads."""

import os
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any, Final

import click

from layerkit.build.watched import Watched
from layerkit.cli.main import tell
from layerkit.cli.output import Output
from layerkit.cli.voice import ReaderGone, Voice

_QUIET: Final = 50
"""Milliseconds without a change after which those that there were are one."""
_MOST: Final = 1600
"""Milliseconds after which they are one in any case."""
_NAMED: Final = 3


def watch_builds(build: Callable[[], Any], find: Callable[[], Watched], output: Output) -> None:
    """Build, and once more after each change of what `find` says now, until somebody interrupts it.

    What fails is told, and waited out; but wrong usage at first ends it, because no file can make it right.
    """
    try:
        import watchfiles  # noqa: F401, PLC0415 - it is an extra
    except ImportError:
        raise click.UsageError("--watch needs watchfiles: pip install 'layerkit[watch]'.") from None
    is_first = True
    while True:
        watched = find()
        folders = watched.folders()
        with _changes(folders) as changes:
            try:
                # From here on nothing is missed; what changes while it is built is built next.
                next(changes)
            except FileNotFoundError:
                # A folder has gone since it was looked for.
                continue
            except (OSError, RuntimeError) as error:
                raise click.ClickException(
                    f"cannot watch {len(folders)} folders: {str(error).lower()} (fs.inotify.max_user_watches is the "
                    "system's limit; what .dockerignore leaves out is not watched)"
                ) from error
            _attempt(build, is_first=is_first)
            is_first = False
            if _now(find) != (watched, folders):
                continue
            output.note(f"watching {len(folders)} {'folder' if len(folders) == 1 else 'folders'}; Ctrl-C ends it")
            found = next(counted for paths in changes if (counted := sorted(filter(watched.counts, paths))))
        names = [os.path.relpath(path, watched.context) for path in found]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        output.note(f"changed: {', '.join(names[:_NAMED])}{more}")


def _now(find: Callable[[], Watched]) -> tuple[Watched, frozenset[str]]:
    watched = find()
    return watched, watched.folders()


@contextmanager
def _changes(folders: frozenset[str]) -> Generator[Generator[set[str], None, None], None, None]:
    """The paths that change in these folders, some at a time, and none where there are none for a moment."""
    import watchfiles  # noqa: PLC0415 - see watch_builds

    # Each folder for itself: what lies below ignored ones would cost the system as much as all the rest.
    watching = watchfiles.watch(
        *sorted(folders),
        watch_filter=None,
        debounce=_MOST,
        step=_QUIET,
        rust_timeout=_QUIET,
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=True,
    )
    with closing(watching):
        yield ({path for _, path in found} for found in watching)


def _attempt(build: Callable[[], Any], *, is_first: bool) -> None:
    voice = click.get_current_context().find_object(Voice) or Voice()
    try:
        build()
    except ReaderGone:
        raise
    except Exception as error:
        if (is_first and isinstance(error, click.UsageError)) or tell(error, voice) is None:
            raise
