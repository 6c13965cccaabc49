"""The table of transitions as a model: one key, one file, some processes, and whatever may happen to them.

The decisions are the project's own ``decide``. The effects of the commands (``apply``) are told a second time, in the
plainest words; tests/system/test_transitions.py does each of them to a real file too, and compares.

A step of the model is one atomic thing: a poll with its decision; one command committed; one thing that happens. So
between a poll and the command that it led to, anything may happen, and a process that is paused is one whose turn does
not come. Handles are random and never come back, so all that matters of one is its part in the story: what is stored,
what the lock row bears, what is gone. Each step names them anew by these parts (``canonical``), and that makes the
number of worlds finite, however many attempts, crashes and restarts there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from shapestore.locking import create_lock
from shapestore.locking.create_lock import Failure, KeyState, LockState, State, decide

RETRY_AFTER_MS = 1000


# --- the file -----------------------------------------------------------------------------------------------------


class Lock(NamedTuple):
    handle: str
    state: State
    owner: str


class File(NamedTuple):
    """All that the file says of one key. A set holds the handles of which something is true."""

    stored: str | None = None
    lock: Lock | None = None
    outcomes: frozenset[tuple[str, str]] = frozenset()
    discarded: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    """Of shapes that were replaced or dropped, for those who read them."""
    with_rows: frozenset[str] = frozenset()

    def outcome(self, handle: str | None) -> str | None:
        return next((outcome for ended, outcome in self.outcomes if ended == handle), None)


@dataclass(frozen=True)
class Claim:
    owner: str
    handle: str
    over: str | None
    older: str | None


@dataclass(frozen=True)
class AddRows:
    owner: str
    handle: str


@dataclass(frozen=True)
class Publish:
    owner: str
    handle: str
    replaces: bool


@dataclass(frozen=True)
class Fail:
    owner: str
    handle: str


@dataclass(frozen=True)
class Abandon:
    owner: str
    handle: str


@dataclass(frozen=True)
class Sweep:
    owner: str
    handle: str


@dataclass(frozen=True)
class Release:
    owner: str = "a person"


@dataclass(frozen=True)
class Invalidate:
    owner: str = "a person"


@dataclass(frozen=True)
class Delete:
    handle: str
    owner: str = "a person"


@dataclass(frozen=True)
class EndOwner:
    """What closing and opening do, not a command of the queue."""

    owner: str
    outcome: str


Command = Claim | AddRows | Publish | Fail | Abandon | Sweep | Release | Invalidate | Delete | EndOwner
Answer = bool | str | None


class ViolationError(Exception):
    """A promise is broken."""


def apply(file: File, command: Command) -> tuple[File, Answer]:
    """What a command makes of the file, and its answer."""
    lock = file.lock
    in_progress = lock if lock is not None and lock.state is State.IN_PROGRESS else None
    match command:
        case Claim(owner, handle, over, older):
            if lock is not None and lock.handle == over:
                file = _unlocked(file, "died")
            if file.lock is not None or file.stored not in {None, older}:
                return file, False
            return file._replace(lock=Lock(handle, State.IN_PROGRESS, owner)), True
        case AddRows(_, handle):
            if in_progress is None or in_progress.handle != handle:
                return file, False
            return file._replace(with_rows=file.with_rows | {handle}), True
        case Publish(_, handle, replaces):
            if in_progress is None or in_progress.handle != handle:
                return file, False
            if replaces and file.stored is not None:
                file = _dropped(file)
            if file.stored is not None:
                raise ViolationError(f"{handle} would be a second shape of its key")
            file = file._replace(stored=handle, lock=None, with_rows=file.with_rows | {handle})
            return _with_outcome(file, handle, "created"), True
        case Fail(_, handle):
            if in_progress is None or in_progress.handle != handle:
                return file, False
            file = file._replace(lock=in_progress._replace(state=State.FAILED), discarded=file.discarded | {handle})
            return _with_outcome(file, handle, "failed"), True
        case Abandon(owner, handle):
            if in_progress is None or in_progress.handle != handle or in_progress.owner != owner:
                return file, False
            return _unlocked(file, "abandoned"), True
        case Sweep(_, handle):
            if lock is not None and lock.handle == handle and lock.state is State.FAILED:
                file = file._replace(lock=None)
            return file, None
        case Release():
            return (file, None) if lock is None else (_unlocked(file, "released"), lock.handle)
        case Invalidate():
            if in_progress is not None:
                file = _unlocked(file, "invalidated")
            if file.stored is not None:
                file = _dropped(file)
            return file, None if in_progress is None else in_progress.handle
        case Delete(handle):
            if file.stored != handle:
                return file, False
            return _dropped(file), True
        case EndOwner(owner, outcome):
            return (_unlocked(file, outcome), None) if lock is not None and lock.owner == owner else (file, None)


def _dropped(file: File) -> File:
    """Without its shape, whose handle is kept for its readers."""
    assert file.stored is not None
    return file._replace(stored=None, kept=file.kept | {file.stored})


def _unlocked(file: File, outcome: str) -> File:
    """Without its lock row. An attempt in progress ends; a failure has ended before."""
    assert file.lock is not None
    handle, state, _ = file.lock
    file = file._replace(lock=None)
    if state is State.FAILED:
        return file
    return _with_outcome(file._replace(discarded=file.discarded | {handle}), handle, outcome)


def _with_outcome(file: File, handle: str, outcome: str) -> File:
    if file.outcome(handle) is not None:
        raise ViolationError(f"{handle} was {file.outcome(handle)}, and is now {outcome} too")
    return file._replace(outcomes=file.outcomes | {(handle, outcome)})


def seen_in(file: File, awaited: str | None) -> KeyState:
    """What a poll sees."""
    lock = file.lock and LockState(
        file.lock.handle,
        file.lock.state,
        file.lock.owner,
        failure_of(file.lock.handle) if file.lock.state is State.FAILED else None,
    )
    return KeyState(file.stored, lock, failure_of(awaited) if awaited and file.outcome(awaited) == "failed" else None)


def failure_of(handle: str) -> Failure:
    """Each attempt fails in a way of its own, so that no failure can be taken for another's."""
    return Failure("SourceError", f"failure of {handle}", RETRY_AFTER_MS)


# --- the processes ------------------------------------------------------------------------------------------------


class Phase(IntEnum):
    POLLING = 1
    CLAIMING = 2
    """It has decided to lead; the claim is on its way."""
    RELEASING = 3
    """It has decided to release a row of its own; the command is on its way."""
    CREATING = 4
    PUBLISHING = 5
    FAILING = 6
    ABANDONING = 7


class Flight(NamedTuple):
    phase: Phase
    awaited: str | None = None
    older: str | None = None
    handle: str | None = None
    """What it leads under, takes over, or releases."""


class Process(NamedTuple):
    owner: str | None
    """None if it is dead."""
    flight: Flight | None = None
    timers: frozenset[str] = frozenset()
    """Failures that are to be swept, some time or never; only that of the lock row makes a difference."""
    seen_long_ago: str | None = None
    """The failure that it has seen for longer than its TTL."""


class World(NamedTuple):
    file: File
    processes: tuple[Process, ...]

    def is_alive(self, owner: str) -> bool:
        return any(process.owner == owner for process in self.processes)


@dataclass(frozen=True)
class Happening:
    """Which things may happen, beside processes doing their work."""

    refreshes: bool = True
    crashes: bool = True
    closes: bool = True
    persons: bool = True
    disk_errors: bool = True
    impatience: bool = True
    """Callers who go away."""
    trimming: bool = True
    """So many outcomes of other keys that the record of the one that was waited for is trimmed."""


class Move(NamedTuple):
    """One step from a world to the next."""

    what: str
    actor: int | None
    """The process whose step it is; None for a person."""
    world: World
    forward: bool = False
    """Whether a flight does its work, without bad luck."""
    calm: bool = True
    """Whether it needs no crash and no person."""
    did: tuple[tuple[Command, Answer], ...] = ()


NEW = "new"
"""The name of what a move brings into the world, until it is numbered."""


def moves(world: World, may: Happening) -> Iterator[Move]:
    """All that may happen next."""
    for i, process in enumerate(world.processes):
        for move in _moves_of(world, i, process, may):
            yield move._replace(world=canonical(move.world))
    if may.persons:
        for what, command in (("release", Release()), ("invalidate", Invalidate())):
            yield _done_by_a_person(world, what, command)
        if world.file.stored is not None:
            yield _done_by_a_person(world, "delete", Delete(world.file.stored))


def _done_by_a_person(world: World, what: str, command: Command) -> Move:
    file, answer = apply(world.file, command)
    return Move(f"a person: {what}", None, canonical(world._replace(file=file)), calm=False, did=((command, answer),))


def _moves_of(world: World, i: int, process: Process, may: Happening) -> Iterator[Move]:
    me, flight, file = process.owner, process.flight, world.file

    def move(
        what: str,
        then: Process,
        *commands: tuple[Command, Answer],
        into: File = file,
        forward: bool = False,
        calm: bool = True,
    ) -> Move:
        processes = (*world.processes[:i], then, *world.processes[i + 1 :])
        return Move(f"process {i}: {what}", i, World(into, processes), forward, calm, commands)

    if me is None:
        then, did = file, []
        if file.lock is not None and not world.is_alive(file.lock.owner):
            command = EndOwner(file.lock.owner, "died")
            then, _ = apply(file, command)
            did.append((command, None))
        yield move("restarts", Process(NEW), *did, into=then, calm=False)
        return

    if may.crashes:
        yield move("crashes", Process(None), calm=False)
    if may.closes:
        closing = EndOwner(me, "abandoned")
        yield move("closes", Process(None), (closing, None), into=apply(file, closing)[0], calm=False)
    for handle in process.timers:
        swept = Sweep(me, handle)
        then = apply(file, swept)[0]
        yield move(f"sweeps {handle}", process._replace(timers=process.timers - {handle}), (swept, None), into=then)
    lock = file.lock
    if lock is not None and lock.owner == me and lock.state is State.IN_PROGRESS and not _leads(flight, lock.handle):
        orphan = Abandon(me, lock.handle)
        yield move("releases an orphan", process, (orphan, True), into=apply(file, orphan)[0])
    if lock is not None and lock.state is State.FAILED and process.seen_long_ago != lock.handle:
        # Time that passes without having been seen only makes the TTL begin later: `seen_long_ago` may come late.
        yield move("has seen the failure for long", process._replace(seen_long_ago=lock.handle))

    if flight is None:
        if file.stored is None:
            yield move("asks", process._replace(flight=Flight(Phase.POLLING)))
        if may.refreshes:
            yield move("refreshes", process._replace(flight=Flight(Phase.POLLING, older=file.stored)))
        return
    if may.impatience and flight.phase is Phase.POLLING:
        # One that has a command in flight gets its answer first.
        yield move("is left by its callers", process._replace(flight=None))
    for made in _flight_moves(world, process, me, flight, may):
        yield move(made.what, made.then, *made.did, into=made.file, forward=made.forward)


def _leads(flight: Flight | None, handle: str) -> bool:
    return flight is not None and flight.phase >= Phase.CREATING and flight.handle == handle


WAITS = "waits"


class _Made(NamedTuple):
    what: str
    then: Process
    file: File
    did: tuple[tuple[Command, Answer], ...] = ()
    forward: bool = True


def _flight_moves(world: World, process: Process, me: str, flight: Flight, may: Happening) -> Iterator[_Made]:
    file = world.file

    ends = process._replace(flight=None)
    polls = process._replace(flight=flight._replace(phase=Phase.POLLING, handle=None))

    def goes_on(phase: Phase) -> Process:
        return process._replace(flight=flight._replace(phase=phase))

    def tries(what: str, command: Command, held: Process, in_trouble: Process) -> Iterator[_Made]:
        """A command is committed; or the disk reports an error, and nothing was committed, or all the same it was.

        A flight whose command is void polls again, if there still is a caller.
        """
        then, answer = apply(file, command)
        did = ((command, answer),)
        if answer:
            yield _Made(f"{what}: done", held, then, did)
        else:
            yield _Made(f"{what}: void", polls, then, did)
            if may.impatience:
                yield _Made(f"{what}: void, and without callers", ends, then, did, forward=False)
        if may.disk_errors:
            yield _Made(f"{what}: refused", in_trouble, file, forward=False)
            yield _Made(f"{what}: refused, but done", in_trouble, then, did, forward=False)

    handle = flight.handle or ""
    match flight.phase:
        case Phase.POLLING:
            yield _polled(world, process, me, flight)
            if may.trimming and flight.awaited is not None:
                yield _polled(world, process, me, flight, trimmed=True)
        case Phase.CLAIMING:
            leads = process._replace(flight=flight._replace(phase=Phase.CREATING, handle=NEW))
            yield from tries("claims", Claim(me, NEW, flight.handle, flight.older), leads, ends)
        case Phase.RELEASING:
            yield from tries("releases its own", Abandon(me, handle), polls, ends)
        case Phase.CREATING:
            yield _Made("creates", goes_on(Phase.PUBLISHING), file)
            yield _Made("fails to create", goes_on(Phase.FAILING), file)
            if handle not in file.with_rows:
                sent = AddRows(me, handle)
                then, added = apply(file, sent)
                yield _Made("adds rows", process if added else goes_on(Phase.ABANDONING), then, ((sent, added),))
            if file.lock is None or file.lock.handle != handle:
                yield _Made("is told that it is superseded", goes_on(Phase.ABANDONING), file)
        # An outcome always lands: in trouble, it is tried again.
        case Phase.PUBLISHING:
            yield from tries("publishes", Publish(me, handle, flight.older is not None), ends, process)
        case Phase.FAILING:
            failed = ends._replace(timers=ends.timers | {handle})
            yield from tries("fails", Fail(me, handle), failed, process)
        case Phase.ABANDONING:
            yield from tries("gives up", Abandon(me, handle), polls, process)


def _polled(world: World, process: Process, me: str, flight: Flight, *, trimmed: bool = False) -> _Made:
    """A poll, and the decision on it."""
    file, lock = world.file, world.file.lock
    failed = lock is not None and lock.state is State.FAILED
    seen_ms = RETRY_AFTER_MS + 1.0 if lock is not None and failed and process.seen_long_ago == lock.handle else 0.0
    seen = seen_in(file, None if trimmed else flight.awaited)
    step = decide(
        seen,
        me=me,
        owner_alive=lock is None or world.is_alive(lock.owner),
        failure_seen_ms=seen_ms,
        awaited=flight.awaited,
        older=flight.older,
    )
    _check_step(world, me, flight, step, seen_ms, trimmed=trimmed)
    match step:
        case create_lock.Serve() | create_lock.Raise():
            return _Made(f"is answered: {step}", process._replace(flight=None), file)
        case create_lock.Follow(handle):
            return _Made(WAITS, process._replace(flight=flight._replace(awaited=handle)), file)
        case create_lock.Lead(over):
            then = flight._replace(phase=Phase.CLAIMING, handle=over)
        case create_lock.ReleaseOwn(handle):
            then = flight._replace(phase=Phase.RELEASING, handle=handle)
    return _Made(f"decides: {step}", process._replace(flight=then), file)


def _check_step(
    world: World, me: str, flight: Flight, step: create_lock.Step, seen_ms: float, *, trimmed: bool
) -> None:
    """What must be true of every judgement."""
    file, lock = world.file, world.file.lock
    has_row = lock is not None and lock.handle == flight.awaited
    if flight.awaited and file.outcome(flight.awaited) == "failed" and (has_row or not trimmed):
        wanted = create_lock.Raise(failure_of(flight.awaited))
        if step != wanted and not isinstance(step, create_lock.Serve):
            raise ViolationError(f"the failure of {flight.awaited} was waited for, and is lost: {step}")
    if isinstance(step, create_lock.Serve) and file.stored in {None, flight.older}:
        raise ViolationError("a shape is answered that is not there, or was to be replaced")
    if isinstance(step, create_lock.Follow) and not (
        lock is not None and lock.state is State.IN_PROGRESS and lock.owner != me and world.is_alive(lock.owner)
    ):
        raise ViolationError("it waits, and there is nothing to wait for")
    if isinstance(step, create_lock.Lead) and step.over is not None:
        assert lock is not None
        assert lock.handle == step.over
        if world.is_alive(lock.owner) and not (lock.state is State.FAILED and seen_ms > RETRY_AFTER_MS):
            raise ViolationError("it takes over an attempt of the living")
    if isinstance(step, create_lock.Raise) and lock is not None and step.failure == failure_of(lock.handle):
        over = not world.is_alive(lock.owner) or seen_ms > RETRY_AFTER_MS
        if over and flight.awaited != lock.handle:
            raise ViolationError("a failure outlives its TTL")


# --- exploring ----------------------------------------------------------------------------------------------------


CURRENT, STORED, GONE, FAILED_BEFORE, DEAD = "current", "stored", "gone", "failed before", "dead"
"""The parts that a handle, or an owner, can have in a world. A shape that is stored is called so before all else."""


def canonical(world: World) -> World:
    """The same world, told by parts instead of names, and without what makes no difference any more."""
    return _canonical(world)[0]


def _canonical(world: World) -> tuple[World, list[int]]:
    """And which process is now at each place."""
    file, lock = world.file, world.file.lock
    check_file(file)
    parts = {None: None} | {lock.handle: CURRENT for lock in [lock] if lock} | {file.stored: STORED}
    parts[None] = None

    def process(old: Process) -> Process:
        flight = old.flight
        if flight is not None:
            awaited = parts.get(flight.awaited, FAILED_BEFORE if file.outcome(flight.awaited) == "failed" else None)
            # What is gone, and was claimed over, makes no difference to a claim: it cannot come back.
            no_handle = None if flight.phase is Phase.CLAIMING else GONE
            flight = Flight(
                flight.phase,
                None if awaited == STORED else awaited,
                parts.get(flight.older, GONE),
                parts.get(flight.handle, no_handle),
            )
        failed = lock is not None and lock.state is State.FAILED
        timers = frozenset([CURRENT]) if lock is not None and failed and lock.handle in old.timers else frozenset()
        seen = CURRENT if lock is not None and failed and lock.handle == old.seen_long_ago else None
        return Process(old.owner and "me", flight, timers, seen)

    def appearance(i: int) -> tuple[object, ...]:
        _, flight, timers, seen = processes[i]
        leads = lock is not None and lock.owner == world.processes[i].owner
        return processes[i].owner or "", leads, bool(timers), seen or "", flight is not None, *map(_text, flight or ())

    processes = [process(old) for old in world.processes]
    order = sorted(range(len(processes)), key=appearance)
    owners = {world.processes[i].owner: f"o{place}" for place, i in enumerate(order) if world.processes[i].owner}
    named = tuple(processes[i]._replace(owner=owners.get(world.processes[i].owner)) for i in order)
    outcomes, discarded, with_rows = set(), set(), set()
    if lock is not None:
        new_lock = Lock(CURRENT, lock.state, owners.get(lock.owner, DEAD))
        if lock.state is State.FAILED:
            outcomes.add((CURRENT, "failed"))
            discarded.add(CURRENT)
        elif lock.handle in file.with_rows:
            with_rows.add(CURRENT)
    if file.stored is not None:
        outcomes.add((STORED, "created"))
        with_rows.add(STORED)
    if any(process.flight and process.flight.awaited == FAILED_BEFORE for process in named):
        outcomes.add((FAILED_BEFORE, "failed"))
        discarded.add(FAILED_BEFORE)
    told = File(
        file.stored and STORED,
        lock and new_lock,
        frozenset(outcomes),
        frozenset(discarded),
        frozenset(),
        frozenset(with_rows),
    )
    return World(told, named), order


def _text(value: object) -> str:
    return "" if value is None else str(value)


def check_file(file: File) -> None:
    """What must be true of the file at any moment."""
    in_progress = file.lock.handle if file.lock is not None and file.lock.state is State.IN_PROGRESS else None
    for handle, outcome in file.outcomes:
        if handle != file.stored and handle not in file.discarded | file.kept:
            raise ViolationError(f"{handle} was {outcome}, is not stored, and is neither pending deletion nor kept")
        if handle == in_progress:
            raise ViolationError(f"{handle} was {outcome}, and is in progress")
    gone = file.discarded | file.kept
    if file.stored is not None and (file.stored in gone or file.outcome(file.stored) != "created"):
        raise ViolationError(f"{file.stored} is stored, but {file.outcome(file.stored)}, or discarded, or kept")
    if file.discarded & file.kept or any(file.outcome(handle) != "created" for handle in file.kept):
        raise ViolationError(f"{file.kept} are kept, and not all of them were shapes, or some are discarded")
    if file.lock is not None and in_progress is None and file.outcome(file.lock.handle) != "failed":
        raise ViolationError(f"{file.lock.handle} is said to have failed, but was {file.outcome(file.lock.handle)}")
    if lost := file.with_rows - gone - {file.stored, in_progress}:
        raise ViolationError(f"the rows of {lost} belong to nothing")


class Explored(NamedTuple):
    worlds: dict[World, tuple[World, str] | None]
    """Every world that can be reached, and one that it was reached from, and by what."""
    did: dict[tuple[File, Command], tuple[File, Answer]]
    """Every command that was done, with the file before and after."""
    moves: int

    def way_to(self, world: World) -> str:
        """How a world is reached, step by step."""
        steps: list[str] = [str(world)]
        while (before := self.worlds[world]) is not None:
            world, what = before
            steps += [f"    {what}", str(world)]
        return "\n".join(reversed(steps))


def explore(processes: int, may: Happening) -> Explored:
    """Every world that can come of an empty file. Raises ViolationError, which tells how it came to it."""
    first = canonical(World(File(), tuple(Process(f"o{i}") for i in range(processes))))
    explored = Explored({first: None}, {}, 0)
    ahead = deque([first])
    calmly_from: dict[World, list[World]] = {}
    lengths: dict[tuple[World, int], int] = {}
    count = 0
    while ahead:
        world = ahead.popleft()
        try:
            for move in moves(world, may):
                count += 1
                for command, answer in move.did:
                    explored.did.setdefault((world.file, command), (apply(world.file, command)[0], answer))
                if move.calm:
                    calmly_from.setdefault(move.world, []).append(world)
                if move.world not in explored.worlds:
                    explored.worlds[move.world] = (world, move.what)
                    ahead.append(move.world)
            for i, process in enumerate(world.processes):
                if process.owner is not None:
                    way_alone(world, i, lengths)
        except ViolationError as error:
            raise ViolationError(f"{error}, in\n{explored.way_to(world)}") from error
    _check_that_rows_go(explored, calmly_from)
    return explored._replace(moves=count)


def way_alone(world: World, i: int, lengths: dict[tuple[World, int], int]) -> int:
    """How many steps the flight of process ``i`` makes at most, if no other makes any, until it has its answer.

    Or until it waits for an attempt of another who is alive: the only thing to wait for. ``lengths`` remembers.
    """
    length = lengths.get((world, i))
    if length == 0:
        raise ViolationError(f"the flight of process {i} goes in a circle, through {world}")
    if length is not None:
        return length
    lengths[world, i] = 0
    longest = 0
    process = world.processes[i]
    if process.flight is not None:
        assert process.owner is not None
        for made in _flight_moves(world, process, process.owner, process.flight, _ALL_WELL):
            processes = (*world.processes[:i], made.then, *world.processes[i + 1 :])
            then, order = _canonical(World(made.file, processes))
            j = order.index(i)
            if (then, j) == (world, i) and made.what == WAITS:
                continue
            longest = max(longest, way_alone(then, j, lengths))
    lengths[world, i] = longest + 1
    return longest + 1


_ALL_WELL = Happening(disk_errors=False, trimming=False)


def _check_that_rows_go(explored: Explored, calmly_from: dict[World, list[World]]) -> None:
    """Wherever a process is alive, the lock row can go without a crash and without a person."""
    free = [world for world in explored.worlds if world.file.lock is None]
    can_be_freed = set(free)
    while free:
        for world in calmly_from.get(free.pop(), ()):
            if world not in can_be_freed:
                can_be_freed.add(world)
                free.append(world)
    for world in explored.worlds:
        if world not in can_be_freed and any(process.owner for process in world.processes):
            raise ViolationError(f"the row is stuck, in\n{explored.way_to(world)}")
