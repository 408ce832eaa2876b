# SPDX-License-Identifier: GPL-2.0-only
"""What outlives a process: bindings and the newest Identification of each node.

`SqliteStore` keeps them in one SQLite file per role (WAL, synchronous=FULL), one
transaction per turn of the driver. What its tables look like is in `tables.py`.

A row that cannot be is left out with an error in the log and stays in the file until
its node registers again; all others count, and so does the newest Identification where
a bad row still tells it. Nothing else is ever left out: with a damaged file the agent
does not start, since it could not tell replays from requests (of nodes with any clock,
any old request would do) and would give leased addresses away. That takes a person, and
one line says what to do. Other trouble, such as a full disk or missing permission,
stops the start, too, but may pass by itself.

While the agent lives, whatever is wrong with the file makes registrations fail
(`JournalFailed`): none is acknowledged that is not on the disk, and the next commit
tries again. The log has one line when that begins and one when it is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import uuid
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
    RenewedBinding,
    Severity,
    accepted_timestamp,
)
from mip_agents.protocol.events import Restored
from mip_agents.runtime import tables
from mip_agents.runtime.folding import Folded, is_later
from mip_agents.runtime.ports import DamagedJournalError, Notes, StoreError

_DAMAGED = (
    "it is damaged: put a copy from a backup in its place, or move it away together "
    "with its -wal and -shm to begin without bindings (nodes register again by "
    "themselves within one lifetime)"
)
_NOT_WRITABLE = (
    "see that the user of this agent owns it and its directory, and that the file "
    "system is not read-only"
)
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: "make room there",
    sqlite3.SQLITE_IOERR: "see the kernel's log for its disk, and whether that is full",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: "another program has it open for writing: close that",
}
"""What to do about what SQLite says."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NEW = ".new"
"""What the name of a file ends in whose tables are not complete yet."""
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
            if (newest := accepted_timestamp(change)) is not None:
                self.identifications[newest.node] = newest
            match change:
                case (BindingRecord() as record) | RenewedBinding(record):
                    self.bindings[record.home_address, record.care_of_address] = record
                case DroppedBinding():
                    key = (change.home_address, change.care_of_address)
                    self.bindings.pop(key, None)
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
        self._failed = 0
        """Commits that failed in a row."""
        lock, self._used_before = _lock(directory, directory / f"{name}.lock")
        self._lock: int | None = lock
        self._database: sqlite3.Connection | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        path = self._path
        try:
            if not path.exists():
                _refuse_log_without_journal(path)
                _create(path)
                if self._used_before:
                    text = "there was none, though an agent has run here: no bindings"
                    self._note("journal_created", Severity.WARNING, text=text)
            elif not path.stat().st_size:
                raise DamagedJournalError(f"{path} is empty: {_DAMAGED}")
            self._database = _connect(path)
            # Bit rot and lost pages, which queries may never come across.
            ((found,),) = self._database.execute("PRAGMA quick_check(1)")
        except sqlite3.DatabaseError as error:
            raise _explained(path, error) from None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; {_NOT_WRITABLE}") from None
        if found != "ok":
            raise DamagedJournalError(f"{path}: {_one_line(found)}; {_DAMAGED}")
        self._files = {file: _identity(file) for file in (path, _log_of(path))}

    def load(self) -> Restored:
        """Return everything.

        :raises StoreError: the file cannot be read.
        """
        try:
            return self._load()
        except sqlite3.DatabaseError as error:
            raise _explained(self._path, error) from None

    def _load(self) -> Restored:
        newest = {
            known.node: known
            for known in self._records("identification", tables.identification)
        }

        def binding_with_newest(row: Sequence[Any]) -> BindingRecord:
            # Also of a row that is left out: nothing is to be accepted twice (HA-30).
            with contextlib.suppress(ValueError):
                known = tables.newest(row)
                if known is not None and (
                    known.node not in newest or is_later(known, newest[known.node])
                ):
                    newest[known.node] = known
            return tables.binding(row)

        bindings = self._records("binding", binding_with_newest)
        return Restored(
            bindings,
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
        self._note(
            "journal_row_bad",
            Severity.ERROR,
            table=table,
            home_address=ascii(row[0])[:_SHOWN],
            reason=str(error),
            text="left out: this node must register again",
        )

    def commit(self, changes: Sequence[Change]) -> None:
        """Write a batch in one transaction; it is on the disk on return.

        :raises StoreError: nothing of it is stored.
        """
        try:
            self._commit(changes)
        except StoreError as error:
            self._failed += 1
            if self._failed == 1:
                text = "registrations are denied with code 130 until this is mended"
                reason = str(error)
                self._note("journal_failing", Severity.ERROR, reason=reason, text=text)
            raise
        if self._failed:
            self._note("journal_works_again", Severity.INFO, failed=self._failed)
            self._failed = 0

    def _commit(self, changes: Sequence[Change]) -> None:
        database = self._open_database()
        # SQLite would go on with files that nobody can find any more.
        for file, identity in self._files.items():
            if _identity(file) != identity:
                raise StoreError(
                    f"{file} was moved, replaced or deleted while in use: put it back, "
                    "or restart this agent"
                )
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
            raise _explained(self._path, error) from None

    def _note(self, event: str, severity: Severity, **fields: str | int) -> None:
        shown = {"file": str(self._path), **fields}
        self._notes.note(Noted(event=event, severity=severity, fields=shown))

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


def _refuse_log_without_journal(path: Path) -> None:
    """Refuse what would put parts of a deleted journal into a new one.

    SQLite takes any log that has the name for that of the file.
    """
    log = _log_of(path)
    if log.exists() and log.stat().st_size:
        raise DamagedJournalError(
            f"{path} is gone, but {log.name} is still there: put the file back, or "
            "move that away, too, to begin without bindings (nodes register again by "
            "themselves within one lifetime)"
        )


def _create(path: Path) -> None:
    """Make the file, with its tables or not at all.

    So a file without any is never what a killed agent has begun.
    :raises sqlite3.DatabaseError: as SQLite says. :raises OSError: likewise.
    """
    new = path.with_name(path.name + _NEW)
    for file in (new, _log_of(new), new.with_name(f"{new.name}-shm")):
        file.unlink(missing_ok=True)
    _connect(new).close()
    new.rename(path)


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
            tables.enter_boot(database, _boot())
            # A file that can only be read is opened, too; nothing but a change tells.
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION}")
            database.execute("ROLLBACK")
        except BaseException as error:
            database.close()
            if isinstance(error, tables.UnknownSchemaError):
                raise StoreError(f"{path} {error}") from None
            raise
    return database


def _boot() -> str:
    """Return what no other boot of any machine has."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # no /proc: then no boot is known again
        return str(uuid.uuid4())


def _explained(path: Path, error: sqlite3.Error | OverflowError) -> StoreError:
    """Say in one line what is wrong with the file and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    advice = _ADVICE.get(code)
    text = f"{path}: {error}" + (f"; {advice}" if advice else "")
    return DamagedJournalError(text) if advice is _DAMAGED else StoreError(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _log_of(path: Path) -> Path:
    """Return where SQLite keeps what was committed last."""
    return path.with_name(f"{path.name}-wal")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others of its name; None if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for every commit, and half as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lock(directory: Path, path: Path) -> tuple[int, bool]:
    """Make the directory and take the lock file in it.

    Return the lock, and whether somebody has had it before. The kernel releases it with
    the process, however that ends.
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
    used_before = os.fstat(handle).st_size > 0
    # For people only, and a full disk must not stop an agent here.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle, used_before


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)
