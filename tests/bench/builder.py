"""The builder against buildah, docker and a shell's tools: folders to images, and images to a registry."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from tests.bench import report
from tests.bench.builders import (
    CODECS,
    Builder,
    Layerkit,
    find,
    pigz,
    run_buildah_builder,
    run_docker_builder,
    run_registry,
    tar,
    versions,
    write_context,
)
from tests.bench.cases import Case, Clock, Entrant, measure_cases
from tests.bench.trees import (
    find_package,
    find_small_file,
    installation,
    make_installation,
    make_large_file,
    make_tiny_files,
    replace_package,
    rewrite,
    tree_size,
)
from tests.bench.usage import Usage


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is built, and for how long it is measured, in seconds; how often, unless it is to be thorough, once.

    People take `settled` seconds from an edit to a build. A file that was written just before it is read may change
    once more without a sign of it: no builder may count upon that one.
    """

    entries: int = 60_000
    size: int = 890_000_000
    large: int = 5 * 2**30
    tiny: int = 100_000
    seconds: float = 1100
    settled: float = 2.1
    is_thorough: bool = True
    sources: Sequence[Path] = field(default_factory=installation)
    has_engines: bool = True


def measure(sizes: Sizes | None = None, *, plot: Path | None = None) -> list[str]:
    """The tables, as lines of Markdown; the plot goes into a file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bench = _Bench(folder, sizes or Sizes(), stack)
        return report.write(measure_cases(bench.cases(), bench.clock), bench.describe(), plot)


class _Bench:
    def __init__(self, folder: Path, sizes: Sizes, stack: ExitStack) -> None:
        self._sizes = sizes
        self.clock = Clock(sizes.seconds, sizes.is_thorough)
        self._numbers = count(1)
        registry = stack.enter_context(run_registry(folder / "registry"))
        self._ours: list[Layerkit] = [Layerkit(folder / f"ours-{codec or 'gzip'}", registry, codec) for codec in CODECS]
        self._peers: list[Builder] = []
        if sizes.has_engines:
            self._peers.append(stack.enter_context(run_buildah_builder(folder / "buildah", registry)))
            self._peers.append(stack.enter_context(run_docker_builder(registry)))
        sys.stderr.write("making what is built\n")
        self._main, self._large, self._tiny, self._small = (
            folder / name for name in ("main", "large", "tiny", "small")
        )
        self._entries, self._size = make_installation(
            self._main / "tree", sizes.sources, entries=sizes.entries, size=sizes.size
        )
        self._app = self._main / "app" / "main.py"
        for path in (self._app, self._small / "tree" / "hello"):
            path.parent.mkdir(parents=True)
            path.write_text("print('hello')\n" * 100)
        make_large_file(self._large / "tree" / "large", self._main / "tree", size=sizes.large)
        make_tiny_files(self._tiny / "tree", files=sizes.tiny)
        write_context(self._main, "tree", "app")
        for context in (self._large, self._tiny, self._small):
            write_context(context, "tree")
        self._edited = find_small_file(self._main / "tree")
        self._package = find_package(self._main / "tree")

    def describe(self) -> str:
        edited, package = self._edited.stat().st_size, tree_size(self._package) / 1e6
        peers = f" Versions: {versions()}." if self._sizes.has_engines else ""
        return (
            f"The image has a Python installation ({self._entries:,} entries, {self._size / 1e6:,.0f} MB) in one "
            f"layer, and a small file in another. The file that is edited has {edited:,} bytes, the package that is "
            f"replaced {package:.1f} MB, the large file {self._sizes.large / 2**30:.1f} GiB, half of it text and half "
            f"random; of tiny files there are {self._sizes.tiny:,}. `buildah` is `bud --layers` and a push to an OCI "
            "layout; `docker` is the classic builder and a push to a registry, because it compresses nothing before; "
            f"ours goes to the local store, which is a layout too. `{report.PIGZ}` takes both digests as well.{peers}"
        )

    def cases(self) -> Iterable[Case]:
        main, tree, usual, peers = self._main, self._main / "tree", self._ours[:1], self._peers
        large, tiny = self._large, self._tiny
        yield Case(
            label=report.COLD,
            seconds=120,
            entrants=[
                *_entrants(self._ours, _build(main), prepare=_clear),
                *_entrants(peers[:1], _build(main), prepare=_clear, rounds=2, seconds=(100,)),
                # Once: it remembers what it pushed, even when it has forgotten all images.
                *_entrants(peers[1:], _build(main), prepare=_clear, rounds=1, seconds=(200,)),
                Entrant(name=report.PIGZ, run=lambda: pigz(tree), rounds=2, seconds=30),
                Entrant(name=report.TAR, run=lambda: tar(tree)),
            ],
        )
        yield Case(
            label=report.UNCHANGED,
            seconds=20,
            entrants=[
                *_entrants(usual, _build(main), rounds=5),
                *_entrants(peers, _build(main), rounds=1, seconds=(30, 30)),
                Entrant(name=report.FIND, run=lambda: find(tree), rounds=5),
            ],
        )
        yield Case(
            label=report.PUSH,
            seconds=20,
            entrants=[
                *_entrants(usual, _push(main), prepare=_push(main)),
                *_entrants(peers, _push(main), prepare=_push(main), rounds=1, seconds=(10, 10)),
            ],
        )
        edit = self._edit(self._app)
        yield Case(
            label=report.APP,
            seconds=20,
            entrants=[
                *_entrants(usual, _build_and_push(main), prepare=edit),
                *_entrants(peers, _build_and_push(main), prepare=edit, rounds=1, seconds=(40, 40)),
            ],
        )
        edit = self._edit(self._edited)
        yield Case(
            label=report.EDIT,
            seconds=80,
            entrants=[
                *_entrants(self._ours, _build(main), prepare=edit),
                *_entrants(peers, _build(main), prepare=edit, rounds=1, seconds=(100, 200)),
            ],
        )
        yield Case(label=report.PACKAGE, seconds=40, entrants=_entrants(usual, _build(main), prepare=self._upgrade))
        yield Case(
            label=report.TINY,
            seconds=40,
            entrants=[
                *_entrants(usual, _build(tiny), prepare=_clear),
                *_entrants(peers, _build(tiny), rounds=1, seconds=(60, 90)),
                Entrant(name=report.PIGZ, run=lambda: pigz(tiny / "tree"), rounds=2, seconds=10),
                Entrant(name=report.TAR, run=lambda: tar(tiny / "tree")),
            ],
        )
        yield Case(
            label=report.TINY_UNCHANGED,
            seconds=20,
            entrants=[
                *_entrants(usual, _build(tiny)),
                *_entrants(peers, _build(tiny), rounds=1, seconds=(30, 60)),
                Entrant(name=report.FIND, run=lambda: find(tiny / "tree")),
            ],
        )
        yield Case(
            label=report.LARGE,
            seconds=130,
            entrants=[
                *_entrants(self._ours, _build(large), prepare=_clear, rounds=1),
                Entrant(name=report.TAR, run=lambda: tar(large / "tree"), rounds=1),
                Entrant(name=report.PIGZ, run=lambda: pigz(large / "tree"), rounds=1, seconds=120),
            ],
        )
        yield Case(label=report.SMALL, seconds=10, entrants=_entrants(usual, _build(self._small), rounds=9))
        yield Case(
            label=report.HELP,
            seconds=3,
            entrants=[Entrant(name=ours.name, run=ours.help, rounds=9) for ours in usual],
        )

    def _edit(self, path: Path) -> Callable[[Builder], None]:
        def edit(_builder: Builder) -> None:
            rewrite(path, next(self._numbers))
            time.sleep(self._sizes.settled)

        return edit

    def _upgrade(self, _builder: Builder) -> None:
        replace_package(self._package, next(self._numbers))
        time.sleep(self._sizes.settled)


def _nothing(builder: Builder) -> None:
    """What comes before a run that needs nothing."""


def _clear(builder: Builder) -> None:
    builder.clear()


def _build(context: Path) -> Callable[[Builder], Usage]:
    return lambda builder: builder.build(context)


def _push(context: Path) -> Callable[[Builder], Usage]:
    return lambda builder: builder.push(context)


def _build_and_push(context: Path) -> Callable[[Builder], Usage]:
    return lambda builder: builder.build_and_push(context)


def _entrants(
    builders: Sequence[Builder],
    work: Callable[[Builder], Usage],
    *,
    prepare: Callable[[Builder], object] = _nothing,
    rounds: int = 3,
    seconds: tuple[float, ...] | None = None,
) -> list[Entrant]:
    """An entrant for each builder; `seconds` is what each of the slow ones is expected to take."""
    return [
        Entrant(
            name=builder.name,
            run=partial(work, builder),
            prepare=partial(prepare, builder),
            rounds=rounds,
            seconds=None if seconds is None else seconds[number],
        )
        for number, builder in enumerate(builders)
    ]
