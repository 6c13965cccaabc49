"""What the flights and attempts of one open store share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import TypeVar

from shapestore.concurrency.worker_threads import WorkerThreads
from shapestore.creating.failure import FailureAges, FailureLog
from shapestore.creating.poll_batch import PollBatch
from shapestore.creating.slots import RunningCreators, Slots
from shapestore.creating.timers import Timers
from shapestore.errors import ShapeStoreError
from shapestore.locking.handles import Handles
from shapestore.locking.owner import is_alive
from shapestore.storage.commands import Command
from shapestore.storage.reader import Reader
from shapestore.storage.readers import AccessTracker
from shapestore.storage.writer import Writer
from shapestore.telemetry import Telemetry

T = TypeVar("T")


@dataclass(eq=False)
class Services:
    """The parts of an open store that creating a shape needs, and the options that concern it."""

    reader: Reader
    writer: Writer
    access: AccessTracker
    telemetry: Telemetry
    threads: WorkerThreads
    path: str
    owner: str
    """The id under which the store is open."""
    namespace: str
    create_timeout: float
    failure_grace: float
    max_creating: InitVar[int]
    sweep_later: Callable[[str, float], None] = field(init=False)
    """Set by maintenance: sweep the failure of this handle in so many seconds."""
    follow: Callable[[object], None] = field(init=False)
    """Set by the open store: this creator has published a live shape, or read it again."""
    after_publish: Callable[[], None] = lambda: None
    """Set by maintenance where the number of shapes is limited."""

    def __post_init__(self, max_creating: int) -> None:
        self.handles = Handles()
        self.timers = Timers()
        self.polls = PollBatch(self.reader, self.timers)
        self.slots = Slots(max_creating)
        self.creators = RunningCreators(self.slots)
        self.failure_ages = FailureAges()
        self.failure_log = FailureLog()

    def send(
        self,
        command: Command[T],
        answered: Callable[[T], object],
        refused: Callable[[ShapeStoreError], object],
        *,
        refusable: bool = False,
    ) -> None:
        """As ``Writer.send``; but ``refused`` is called, too, if the writer does not take the command."""
        try:
            self.writer.send(command, answered, refused, refusable=refusable)
        except ShapeStoreError as error:
            refused(error)

    def is_alive(self, owner: str) -> bool:
        """Whether the open store ``owner`` is alive."""
        return owner == self.owner or is_alive(self.path, owner)
