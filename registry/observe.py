"""What is known of a request when it has been answered, for whoever watches: the log, the metrics."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Observation:
    """`handler` is the kind of endpoint, `reference` a tag or digest, `error` the code of the first error.

    `moment` is when it was answered, in seconds since 1970, and `seconds` the time to the answer. `user` is empty where
    the registry has none. `received` and `sent` are bytes of the bodies. Not frozen, because making a frozen one takes
    four times as long, and one is made for each request.
    """

    moment: float
    id: str
    handler: str
    method: str
    path: str
    remote: str
    user: str
    agent: str
    repository: str
    reference: str
    status: int
    error: str
    seconds: float
    received: int
    sent: int


class Observer(Protocol):
    def began(self, handler: str) -> None: ...

    def ended(self, observation: Observation) -> None: ...
