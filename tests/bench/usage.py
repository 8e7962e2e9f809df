"""What a command takes: wall time, CPU, memory, of all the processes that it is; and the bytes that it sends."""

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

_SAMPLE_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`wall` and `cpu` in seconds, `memory` the peak in bytes. Where they were counted: the bytes of the layers that
    were `stored`, and the `sent` bytes and `requests` that a registry received."""

    wall: float
    cpu: float
    memory: int
    stored: int | None = None
    sent: int | None = None
    requests: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        """One after the other."""
        return Usage(
            wall=self.wall + other.wall,
            cpu=self.cpu + other.cpu,
            memory=max(self.memory, other.memory),
            stored=_add(self.stored, other.stored),
            sent=_add(self.sent, other.sent),
            requests=_add(self.requests, other.requests),
        )


def median(usages: Sequence[Usage]) -> Usage:
    """The median of each figure."""
    figures = {field.name: [getattr(usage, field.name) for usage in usages] for field in fields(Usage)}
    return Usage(
        **{name: None if values[0] is None else statistics.median(values) for name, values in figures.items()}  # type: ignore[arg-type]
    )


def run_measured(
    *command: str | Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    daemons: Iterable[int] = (),
) -> tuple[Usage, str]:
    """Run a command that must succeed: what it took, its standard output.

    `daemons` work for it: what they and their children take while it runs is counted as well.
    """
    roots = list(daemons)
    spent = sum(map(_ticks, roots))
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    with _watching([process.pid, *roots]) as peak:
        output = process.stdout.read()
        # Of the process and of all children that it waited for.
        _, status, taken = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output}")
    cpu = taken.ru_utime + taken.ru_stime + (sum(map(_ticks, roots)) - spent) / _TICKS
    return Usage(wall=wall, cpu=cpu, memory=peak()), output


def run_shell(command: str, *, folder: Path) -> Usage:
    usage, _ = run_measured("/bin/bash", "-eo", "pipefail", "-c", command, folder=folder)
    return usage


def counted(work: Callable[[], Usage], count: Callable[[], tuple[int, int]]) -> Usage:
    """What the work takes, with the bytes and requests by which `count` grew meanwhile."""
    sent, requests = count()
    usage = work()
    sent_after, requests_after = count()
    return replace(usage, sent=sent_after - sent, requests=requests_after - requests)


@contextmanager
def _watching(roots: Sequence[int]) -> Iterator[Callable[[], int]]:
    """A function that tells the most memory, in bytes, that the processes and all below them had at once.

    It is looked at every 20 ms: the sum of what is resident (what several of them share counts for each), and the peak
    that the kernel remembers of each one. `ru_maxrss` would be that of us, where we are larger (it survives an exec).
    """
    most = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        has_ended = False
        while not has_ended:
            found = [_memory(process) for root in roots for process in _family(root)]
            most = max(most, sum(now for now, _ in found), *(peak for _, peak in found))
            has_ended = ended.wait(_SAMPLE_SECONDS)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most
    finally:
        ended.set()
        thread.join()


def _family(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    # It may end at any time, and each of its threads too.
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):
                for child in (thread / "children").read_text().split():
                    yield from _family(int(child))


def _memory(process: int) -> tuple[int, int]:
    """Bytes that are resident now, and at most until now."""
    found = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def _ticks(root: int) -> int:
    """CPU time of a process, of all below it, and of all that these have waited for."""
    total = 0
    for process in _family(root):
        with suppress(OSError):
            # After the name, which may hold anything: state is field 3, utime to cstime are 14 to 17 (proc(5)).
            after = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, after[11:15]))
    return total


def _add(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
