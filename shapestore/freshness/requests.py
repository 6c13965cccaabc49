"""What callers ask for: a shape, at any age or as fresh as they say."""

from __future__ import annotations

import time
from collections.abc import Collection

from shapestore.creating.coalescer import Coalescer
from shapestore.creating.services import Services
from shapestore.errors import CreateFailedError, StorageError, StoreBusyError, WaitTimeoutError
from shapestore.following.followers import Followers
from shapestore.freshness.background import BackgroundRefreshes
from shapestore.freshness.policy import Freshness, FreshnessPolicy
from shapestore.shape.shape import Shape
from shapestore.shape.stored_shape import StoredShape
from shapestore.source.creator import Creator, follows
from shapestore.storage.from_row import Confirmation
from shapestore.storage.queries import NEVER_FOLLOWED, STALE
from shapestore.waiting.followed import FollowedSources

FOLLOWED_SECONDS = 1.0
"""A source that is not followed for so long has no follower that works: its shapes are refreshed as others are."""


class Request:
    """One caller's request for the shape of ``key``, answered within ``timeout`` seconds."""

    __slots__ = ("_until", "creator", "key", "shape")

    def __init__(self, key: str, shape: Shape, creator: Creator | None, timeout: float) -> None:
        self.key = key
        self.shape = shape
        self.creator = creator
        """None is enough for what is stored and fresh."""
        self._until = time.monotonic() + timeout

    @property
    def time_left(self) -> float:
        return max(0.0, self._until - time.monotonic())


class Requests:
    """Answers requests of an open store from what is stored, or from the flights of their keys."""

    def __init__(
        self,
        services: Services,
        coalescer: Coalescer,
        background: BackgroundRefreshes,
        sources: FollowedSources,
        followers: Followers,
    ) -> None:
        self._services = services
        self._coalescer = coalescer
        self._background = background
        self._sources = sources
        self._followers = followers

    async def get(self, request: Request, policy: FreshnessPolicy) -> StoredShape:
        """The shape, as fresh as ``policy`` says. Raises as ``ShapeStore.get_or_create``."""
        if policy.max_age == 0:
            return await self._demand(request, policy)
        found = await self._services.reader.find_with_age(request.key, request.shape)
        if found is None:
            return await self.refresh(request, older=None)
        stored, mark, confirmation = found
        if self.is_in_doubt(mark, request.creator) and (mark & NEVER_FOLLOWED or self._is_adrift(request)):
            return await self._refresh_or_serve_stale(request, policy, confirmation.by, {confirmation.by})
        if self.serves(request, policy, confirmation):
            self.hit(stored)
            return stored
        followed = await self._followed(request) if stored.live else None
        if followed is not None:
            return followed
        outdated = {confirmation.by}
        if confirmation.is_stale:  # what is being read now may be older than what the application has told
            outdated |= await self._services.reader.read_too_early(request.key)
        return await self._refresh_or_serve_stale(request, policy, confirmation.by, outdated)

    def serves(self, request: Request, policy: FreshnessPolicy, confirmation: Confirmation) -> bool:
        """Whether a stored shape is an answer; a refresh is scheduled if it is stale."""
        freshness = policy.judge(confirmation)
        if freshness is Freshness.STALE and request.creator is not None:
            # Half of that time is for the refresh itself: callers wait for one that comes later.
            within = min(policy.refreshed_within(confirmation), policy.served_for(confirmation) / 2)
            self._background.schedule(request.key, request.shape, request.creator, older=confirmation.by, within=within)
        return freshness is not Freshness.EXPIRED

    def hit(self, stored: StoredShape) -> None:
        """A caller was answered by what is stored."""
        self._services.telemetry.hits += 1
        self._services.access.touch(stored.handle)

    async def refresh(
        self, request: Request, *, older: str | None, outdated: Collection[str | None] = ()
    ) -> StoredShape:
        """The shape, confirmed by another attempt than those that are ``outdated``.

        ``older`` is the attempt that has confirmed what is stored. Attempts of all processes count.
        """
        while True:
            flight = self._coalescer.join(request.key, request.shape, request.creator, older=older)
            answer = await flight.wait(request.time_left)
            # One that was in flight may only now have seen the very shape that is to be refreshed.
            if answer.confirmed_by not in outdated:
                return answer.stored
            older = answer.confirmed_by

    async def _demand(self, request: Request, policy: FreshnessPolicy) -> StoredShape:
        """``max_age=0``: an attempt that was in progress at the call has read too early to count."""
        seen, stored = await self._services.reader.poll_surely(request.key, request.shape)
        followed = await self._followed(request) if stored is not None and stored.live else None
        if followed is not None:
            return followed
        outdated = {seen.stored}
        if seen.lock is not None:
            outdated.add(seen.lock.handle)
        return await self._refresh_or_serve_stale(request, policy, seen.stored, outdated)

    async def _followed(self, request: Request) -> StoredShape | None:
        """The live shape, once it holds all that its source held at the call; None if rounds do not reach that soon."""
        found = await self._services.reader.find_marked(request.key, request.shape)
        if found is None or (self.is_in_doubt(found[1], request.creator) and self._is_adrift(request)):
            return None
        if not await self._sources.reached(request.key, min(FOLLOWED_SECONDS, request.time_left)):
            return None
        found = await self._services.reader.find_marked(request.key, request.shape)
        if found is None or found[1] & STALE or not found[0].live:  # it was touched, or replaced
            return None
        self.hit(found[0])
        return found[0]

    def is_in_doubt(self, mark: int, creator: Creator | None) -> bool:
        """Whether the creator follows its source, but the shape follows none, or one that is not followed here."""
        return mark > STALE and follows(creator) and mark & ~STALE not in self._followers.marks

    def _is_adrift(self, request: Request) -> bool:
        """Whether the shape is live, but of a source that is not the creator's, and that nobody follows any more."""
        try:
            of = self._services.reader.source_of(request.key)
        except StoreBusyError:  # for a moment: the next caller will see
            return False
        return any(self._followers.is_adrift(request.creator, number, path) for number, path in of.items())

    async def _refresh_or_serve_stale(
        self, request: Request, policy: FreshnessPolicy, older: str | None, outdated: Collection[str | None]
    ) -> StoredShape:
        try:
            return await self.refresh(request, older=older, outdated=outdated)
        except (CreateFailedError, WaitTimeoutError, StoreBusyError, StorageError):
            found = await self._services.reader.find_with_age(request.key, request.shape)
            if found is None or not policy.serves_after_error(found[2]):
                raise
            self.hit(found[0])
            return found[0]
