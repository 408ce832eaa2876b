# SPDX-License-Identifier: GPL-2.0-only
"""What of a batch of changes is written to the journal: the last of each key.

The newest Identification of a node that is known by its home address mostly stands in
the binding that came with it. Then that one row is all that a renewal writes; the row
says by its column `newest` that it counts for both. Before such a row goes, or becomes
one that says less, its Identification moves to the table of its own.

Most rows are there already and are renewed. To update one takes three quarters of the
time that it takes to put another in its place, provided that columns which are mostly
NULL, the GRE keys, are not given as None: Python's binding is slow with that. All
columns are written, so that a renewal mends whatever was wrong with its row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mip_agents.protocol.effects import (
    BindingRecord,
    Change,
    DroppedBinding,
    IdentificationRecord,
    LeaseRecord,
    NonceRecord,
    RenewedBinding,
)
from mip_agents.runtime import tables
from scapy_mip.ident import difference

_Key = tuple[str, str]

_INSERT = {
    table: f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(columns))})"
    for table, columns in tables.TABLES.items()
}
_RENEW = (
    f"UPDATE binding SET {', '.join(f'{column} = ?' for column in tables.RENEWED)},"
    " send_key = NULL, receive_key = NULL"
    " WHERE home_address = ? AND care_of_address = ?"
)
_DELETE = "DELETE FROM binding WHERE home_address = ? AND care_of_address = ?"
_NEWEST_OF_BINDING = (
    "SELECT home_address, identification FROM binding"
    " WHERE home_address = ? AND care_of_address = ? AND newest"
)
_NEWEST = "SELECT node, identification FROM identification WHERE node = ?"


class Folded:
    """A batch of changes, of which the order no longer matters."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._dropped: dict[_Key, None] = {}
        self._bindings: dict[_Key, BindingRecord] = {}
        self._renewed: dict[_Key, BindingRecord] = {}
        """What `_RENEW` writes: renewals of rows that are there."""
        self._newest: dict[str, int] = {}
        self._nonces: dict[str, NonceRecord] = {}
        self._leases: dict[str, LeaseRecord] = {}
        for change in changes:
            match change:
                case RenewedBinding():
                    record = change.binding
                    key = record.home_address, record.care_of_address
                    self._newest[record.home_address] = record.identification
                    keyless = record.send_key is None and record.receive_key is None
                    if keyless and key not in self._bindings:
                        self._renewed[key] = record
                    else:
                        self._bindings[key] = record
                case BindingRecord():
                    key = change.home_address, change.care_of_address
                    self._bindings[key] = change
                    self._renewed.pop(key, None)
                    self._dropped.pop(key, None)
                case IdentificationRecord():
                    self._newest[change.node] = change.identification
                case DroppedBinding():
                    key = change.home_address, change.care_of_address
                    self._dropped[key] = None
                    self._bindings.pop(key, None)
                    self._renewed.pop(key, None)
                case NonceRecord():
                    self._nonces[change.node] = change
                case LeaseRecord():
                    # The row of whoever had the address goes with INSERT OR REPLACE,
                    # so that here the order counts.
                    self._leases.pop(change.nai, None)
                    self._leases[change.nai] = change

    def write(self, database: sqlite3.Connection) -> None:
        """Write the rows, inside a transaction.

        :raises sqlite3.Error: as SQLite says.
        :raises OverflowError: a number is too large.
        """
        newest = self._newest
        own = dict(newest)
        losing = list(self._dropped)
        rows, renewed = [], []
        for key, record in self._bindings.items():
            is_newest = newest.get(record.home_address) == record.identification
            if is_newest:
                own.pop(record.home_address, None)
            else:
                losing.append(key)
            rows.append(tables.binding_row(record, newest=is_newest))
        for record in self._renewed.values():
            if newest[record.home_address] == record.identification:
                own.pop(record.home_address, None)
            renewed.append(tables.binding_row(record, newest=True))
        for key in losing:
            if key[0] not in newest:
                _keep_newest(database, key)
        if self._dropped:
            database.executemany(_DELETE, list(self._dropped))
        if renewed:
            changed = database.executemany(_RENEW, map(tables.renewed_part, renewed))
            if changed.rowcount != len(renewed):
                # A row is not there, as after someone has edited the file.
                rows += renewed
        if rows:
            database.executemany(_INSERT["binding"], rows)
        if own:
            kept = [tables.identification_row(node, own[node]) for node in own]
            database.executemany(_INSERT["identification"], kept)
        if self._nonces:
            nonces = map(tables.nonce_row, self._nonces.values())
            database.executemany(_INSERT["nonce"], nonces)
        if self._leases:
            leases = map(tables.lease_row, self._leases.values())
            database.executemany(_INSERT["lease"], leases)


def _keep_newest(database: sqlite3.Connection, key: _Key) -> None:
    """Give the Identification of a binding that goes a row of its own."""
    row = database.execute(_NEWEST_OF_BINDING, key).fetchone()
    if row is None:
        return
    known = database.execute(_NEWEST, key[:1]).fetchone()
    try:
        going = tables.identification(row)
        if known is not None and not is_later(going, tables.identification(known)):
            return
    except ValueError:
        return  # a row that cannot be; the start has told of it
    database.execute(_INSERT["identification"], row)


def is_later(one: IdentificationRecord, other: IdentificationRecord) -> bool:
    """Return whether the first of two Identifications was accepted later."""
    return difference(one.identification, other.identification) > 0
