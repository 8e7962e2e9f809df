"""A Progress that keeps what it is told, and holds those who tell it to the rules."""

from collections import Counter, defaultdict
from threading import Lock

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.progress import Outcome, Step


class Recorded:
    """`steps` in the order in which they began, `advanced` the bytes of each, `outcomes` by the digest that there was
    at its end, `details` by the name of the step."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: list[Step] = []
        self.steps: list[Step] = []
        self.advanced: Counter[Step] = Counter()
        self.outcomes: defaultdict[Digest | str, list[Outcome]] = defaultdict(list)
        self.details: dict[str, str] = {}

    def begin(self, step: Step) -> None:
        with self._lock:
            assert step not in self.steps, "a step begins once"
            self.steps.append(step)
            self._open.append(step)

    def advance(self, step: Step, count: int) -> None:
        with self._lock:
            assert step in self._open, "only what has begun and not ended advances"
            assert count >= 0
            self.advanced[step] += count

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None = None, detail: str = "") -> None:
        with self._lock:
            self._open.remove(step)
            about = descriptor or step.descriptor
            self.outcomes[about.digest if about else step.name].append(outcome)
            self.details[step.name] = detail

    @property
    def ended(self) -> bool:
        """Whether all that began has ended."""
        return not self._open
