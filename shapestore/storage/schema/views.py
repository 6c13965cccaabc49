"""The views of a store's file: what the tables say, in words, for people and the ``sqlite3`` shell.

They are made again after each migration, from here, so that no revision repeats them. No store reads them: SQLite
before 3.41 refuses ->> inside of a view where trusted_schema is off, as it is on a store's connections.
"""

from __future__ import annotations


def _time(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')"


def _age(column: str) -> str:
    """Seconds, minutes, hours or days, whichever says it in two or three digits."""
    return f"""(
            SELECT CASE WHEN s < 120 THEN s || ' s' WHEN s < 7200 THEN (s / 60) || ' min'
                        WHEN s < 172800 THEN (s / 3600) || ' h' ELSE (s / 86400) || ' days' END
            FROM (SELECT max(0, unixepoch('now') - {column} / 1000) AS s))"""


_WHO = "'process ' || pid || ' (' || program || ') on ' || hostname"

VIEWS = {
    "shapes_in_words": f"""
        CREATE VIEW shapes_in_words AS
        SELECT handle,
               namespace,
               table_name AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               coalesce(comparable ->> '$.columns', 'all') AS columns,
               row_count AS "rows",
               bytes,
               (SELECT name FROM sources WHERE sources.number = shapes.source) AS follows,
               position - max(snapshot, floor) AS changes_in_log,
               log_bytes,
               {_time("created_at_ms")} AS created_at,
               {_age("created_at_ms")} AS age,
               {_time("refreshed_at_ms")} AS refreshed_at,
               {_age("refreshed_at_ms")} AS refreshed_ago,
               {_time("last_read_at_ms")} AS last_read_at,
               {_age("last_read_at_ms")} AS unread_for
        FROM shapes
    """,
    "create_locks_in_words": f"""
        CREATE VIEW create_locks_in_words AS
        SELECT create_locks.table_name AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               CASE state
                   WHEN 'in_progress' THEN
                       iif(refreshes IS NULL, 'being created for ', 'being refreshed for ') || {_age("started_at_ms")}
                   ELSE 'failed ' || {_age("failed_at_ms")} || ' ago: ' || error_type || ': ' || error_message
               END AS what,
               CASE state
                   WHEN 'in_progress' THEN coalesce((
                       SELECT max(id) & 268435455 FROM shape_rows
                       WHERE id > create_locks.number << 28 AND id < (create_locks.number + 1) << 28), 0)
               END AS rows_so_far,
               coalesce({_WHO}, 'a store that is gone') AS who,
               {_time("started_at_ms")} AS started_at,
               handle,
               create_locks.owner
        FROM create_locks LEFT JOIN owners ON owners.owner = create_locks.owner
    """,
    "owners_in_words": f"""
        CREATE VIEW owners_in_words AS
        SELECT {_WHO} AS who,
               (SELECT count(*) FROM create_locks
                WHERE create_locks.owner = owners.owner AND state = 'in_progress') AS creating,
               (SELECT count(*) FROM readers WHERE readers.owner = owners.owner) AS reading_for_long,
               {_time("opened_at_ms")} AS opened_at,
               {_age("opened_at_ms")} AS age,
               owner
        FROM owners
    """,
    "sources_in_words": f"""
        CREATE VIEW sources_in_words AS
        SELECT name AS source,
               (SELECT count(*) FROM shapes WHERE shapes.source = sources.number) AS live_shapes,
               (SELECT group_concat(source_tables.name, ', ') FROM source_tables
                WHERE source_tables.source = sources.number) AS tables,
               followed_seq AS followed_up_to,
               {_time("followed_at_ms")} AS followed_at,
               {_age("followed_at_ms")} || ' ago' AS "when",
               iif(unfinished_round IS NULL, 'between rounds', 'in round ' || unfinished_round) AS what,
               (SELECT count(*) FROM rounds WHERE rounds.source = sources.number) AS rounds,
               (SELECT count(*) FROM shape_changes JOIN shapes ON shapes.number = shape
                WHERE shapes.source = sources.number) AS changes_in_logs
        FROM sources
    """,
    "creations_in_words": f"""
        CREATE VIEW creations_in_words AS
        SELECT {_time("finished_at_ms")} AS finished_at,
               {_age("finished_at_ms")} || ' ago' AS "when",
               outcome,
               comparable ->> '$.table' AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               row_count AS "rows",
               changes,
               duration_ms || ' ms' AS took,
               followers AS followers_served,
               error_type || ': ' || error_message AS error,
               handle
        FROM creations ORDER BY number DESC
    """,
    "changes_in_words": f"""
        CREATE VIEW changes_in_words AS
        SELECT handle,
               shape_changes.position,
               shape_changes.round,
               {_time("ended_at_ms")} AS changed_at,
               operation,
               key,
               old
        FROM shape_changes JOIN shapes ON shapes.number = shape_changes.id >> 28
            LEFT JOIN rounds ON rounds.number = shape_changes.round
    """,
    "kept_in_words": f"""
        CREATE VIEW kept_in_words AS
        SELECT handle,
               table_name AS "table",
               comparable ->> '$.where' AS "where",
               comparable ->> '$.params' AS params,
               row_count AS "rows",
               bytes + log_bytes AS bytes,
               (SELECT count(*) FROM readers WHERE readers.shape = kept.number) AS readers,
               {_age("gone_at_ms")} || ' ago' AS gone
        FROM kept ORDER BY sequence DESC
    """,
    # The numbers of shape_rows are found by one seek each, however many rows there are.
    "left_behind": """
        CREATE VIEW left_behind AS
        WITH RECURSIVE
            ids (id) AS (
                SELECT min(id) FROM shape_rows
                UNION ALL
                SELECT (SELECT min(shape_rows.id) FROM shape_rows WHERE shape_rows.id >= ((ids.id >> 28) + 1) << 28)
                FROM ids WHERE ids.id IS NOT NULL
            ),
            numbers (number) AS (SELECT id >> 28 FROM ids WHERE id IS NOT NULL)
        SELECT 'rows pending deletion' AS what, number
        FROM discarded
        UNION ALL
        SELECT 'rows that belong to no shape', number
        FROM numbers
        WHERE number NOT IN (SELECT number FROM shapes)
            AND number NOT IN (SELECT number FROM kept)
            AND number NOT IN (SELECT number FROM discarded)
            AND number NOT IN (SELECT number FROM create_locks WHERE state = 'in_progress')
        UNION ALL
        SELECT 'a lock of a store that is gone', number
        FROM create_locks WHERE owner NOT IN (SELECT owner FROM owners)
    """,
}
