"""As of when a source was read, as change capture counts it."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection

from shapestore.source.catalogue.catalogue import Place
from shapestore.source.keyed import Moment
from shapestore.source.sqlite_feed.changes import newest, recent_markers
from shapestore.source.sqlite_feed.file import NO_FILE, path_of, why_unnamed
from shapestore.source.sqlite_feed.followed_table import refuse_other_modes, refuse_store
from shapestore.source.sqlite_feed.installation import signature
from shapestore.source.sqlite_feed.refusals import refusal


def moment_of(connection: Connection) -> Moment:
    """Where a source stands, in the transaction of ``connection``."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        return Moment()
    position = newest(driver)
    if position is None:
        return Moment(path_of(driver))
    return Moment(path_of(driver), *position, markers=recent_markers(driver))


def followed_moment_of(connection: Connection, place: Place) -> Moment:
    """The same with the signature of the table at ``place``, None unless its changes are captured.

    Raises InvalidSourceError if they cannot be.
    """
    moment = moment_of(connection)
    if moment.source is None or place.schema != "main":
        where = NO_FILE if moment.source is None else "only the tables of a source's main database can be followed"
        raise refusal(place.table, where)
    if why := why_unnamed(moment.source):
        raise refusal(place.table, why)
    driver: Any = connection.connection.driver_connection
    refuse_store(driver, place.table)
    refuse_other_modes(driver, place.table)
    return moment._replace(signature=signature(driver, place.table), table=place.table)
