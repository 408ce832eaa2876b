# SPDX-License-Identifier: GPL-2.0-only
"""What outlives a process: bindings and the newest Identification of each node.

`SqliteStore` keeps them in one SQLite file per role (WAL, synchronous=FULL), one
transaction per turn of the driver. What its tables look like is in `tables.py`.

A row that cannot be is left out with an error in the log and stays in the file until
its node registers again; all others count. A damaged file is set aside as
`NAME.corrupt-N` with an error in the log, and the agent starts without state: nodes
register again by themselves within one lifetime, which is better than an agent that
stays down until someone wakes up. What an attacker could gain is small, as replayed
requests older than the tolerance (7 s) are refused by their time.
Other trouble, such as a full disk or missing permission, stops the start with one line,
and later makes single registrations fail (`JournalFailed`) while the agent lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mip_agents.protocol.effects import (
    BindingRecord,
    Change,
    DroppedBinding,
    IdentificationRecord,
    LeaseRecord,
    NonceRecord,
    Noted,
    Severity,
)
from mip_agents.protocol.events import Restored
from mip_agents.runtime import tables
from mip_agents.runtime.folding import Folded, is_later
from mip_agents.runtime.ports import Notes, StoreError

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SUFFIXES = ("", "-wal", "-shm")
_SHOWN = 40
"""Characters of a bad row's key that an error shows."""

_Record = TypeVar("_Record")


class MemoryStore:
    """State that ends with its object: for library use without `state_dir`, and tests.

    Keep the object to give a restarted agent what the first one stored.
    """

    def __init__(self) -> None:
        self.bindings: dict[tuple[str, str], BindingRecord] = {}
        self.identifications: dict[str, IdentificationRecord] = {}
        self.nonces: dict[str, NonceRecord] = {}
        self.leases: dict[str, LeaseRecord] = {}

    def load(self) -> Restored:
        """Return everything."""
        return Restored(
            tuple(self.bindings.values()),
            tuple(self.identifications.values()),
            tuple(self.nonces.values()),
            tuple(self.leases.values()),
        )

    def commit(self, changes: Sequence[Change]) -> None:
        """Take the changes in."""
        for change in changes:
            match change:
                case BindingRecord():
                    key = (change.home_address, change.care_of_address)
                    self.bindings[key] = change
                case DroppedBinding():
                    key = (change.home_address, change.care_of_address)
                    self.bindings.pop(key, None)
                case IdentificationRecord():
                    self.identifications[change.node] = change
                case NonceRecord():
                    self.nonces[change.node] = change
                case LeaseRecord():
                    for nai, lease in list(self.leases.items()):
                        if lease.home_address == change.home_address:
                            del self.leases[nai]
                    self.leases[change.nai] = change

    def close(self) -> None:
        """Do nothing."""


class SqliteStore:
    """The journal in a directory of its own.

    :param name: file name without suffix, one per role.
    :raises StoreError: in one line: no permission, locked by another agent, too new.
    """

    def __init__(self, directory: Path, name: str, notes: Notes) -> None:
        self._notes = notes
        self._path = directory / f"{name}.sqlite"
        self._lock = _lock(directory, directory / f"{name}.lock")
        self._database: sqlite3.Connection | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            self._database = _connect(self._path)
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise StoreError(f"{self._path}: {error}") from None
            self._set_aside(error)

    def _set_aside(self, error: Exception) -> None:
        """Move the damaged file away and begin an empty one."""
        if self._database is not None:
            self._database.close()
            self._database = None
        kept = _set_aside(self._path)
        self._notes.note(
            Noted(
                event="journal_corrupt",
                severity=Severity.ERROR,
                fields={
                    "file": str(self._path),
                    "reason": str(error),
                    "kept_as": str(kept),
                    "text": "starting without bindings: nodes must register again",
                },
            )
        )
        try:
            self._database = _connect(self._path)
        except sqlite3.DatabaseError as again:
            raise StoreError(f"{self._path}: {again}") from None

    def load(self) -> Restored:
        """Return everything; a damaged file is set aside and counts as empty.

        :raises StoreError: the file cannot be read.
        """
        try:
            return self._load()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise StoreError(f"{self._path}: {error}") from None
            self._set_aside(error)
            return Restored((), ())

    def _load(self) -> Restored:
        found = self._records("binding", tables.binding)
        newest = {
            known.node: known
            for known in self._records("identification", tables.identification)
        }
        for _record, known in found:
            if known is not None and (
                known.node not in newest or is_later(known, newest[known.node])
            ):
                newest[known.node] = known
        return Restored(
            tuple([record for record, _known in found]),
            tuple(newest.values()),
            self._records("nonce", tables.nonce),
            self._records("lease", tables.lease),
        )

    def _records(
        self, table: str, make: Callable[[Sequence[Any]], _Record]
    ) -> tuple[_Record, ...]:
        """Return what the rows of a table say; report those that cannot be."""
        database = self._open_database()
        # Text that is not UTF-8 must not hide the other rows.
        database.text_factory = _text
        columns = ", ".join(tables.TABLES[table])
        records: list[_Record] = []
        for row in database.execute(f"SELECT {columns} FROM {table}"):
            try:
                records.append(make(row))
            except ValueError as error:
                self._report(table, row, error)
        return tuple(records)

    def _report(self, table: str, row: Sequence[Any], error: ValueError) -> None:
        self._notes.note(
            Noted(
                event="journal_row_bad",
                severity=Severity.ERROR,
                fields={
                    "file": str(self._path),
                    "table": table,
                    "home_address": ascii(row[0])[:_SHOWN],
                    "reason": str(error),
                    "text": "left out: this node must register again",
                },
            )
        )

    def commit(self, changes: Sequence[Change]) -> None:
        """Write a batch in one transaction; it is on the disk on return.

        :raises StoreError: nothing of it is stored.
        """
        database = self._open_database()
        folded = Folded(changes)
        try:
            database.execute("BEGIN IMMEDIATE")
            folded.write(database)
            database.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            # Some errors, such as a full disk, have rolled back by themselves.
            with contextlib.suppress(sqlite3.Error):
                if database.in_transaction:
                    database.execute("ROLLBACK")
            raise StoreError(f"{self._path}: {error}") from None

    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError(f"{self._path} is closed")
        return self._database

    def close(self) -> None:
        """Close the file and release the lock."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _text(content: bytes) -> str:
    return content.decode(errors="backslashreplace")


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, with its tables.

    :raises sqlite3.DatabaseError: as SQLite says.
    :raises StoreError: it is not of this version, nor of an older one.
    """
    # Other users have no business in a journal.
    with _umask(0o077):
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            tables.prepare(database)
        except BaseException as error:
            database.close()
            if isinstance(error, tables.UnknownSchemaError):
                raise StoreError(f"{path} {error}") from None
            raise
    return database


def _damaged(error: sqlite3.DatabaseError) -> bool:
    """Return whether the file is at fault, not the disk or a permission."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _CORRUPT
    return False


def _set_aside(path: Path) -> Path:
    """Rename the file and its companions to the first free `.corrupt-N` name."""
    number = 1
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(
                kept.with_name(kept.name + suffix)
            )
    return kept


def _lock(directory: Path, path: Path) -> int | None:
    """Make the directory and take the lock file in it.

    The kernel releases the lock with the process, however that ends.
    """
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"state_dir {directory} is not usable ({error.strerror}): "
            "set state_dir to a directory that this user may write"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(handle, 32, 0).decode(errors="replace").strip()
        os.close(handle)
        who = f"process {owner}" if owner else "another agent"
        raise StoreError(
            f"state_dir {directory} is in use by {who}: stop it, or give this agent "
            "a state_dir of its own"
        ) from None
    # For people only, and a full disk must not stop an agent here.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)
