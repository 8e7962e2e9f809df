"""Steps: "Every begun step ends once", however the work in it ends."""

import asyncio

import pytest

from layerkit.oci.descriptor import EMPTY
from layerkit.progress import SILENT, Activity, Outcome, Step, running
from tests.progress import Recorded


def step(name: str = "app") -> Step:
    return Step(activity=Activity.PACK, name=name, total=10)


def test_a_step_that_ends_well_says_what_became_of_it() -> None:
    progress, one = Recorded(), step()
    with running(progress, one) as run:
        run.advance(4)
        run.advance(6)
        run.outcome, run.descriptor, run.detail = Outcome.REUSED, EMPTY, "1 file"
    assert progress.steps == [one]
    assert progress.advanced[one] == 10
    assert progress.outcomes == {EMPTY.digest: [Outcome.REUSED]}
    assert progress.details == {"app": "1 file"}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError, Outcome.FAILED),
        (SystemExit, Outcome.FAILED),
        (asyncio.CancelledError, Outcome.CANCELLED),
        (KeyboardInterrupt, Outcome.CANCELLED),
    ],
)
def test_a_step_that_does_not_end_well_ends(error: type[BaseException], outcome: Outcome) -> None:
    progress = Recorded()

    def work() -> None:
        with running(progress, step()) as run:
            run.outcome, run.descriptor = Outcome.COPIED, EMPTY
            raise error

    with pytest.raises(error):
        work()
    assert progress.outcomes == {"app": [outcome]}


def test_steps_that_look_alike_are_told_apart() -> None:
    progress, one, other = Recorded(), step(), step()
    with running(progress, one), running(progress, other) as run:
        run.advance(3)
    assert one != other
    assert (progress.advanced[one], progress.advanced[other]) == (0, 3)


def test_nobody_need_watch() -> None:
    with running(SILENT, step()) as run:
        run.advance(1)
