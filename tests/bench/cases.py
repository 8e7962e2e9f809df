"""Cases: what is measured of whom, in turn, as often as the time allows."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.bench.usage import Usage, median


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One who takes part in a case. `prepare` comes before each run, and is not measured.

    `rounds` count. Who is slow takes them only while there is time, the first one included: `seconds` is what a run is
    expected to take. Who isn't has one more before, which does not count.
    """

    name: str
    run: Callable[[], Usage]
    prepare: Callable[[], object] = lambda: None
    rounds: int = 3
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """`seconds` is what those who are not slow take, about."""

    label: str
    entrants: Iterable[Entrant]
    seconds: float


@dataclass(frozen=True)
class Measured:
    """The medians of a case, by names, and of how many runs each is."""

    label: str
    usages: Mapping[str, Usage]
    runs: Mapping[str, int]


@dataclass
class Clock:
    """How long all may take, in seconds from now, and whether figures are to be trusted: else one run is enough."""

    seconds: float
    is_thorough: bool = True
    began: float = field(default_factory=time.monotonic)

    def allows(self, seconds: float) -> bool:
        return time.monotonic() - self.began + seconds < self.seconds


def measure_case(case: Case, clock: Clock, *, reserve: float) -> Measured:
    """Run all entrants in turn, so that a machine whose speed drifts is fair to them.

    `reserve` are the seconds that the cases after this one need.
    """
    entrants = list(case.entrants)
    usages: dict[str, list[Usage]] = {entrant.name: [] for entrant in entrants}
    rounds = max(entrant.rounds for entrant in entrants) if clock.is_thorough else 1
    for number in range(0 if clock.is_thorough else 1, rounds + 1):
        for entrant in entrants:
            done = usages[entrant.name]
            is_warm = number > 0
            if len(done) >= entrant.rounds:
                continue
            if entrant.seconds is not None:
                expected = max((usage.wall for usage in done), default=entrant.seconds)
                if not is_warm or not clock.allows(expected + reserve):
                    continue
            entrant.prepare()
            usage = entrant.run()
            sys.stderr.write(f"{case.label}: {entrant.name}: {usage.wall:.2f} s\n")
            if is_warm:
                done.append(usage)
    found = {name: values for name, values in usages.items() if values}
    return Measured(
        case.label,
        {name: median(values) for name, values in found.items()},
        {name: len(values) for name, values in found.items()},
    )


def measure_cases(cases: Iterable[Case], clock: Clock) -> list[Measured]:
    waiting = list(cases)
    return [
        measure_case(case, clock, reserve=sum(later.seconds for later in waiting[number + 1 :]))
        for number, case in enumerate(waiting)
    ]
