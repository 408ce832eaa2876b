# SPDX-License-Identifier: GPL-2.0-only
"""The tables of the journal, their rows, and how older files become new ones.

64-bit values, Identification and NTP times, are stored as 16 hexadecimal digits:
lossless, sorted like the numbers, and readable with the `sqlite3` command in the form
that logs and JSON show.
"""

from __future__ import annotations

import math
import operator
import socket
import sqlite3
from collections.abc import Sequence
from typing import Any

from mip_agents.protocol.effects import (
    BindingRecord,
    IdentificationRecord,
    LeaseRecord,
    NonceRecord,
)
from mip_agents.protocol.names import canonical

SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE binding (
    home_address TEXT NOT NULL,
    care_of_address TEXT NOT NULL,
    home_agent TEXT NOT NULL,
    flags INTEGER NOT NULL,
    lifetime INTEGER NOT NULL,
    expires TEXT NOT NULL,          -- NTP time, 16 hexadecimal digits
    identification TEXT NOT NULL,   -- 16 hexadecimal digits
    spi INTEGER NOT NULL,
    source TEXT NOT NULL,
    send_key INTEGER,               -- GRE keys, or NULL
    receive_key INTEGER,
    newest INTEGER NOT NULL DEFAULT 0,
        -- 1: nothing newer was accepted from the node with this home address when the
        -- row was written, and table identification does not repeat it
    ends REAL,                      -- monotonic second of that boot, or NULL
    PRIMARY KEY (home_address, care_of_address)
) WITHOUT ROWID;
CREATE TABLE identification (
    node TEXT PRIMARY KEY,          -- home address, or NAI
    identification TEXT NOT NULL    -- 16 hexadecimal digits
) WITHOUT ROWID;
CREATE TABLE nonce (
    node TEXT PRIMARY KEY,          -- home address, or NAI
    identification TEXT NOT NULL,   -- 16 hexadecimal digits
    nonce INTEGER NOT NULL          -- what the reply gave out, 32 bits
) WITHOUT ROWID;
CREATE TABLE lease (
    nai TEXT PRIMARY KEY,
    home_address TEXT NOT NULL UNIQUE,
    granted TEXT NOT NULL           -- NTP time, 16 hexadecimal digits
) WITHOUT ROWID;
CREATE TABLE boot (
    id TEXT PRIMARY KEY             -- of the boot to which binding.ends belongs
) WITHOUT ROWID;
"""
_UPGRADES = {
    1: """
ALTER TABLE binding ADD COLUMN send_key INTEGER;
ALTER TABLE binding ADD COLUMN receive_key INTEGER;
ALTER TABLE identification RENAME COLUMN home_address TO node;
CREATE TABLE nonce (
    node TEXT PRIMARY KEY,
    identification TEXT NOT NULL,
    nonce INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE lease (
    nai TEXT PRIMARY KEY,
    home_address TEXT NOT NULL UNIQUE,
    granted TEXT NOT NULL
) WITHOUT ROWID;
""",
    2: """
ALTER TABLE binding ADD COLUMN newest INTEGER NOT NULL DEFAULT 0;
""",
    3: """
ALTER TABLE binding ADD COLUMN ends REAL;
CREATE TABLE boot (id TEXT PRIMARY KEY) WITHOUT ROWID;
""",
}
"""What makes a file of the next version out of one of this version."""

TABLES = {
    "binding": (
        "home_address",
        "care_of_address",
        "home_agent",
        "flags",
        "lifetime",
        "expires",
        "identification",
        "spi",
        "source",
        "send_key",
        "receive_key",
        "newest",
        "ends",
    ),
    "identification": ("node", "identification"),
    "nonce": ("node", "identification", "nonce"),
    "lease": ("nai", "home_address", "granted"),
    "boot": ("id",),
}
_KEY = ("home_address", "care_of_address")
RENEWED = tuple(
    column
    for column in TABLES["binding"]
    if column not in (*_KEY, "send_key", "receive_key")
)
"""The columns of a binding without GRE keys, besides its key."""
_renewed_part = operator.itemgetter(
    *[TABLES["binding"].index(column) for column in (*RENEWED, *_KEY)]
)
_HEX = frozenset("0123456789abcdef")

Row = tuple[str | float | None, ...]


class UnknownSchemaError(Exception):
    """The file holds other tables than this version knows; the text says which."""


def prepare(database: sqlite3.Connection) -> None:
    """Make the tables of an empty file, or bring those of an older one up to date.

    :raises UnknownSchemaError: it is of a newer version, or of another program.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise UnknownSchemaError(
            f"was written by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): upgrade, or move the file away"
        )
    if version == 0 and not _columns(database):
        _run(database, _SCHEMA, SCHEMA_VERSION)
    elif version in _UPGRADES:
        orders = (_UPGRADES[step] for step in range(version, SCHEMA_VERSION))
        try:
            _run(database, "".join(orders), SCHEMA_VERSION)
        except sqlite3.OperationalError as error:
            database.rollback()
            # A full disk is no fault of the file. Tables that are not there are.
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
    found = _columns(database)
    if any(found.get(table) != columns for table, columns in TABLES.items()):
        raise UnknownSchemaError(
            "is no journal of this program: move the file away, or set "
            "state_dir to a directory of this agent's own"
        )


def enter_boot(database: sqlite3.Connection, boot: str) -> None:
    """Forget monotonic seconds of another boot: they mean nothing in this one."""
    if database.execute("SELECT id FROM boot").fetchall() == [(boot,)]:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE binding SET ends = NULL WHERE ends IS NOT NULL")
        database.execute("DELETE FROM boot")
        database.execute("INSERT INTO boot VALUES (?)", (boot,))


def _run(database: sqlite3.Connection, orders: str, version: int) -> None:
    """Carry out all the orders, or none."""
    database.executescript(
        f"BEGIN IMMEDIATE; {orders} PRAGMA user_version = {version}; COMMIT"
    )


def _columns(database: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Return the columns of each table."""
    found: dict[str, tuple[str, ...]] = {}
    for table, column in database.execute(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table' ORDER BY m.name, c.cid"
    ):
        found[table] = (*found.get(table, ()), column)
    return found


def binding_row(record: BindingRecord, *, newest: bool) -> Row:
    """Return the row of a binding.

    :raises OverflowError: a 64-bit value is none.
    :param newest: whether it stands for the newest Identification of the node, too.
    """
    return (
        record.home_address,
        record.care_of_address,
        record.home_agent,
        record.flags,
        record.lifetime,
        record.expires.to_bytes(8, "big").hex(),
        record.identification.to_bytes(8, "big").hex(),
        record.spi,
        record.source,
        record.send_key,
        record.receive_key,
        1 if newest else 0,
        record.ends,
    )


def renewed_part(row: Row) -> Row:
    """Return `RENEWED` of the row of a binding, and then its key."""
    part: Row = _renewed_part(row)
    return part


def identification_row(node: str, identification: int) -> Row:
    """Return the row of the newest Identification of a node."""
    return node, f"{identification:016x}"


def nonce_row(record: NonceRecord) -> Row:
    """Return the row of the nonce that a node was given."""
    return record.node, f"{record.identification:016x}", record.nonce


def lease_row(record: LeaseRecord) -> Row:
    """Return the row of a lease."""
    return record.nai, record.home_address, f"{record.granted:016x}"


def binding(row: Sequence[Any]) -> BindingRecord:
    """Return the binding of a row.

    :raises ValueError: names the column that cannot be.
    """
    value = dict(zip(TABLES["binding"], row, strict=True))
    _number(value, "newest", 0, 1)
    return BindingRecord(
        home_address=_address(value, "home_address"),
        care_of_address=_address(value, "care_of_address"),
        home_agent=_address(value, "home_agent"),
        flags=_number(value, "flags", 0, 0xFF),
        lifetime=_number(value, "lifetime", 1, 0xFFFF),
        expires=_ntp(value, "expires"),
        identification=_ntp(value, "identification"),
        spi=_number(value, "spi", 0, 0xFFFFFFFF),
        source=_address(value, "source"),
        send_key=_key(value, "send_key"),
        receive_key=_key(value, "receive_key"),
        ends=_second(value, "ends"),
    )


def newest(row: Sequence[Any]) -> IdentificationRecord | None:
    """Return the newest Identification of a node if it stands in the row of a binding.

    Nothing else in the row has to make sense; in doubt, it is the newest.

    :raises ValueError: names the column that cannot be.
    """
    value = dict(zip(TABLES["binding"], row, strict=True))
    if value["newest"] == 0:
        return None
    return IdentificationRecord(
        _address(value, "home_address"), _ntp(value, "identification")
    )


def identification(row: Sequence[Any]) -> IdentificationRecord:
    """Return the Identification of a row.

    :raises ValueError: names the column that cannot be.
    """
    value = dict(zip(TABLES["identification"], row, strict=True))
    return IdentificationRecord(_node(value, "node"), _ntp(value, "identification"))


def nonce(row: Sequence[Any]) -> NonceRecord:
    """Return the nonce of a row.

    :raises ValueError: names the column that cannot be.
    """
    value = dict(zip(TABLES["nonce"], row, strict=True))
    return NonceRecord(
        node=_node(value, "node"),
        identification=_ntp(value, "identification"),
        nonce=_number(value, "nonce", 0, 0xFFFFFFFF),
    )


def lease(row: Sequence[Any]) -> LeaseRecord:
    """Return the lease of a row.

    :raises ValueError: names the column that cannot be.
    """
    value = dict(zip(TABLES["lease"], row, strict=True))
    return LeaseRecord(
        nai=_name(value, "nai"),
        home_address=_address(value, "home_address"),
        granted=_ntp(value, "granted"),
    )


def _node(row: dict[str, Any], column: str) -> str:
    return (_name if "@" in str(row[column]) else _address)(row, column)


def _name(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str) or canonical(value) != value:
        raise ValueError(f"{column} is no NAI")
    return value


def _address(row: dict[str, Any], column: str) -> str:
    value = row[column]
    try:
        socket.inet_pton(socket.AF_INET, value)
    except (OSError, TypeError, ValueError):
        raise ValueError(f"{column} is no IPv4 address") from None
    return str(value)


def _key(row: dict[str, Any], column: str) -> int | None:
    return None if row[column] is None else _number(row, column, 0, 0xFFFFFFFF)


def _number(row: dict[str, Any], column: str, least: int, most: int) -> int:
    value = row[column]
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{column} is no number from {least} to {most}")
    return value


def _second(row: dict[str, Any], column: str) -> float | None:
    value = row[column]
    if value is not None and not (isinstance(value, float) and math.isfinite(value)):
        raise ValueError(f"{column} is no number of seconds")
    return value


def _ntp(row: dict[str, Any], column: str) -> int:
    value = row[column]
    if not isinstance(value, str) or len(value) != 16 or not _HEX.issuperset(value):
        raise ValueError(f"{column} has not 16 hexadecimal digits")
    return int(value, 16)
