# SPDX-License-Identifier: GPL-2.0-only
"""The journal, on a real disk, with real crashes."""

import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from mip_agents.protocol.effects import (
    BindingRecord,
    DroppedBinding,
    IdentificationRecord,
    LeaseRecord,
    NonceRecord,
    RenewedBinding,
)
from mip_agents.protocol.events import Restored
from mip_agents.runtime import store as store_module
from mip_agents.runtime.ports import DamagedJournalError, StoreError
from mip_agents.runtime.store import MemoryStore, SqliteStore
from mip_agents.runtime.tables import SCHEMA_VERSION
from support.shell import ListNotes

# With the low bits set that a double would lose, and the top bit that SQLite's signed
# integers would.
IDENTIFICATION = 0xEEAE41413EE6B801
BIGGEST = (1 << 64) - 1


def binding(home="10.1.1.10", care_of="10.1.2.5", **more):
    fields = {
        "home_address": home,
        "care_of_address": care_of,
        "home_agent": "10.1.1.20",
        "flags": 0x22,
        "lifetime": 600,
        "expires": BIGGEST,
        "identification": IDENTIFICATION,
        "spi": 0xFFFFFFFF,
        "source": care_of,
    }
    return BindingRecord(**(fields | more))


@pytest.fixture
def notes():
    return ListNotes()


@pytest.fixture
def reopen(tmp_path, notes):
    """Open the store, again and again, as restarted agents would."""
    opened = []

    def opening():
        for store in opened:
            store.close()
        opened.append(SqliteStore(tmp_path / "state", "home-agent", notes))
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


def contents(restored):
    return set(restored.bindings), set(restored.identifications)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_gives_back_what_was_committed_in_full_width(kind, reopen):
    """HA-02: a binding with all that belongs to it."""
    store = MemoryStore() if kind == "memory" else reopen()
    records = [binding(), binding(care_of="10.1.3.5"), binding(home="10.1.1.11")]
    newest = IdentificationRecord("10.1.1.10", BIGGEST)
    nonce = NonceRecord("mn@example.org", BIGGEST, 0xFFFFFFFF)
    lease = LeaseRecord("mn@example.org", "10.1.1.100", BIGGEST)
    records.append(binding(home="10.1.1.12", send_key=0, receive_key=0xFFFFFFFF))
    store.commit([*records, newest, nonce, lease])
    if kind == "sqlite":
        store = reopen()
    assert contents(store.load()) == (set(records), {newest})
    assert store.load().nonces == (nonce,)
    assert store.load().leases == (lease,)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_address_is_leased_to_the_last_who_got_it(kind, reopen):
    store = MemoryStore() if kind == "memory" else reopen()
    a, b = "a@example.org", "b@example.org"
    store.commit([LeaseRecord(a, "10.1.1.100", 1), LeaseRecord(b, "10.1.1.101", 2)])
    store.commit([LeaseRecord(b, "10.1.1.100", 3)])
    assert store.load().leases == (LeaseRecord(b, "10.1.1.100", 3),)
    # In one batch as well, where the first comes again.
    last = LeaseRecord(a, "10.1.1.101", 6)
    store.commit(
        [
            LeaseRecord(a, "10.1.1.102", 4),
            LeaseRecord(b, "10.1.1.101", 5),
            last,
        ]
    )
    assert store.load().leases == (last,)


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("nai = 'mn@EXAMPLE.org'", "nai"),
        ("nai = x'ff'", "nai"),
        ("home_address = 'a'", "home_address"),
        ("granted = 7", "granted"),
    ],
)
def test_one_bad_lease_costs_no_other(value, column, reopen, tmp_path, notes):
    store = reopen()
    good = LeaseRecord("a@example.org", "10.1.1.100", 1)
    store.commit([good, LeaseRecord("b@example.org", "10.1.1.101", 2)])
    store.close()
    change(
        tmp_path / "state" / "home-agent.sqlite",
        f"UPDATE lease SET {value} WHERE nai LIKE 'b%'",
    )
    assert reopen().load().leases == (good,)
    assert column in notes.noted[0].fields["reason"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_changes_of_a_batch_count_in_their_order(kind, reopen):
    store = MemoryStore() if kind == "memory" else reopen()
    old, new = binding(lifetime=100), binding(lifetime=200)
    gone = DroppedBinding(old.home_address, old.care_of_address)
    store.commit([old, new])
    assert store.load().bindings == (new,)
    store.commit([gone, old])
    assert store.load().bindings == (old,)
    store.commit([new, gone])
    assert store.load().bindings == ()
    store.commit(
        [IdentificationRecord("10.1.1.10", 5), IdentificationRecord("10.1.1.10", 6)]
    )
    assert store.load().identifications == (IdentificationRecord("10.1.1.10", 6),)


def test_identification_outlives_its_binding(reopen):
    store = reopen()
    store.commit([binding(), IdentificationRecord("10.1.1.10", IDENTIFICATION)])
    store.commit([DroppedBinding("10.1.1.10", "10.1.2.5")])
    restored = reopen().load()
    assert restored.bindings == ()
    assert restored.identifications[0].identification == IDENTIFICATION


def test_the_file_is_readable_with_sqlite_and_closed_to_others(reopen, tmp_path):
    reopen().commit([binding()])
    path = tmp_path / "state" / "home-agent.sqlite"
    with sqlite3.connect(path) as database:
        (text,) = database.execute("SELECT identification FROM binding").fetchone()
        mode = database.execute("PRAGMA journal_mode").fetchone()
    assert text == "eeae41413ee6b801"
    assert mode == ("wal",)
    for file in (path, path.with_name(path.name + "-wal")):
        assert file.stat().st_mode & 0o077 == 0


WRITER = """
import sys
from pathlib import Path
from mip_agents.protocol.effects import IdentificationRecord
from mip_agents.runtime.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]), "home-agent", None)
number = 0
while True:
    number += 1
    store.commit([IdentificationRecord(f"10.0.0.{i}", number) for i in range(20)])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9_and_a_batch_is_never_torn(
    reopen, tmp_path
):
    state = tmp_path / "state"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(state)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        acknowledged = 0
        while acknowledged < 30:
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    acknowledged = int(rest[-1]) if rest else acknowledged
    restored = reopen().load().identifications
    numbers = {record.identification for record in restored}
    assert len(restored) == 20
    assert len(numbers) == 1
    assert numbers.pop() >= acknowledged


def test_two_agents_do_not_share_a_state_dir(reopen, tmp_path, notes):
    first = reopen()
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / "state", "home-agent", notes)
    text = str(caught.value)
    assert "\n" not in text
    assert str(tmp_path / "state") in text
    assert f"process {os.getpid()}" in text
    first.close()
    SqliteStore(tmp_path / "state", "home-agent", notes).close()


def test_agents_of_different_roles_may(reopen, tmp_path, notes):
    reopen()
    SqliteStore(tmp_path / "state", "mobile-node", notes).close()


def damage_header(path):
    path.write_bytes(b"garbage " * 1000)


def damage_page(path):
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def change(path, *orders):
    with sqlite3.connect(path) as database:
        for order in orders:
            database.execute(order)
    database.close()


@pytest.mark.parametrize(
    "value",
    [
        "home_address = 'nonsense'",
        "home_address = 5",
        "home_address = x'ff'",
        "home_address = CAST(x'ff' AS TEXT)",
        "care_of_address = '10.1.2'",
        "home_agent = ''",
        "source = '::1'",
        "flags = 256",
        "flags = 'x'",
        "lifetime = 65536",
        "lifetime = 0",
        "lifetime = 1.5",
        "spi = -1",
        "expires = 'soon'",
        "expires = '-000000000000001'",
        "identification = 5",
        "identification = '00000000000000001'",
        "ends = 'x'",
        "newest = 2",
        "newest = 'x'",
    ],
)
def test_one_bad_row_costs_no_other_binding(value, reopen, tmp_path, notes):
    """HA-30: nor the knowledge of what was accepted, where the row still tells it."""
    path = tmp_path / "state" / "home-agent.sqlite"
    store = reopen()
    newest = IdentificationRecord("10.1.1.11", IDENTIFICATION)
    store.commit([binding(home="10.1.1.10"), binding(home="10.1.1.11"), newest])
    store.close()
    change(path, f"UPDATE binding SET {value} WHERE home_address = '10.1.1.11'")
    restored = reopen().load()
    assert restored.bindings == (binding(home="10.1.1.10"),)
    known = not value.startswith(("home_address", "identification"))
    assert restored.identifications == ((newest,) if known else ())
    assert notes.names == ["journal_row_bad"]
    assert notes.noted[0].severity.name == "ERROR"
    assert value.split()[0] in notes.noted[0].fields["reason"]
    assert notes.noted[0].fields["home_address"]


def test_one_bad_identification_costs_no_other(reopen, tmp_path, notes):
    store = reopen()
    good = IdentificationRecord("10.1.1.10", 5)
    store.commit([good, IdentificationRecord("10.1.1.11", 6)])
    store.close()
    change(
        tmp_path / "state" / "home-agent.sqlite",
        "UPDATE identification SET identification = 'x' WHERE node LIKE '%11'",
    )
    assert reopen().load().identifications == (good,)
    assert notes.names == ["journal_row_bad"]


@pytest.mark.parametrize(
    "orders",
    [
        ["ALTER TABLE binding ADD COLUMN more TEXT"],
        ["DROP TABLE identification"],
        ["PRAGMA user_version = 0", "DROP TABLE binding"],
        ["DROP TABLE binding", "CREATE TABLE binding (name TEXT)"],
    ],
)
def test_a_database_of_another_program_is_left_alone_in_one_line(
    orders, reopen, tmp_path, notes
):
    reopen().close()
    path = tmp_path / "state" / "home-agent.sqlite"
    change(path, *orders)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="move the file away") as caught:
        SqliteStore(tmp_path / "state", "home-agent", notes)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


VERSION_1 = """
CREATE TABLE binding (
    home_address TEXT NOT NULL,
    care_of_address TEXT NOT NULL,
    home_agent TEXT NOT NULL,
    flags INTEGER NOT NULL,
    lifetime INTEGER NOT NULL,
    expires TEXT NOT NULL,
    identification TEXT NOT NULL,
    spi INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (home_address, care_of_address)
) WITHOUT ROWID;
CREATE TABLE identification (
    home_address TEXT PRIMARY KEY,
    identification TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO binding VALUES ('10.1.1.10', '10.1.2.5', '10.1.1.20', 34, 600,
    'ffffffffffffffff', 'eeae41413ee6b801', 4294967295, '10.1.2.5');
INSERT INTO identification VALUES ('10.1.1.10', 'eeae41413ee6b801');
PRAGMA user_version = 1;
"""


def test_a_file_of_version_1_becomes_one_of_this_version(reopen, tmp_path, notes):
    """Bindings and replay protection survive the upgrade of the program."""
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "home-agent.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
    database.close()
    for _ in range(2):
        restored = reopen().load()
        assert restored.bindings == (binding(),)
        known = IdentificationRecord("10.1.1.10", IDENTIFICATION)
        assert restored.identifications == (known,)
    nonce = NonceRecord("10.1.1.10", 1, 2)
    reopen().commit([nonce])
    assert reopen().load().nonces == (nonce,)
    assert notes.noted == []


def test_a_file_of_version_1_without_its_tables_is_left_alone(tmp_path, notes):
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "home-agent.sqlite"
    change(path, "CREATE TABLE other (name TEXT)", "PRAGMA user_version = 1")
    with pytest.raises(StoreError, match="move the file away"):
        SqliteStore(tmp_path / "state", "home-agent", notes)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


def damage_nothing_that_is_read(path):
    """Spoil what no query comes across, only later commits would."""
    content = bytearray(path.read_bytes())
    content[36:40] = (7).to_bytes(4, "big")  # the number of free pages
    path.write_bytes(content)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:8192])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [damage_header, damage_page, damage_nothing_that_is_read, cut_off, empty],
)
def test_with_a_damaged_file_there_is_no_start_and_the_file_stays(
    damage, reopen, tmp_path, notes
):
    """HA-30: without what was accepted, replays could be taken for requests."""
    store = reopen()
    store.commit([binding(home=f"10.1.1.{i}") for i in range(1, 200)])
    store.close()
    path = tmp_path / "state" / "home-agent.sqlite"
    damage(path)
    damaged = path.read_bytes()
    with pytest.raises(DamagedJournalError) as caught:
        reopen()
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert "put a copy from a backup in its place, or move it away" in text
    assert path.read_bytes() == damaged
    assert notes.noted == []

    # Moved away, as it says, it begins anew, and says that, too.
    path.rename(tmp_path / "damaged")
    store = reopen()
    assert store.load() == Restored((), ())
    assert notes.names == ["journal_created"]
    store.commit([binding()])
    assert reopen().load().bindings == (binding(),)


def test_the_log_of_a_journal_that_is_gone_never_gets_into_a_new_one(
    reopen, tmp_path, notes
):
    reopen().commit([binding()])
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "state", killed)
    (killed / "home-agent.sqlite").unlink()
    with pytest.raises(DamagedJournalError, match="-wal is still there"):
        SqliteStore(killed, "home-agent", notes)
    (killed / "home-agent.sqlite-wal").unlink()
    store = SqliteStore(killed, "home-agent", notes)
    assert store.load() == Restored((), ())
    store.close()


def test_a_file_that_was_not_complete_when_its_agent_was_killed_is_made_anew(
    reopen, tmp_path, notes
):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "home-agent.sqlite.new").write_bytes(b"half of it")
    store = reopen()
    store.commit([binding()])
    assert reopen().load().bindings == (binding(),)
    assert notes.noted == []
    assert not list((tmp_path / "state").glob("*.new*"))


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_that_nobody_can_find_any_more_takes_nothing(
    suffix, reopen, tmp_path, notes
):
    """HA-02: SQLite would go on writing, and a restart find nothing of it."""
    store = reopen()
    store.commit([binding()])
    file = tmp_path / "state" / f"home-agent.sqlite{suffix}"
    file.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreError, match="moved, replaced or deleted") as caught:
            store.commit([binding(home="10.1.1.11")])
    assert str(file) in str(caught.value)
    (tmp_path / "elsewhere").rename(file)
    store.commit([binding(home="10.1.1.12")])
    assert notes.names == ["journal_failing", "journal_works_again"]
    assert notes.noted[0].severity.name == "ERROR"
    assert notes.noted[1].fields["failed"] == 2
    homes = {record.home_address for record in reopen().load().bindings}
    assert homes == {"10.1.1.10", "10.1.1.12"}


def test_monotonic_ends_are_good_for_one_boot(reopen, tmp_path, monkeypatch):
    store = reopen()
    store.commit([binding(ends=17.25), binding(home="10.1.1.11")])
    kept = {binding(ends=17.25), binding(home="10.1.1.11")}
    assert set(reopen().load().bindings) == kept
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(store_module, "_BOOT_ID", tmp_path / "boot_id")
    assert set(reopen().load().bindings) == {binding(), binding(home="10.1.1.11")}
    # What is written from now on belongs to this boot.
    store = reopen()
    store.commit([binding(ends=3.5)])
    assert binding(ends=3.5) in reopen().load().bindings


def test_a_file_of_a_newer_version_is_left_alone(reopen, tmp_path, notes):
    reopen().close()
    path = tmp_path / "state" / "home-agent.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        SqliteStore(tmp_path / "state", "home-agent", notes)
    assert path.read_bytes() == before
    assert notes.noted == []


def test_a_folder_that_cannot_be_made_is_one_line_that_says_what_to_do(tmp_path, notes):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        SqliteStore(tmp_path / "file" / "state", "home-agent", notes)
    assert "set state_dir to a directory" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(reopen, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert reopen().load() == Restored((), ())


def test_a_full_disk_fails_the_commit_and_keeps_what_was_there(reopen):
    store = reopen()
    store.commit([binding()])
    much = [IdentificationRecord("n" * 4000 + str(i), i) for i in range(100)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        with pytest.raises(StoreError) as caught:
            store.commit([*much, binding(home="10.1.1.11")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert store.load() == Restored((binding(),), ())
    # With room again, it goes on.
    store.commit([binding(home="10.1.1.11")])
    assert len(reopen().load().bindings) == 2


def test_a_closed_store_refuses_and_closes_twice(reopen):
    store = reopen()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.commit([binding()])


def test_a_mix_of_bindings_is_restored_quickly(reopen):
    store = reopen()
    records = [
        binding(home=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}") for i in range(5000)
    ]
    store.commit(records)
    assert set(reopen().load().bindings) == set(records)


def rows(tmp_path, table):
    with sqlite3.connect(tmp_path / "state" / "home-agent.sqlite") as database:
        found = database.execute(f"SELECT * FROM {table}").fetchall()
    database.close()
    return found


def registration(identification, care_of="10.1.2.5"):
    return [
        binding(care_of=care_of, identification=identification),
        IdentificationRecord("10.1.1.10", identification),
    ]


def test_binding_and_identification_are_one_row(reopen, tmp_path):
    store = reopen()
    for identification in (5, 6):
        store.commit(registration(identification))
    assert len(rows(tmp_path, "binding")) == 1
    assert rows(tmp_path, "identification") == []
    newest = IdentificationRecord("10.1.1.10", 6)
    assert contents(reopen().load()) == ({registration(6)[0]}, {newest})


KEYS = {"send_key": 5, "receive_key": 6}


def renewed(identification=6, **more):
    """Return the binding with all changed that a renewal may change."""
    fields = {
        "flags": 0x2A,
        "lifetime": 60,
        "expires": BIGGEST - 1,
        "spi": 256,
        "source": "10.1.9.9",
        "ends": 7.5,
    }
    return RenewedBinding(binding(identification=identification, **(fields | more)))


OTHER = binding(care_of="10.1.3.5", identification=4)


@pytest.mark.parametrize("keys", [{}, KEYS])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_renewal_counts_for_binding_and_identification(kind, keys, reopen, tmp_path):
    """HA-02, HA-30: and is one row still."""
    store = MemoryStore() if kind == "memory" else reopen()
    newest = IdentificationRecord("10.1.1.10", 5)
    store.commit([binding(identification=5, **keys), OTHER, newest])
    store.commit([renewed(**keys)])
    if kind == "sqlite":
        assert rows(tmp_path, "identification") == []
        store = reopen()
    newest = IdentificationRecord("10.1.1.10", 6)
    assert contents(store.load()) == ({renewed(**keys).binding, OTHER}, {newest})


@pytest.mark.parametrize(
    "wrong",
    [
        "home_agent = '10.1.1.020'",
        "flags = 'x'",
        "lifetime = -1",
        "expires = ''",
        "identification = ''",
        "spi = -1",
        "source = 'x'",
        "send_key = 'x'",
        "receive_key = 5",
        "newest = 0",
        "ends = 'x'",
    ],
)
def test_a_renewal_mends_its_row(wrong, reopen, tmp_path, notes):
    """HA-02, HA-30: what someone has edited is not left for the next start."""
    store = reopen()
    store.commit(registration(5))
    path = tmp_path / "state" / "home-agent.sqlite"
    change(path, f"UPDATE binding SET {wrong}")
    store.commit([renewed()])
    newest = IdentificationRecord("10.1.1.10", 6)
    assert contents(reopen().load()) == ({renewed().binding}, {newest})
    assert notes.noted == []


def test_a_renewal_that_has_no_row_gets_one(reopen, tmp_path):
    """HA-02: someone has edited the file of a running agent."""
    store = reopen()
    store.commit([binding(identification=5), binding(home="10.1.1.11")])
    change(
        tmp_path / "state" / "home-agent.sqlite",
        "DELETE FROM binding WHERE home_address = '10.1.1.10'",
    )
    again = [renewed(), renewed(home="10.1.1.11")]
    store.commit(again)
    kept = {one.binding for one in again}
    newest = {IdentificationRecord(one.home_address, 6) for one in kept}
    assert contents(reopen().load()) == (kept, newest)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("keys", [{}, KEYS])
@pytest.mark.parametrize("anew", [True, False])
def test_a_renewal_may_follow_any_change(anew, keys, kind, together, reopen):
    """HA-02: in the same batch or another, also where the binding was made anew."""
    store = MemoryStore() if kind == "memory" else reopen()
    if anew:
        store.commit([binding(identification=4, send_key=9)])
    first = [*([GONE] if anew else []), binding(identification=5, **keys)]
    second = [renewed(**keys)]
    for batch in [[*first, *second]] if together else (first, second):
        store.commit(batch)
    if kind == "sqlite":
        store = reopen()
    kept = {renewed(**keys).binding}
    assert contents(store.load()) == (kept, {IdentificationRecord("10.1.1.10", 6)})


GONE = DroppedBinding("10.1.1.10", "10.1.2.5")
OLDER = binding(identification=4)
RENEWED = renewed().binding


@pytest.mark.parametrize(
    ("after", "kept", "newest"),
    [
        ([renewed(7, lifetime=90)], {renewed(7, lifetime=90).binding, OTHER}, 7),
        (registration(7), {binding(identification=7), OTHER}, 7),
        (
            [renewed(7, care_of="10.1.3.5")],
            {RENEWED, renewed(7, care_of="10.1.3.5").binding},
            7,
        ),
        (
            [renewed(7, care_of="10.1.3.5", **KEYS)],
            {RENEWED, renewed(7, care_of="10.1.3.5", **KEYS).binding},
            7,
        ),
        ([GONE, IdentificationRecord("10.1.1.10", 7)], {OTHER}, 7),
        (
            [
                DroppedBinding("10.1.1.10", "10.1.3.5"),
                IdentificationRecord("10.1.1.10", 7),
            ],
            {RENEWED},
            7,
        ),
        ([GONE], {OTHER}, 6),
        ([OLDER], {OLDER, OTHER}, 6),
        ([GONE, OLDER], {OLDER, OTHER}, 6),
    ],
)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_any_change_may_follow_a_renewal(kind, together, after, kept, newest, reopen):
    """HA-30: the newest Identification is what counts in the end."""
    store = MemoryStore() if kind == "memory" else reopen()
    store.commit([*registration(5), OTHER])
    for batch in [[renewed(), *after]] if together else ([renewed()], after):
        store.commit(batch)
    if kind == "sqlite":
        store = reopen()
    known = {IdentificationRecord("10.1.1.10", newest)}
    assert contents(store.load()) == (kept, known)


@pytest.mark.parametrize("last", [[GONE], [OLDER], [GONE, OLDER], [OLDER, GONE]])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_newest_identification_outlives_the_row_it_stood_in(
    kind, together, last, reopen
):
    """HA-30: also where an older binding is put back, as after a failed change."""
    store = MemoryStore() if kind == "memory" else reopen()
    if together:
        store.commit([*registration(6), *last])
    else:
        store.commit(registration(6))
        store.commit(last)
    if kind == "sqlite":
        store = reopen()
    restored = store.load()
    assert restored.identifications == (IdentificationRecord("10.1.1.10", 6),)
    assert restored.bindings == (() if last[-1] is GONE else (OLDER,))


def test_a_binding_that_goes_takes_nothing_newer_back(reopen):
    """HA-30: of several bindings, the one with the older Identification goes last."""
    store = reopen()
    store.commit(registration(5))
    store.commit(registration(6, care_of="10.1.3.5"))
    store.commit([DroppedBinding("10.1.1.10", "10.1.3.5")])
    newest = IdentificationRecord("10.1.1.10", 6)
    assert reopen().load().identifications == (newest,)
    reopen().commit([GONE])
    assert contents(reopen().load()) == (set(), {newest})


def test_the_later_identification_counts_across_the_era_change(reopen):
    """HA-30: in 2036 it is the smaller number."""
    store = reopen()
    store.commit([IdentificationRecord("10.1.1.10", BIGGEST)])
    store.commit(registration(3))
    later = IdentificationRecord("10.1.1.10", 3)
    assert store.load().identifications == (later,)
    store.commit([GONE])
    assert reopen().load().identifications == (later,)


def test_what_has_no_row_of_its_own_is_not_made_up(reopen):
    """HA-32: the Identification of a node with nonces is no timestamp."""
    store = reopen()
    store.commit([binding(), NonceRecord("10.1.1.10", IDENTIFICATION, 7)])
    store.commit([GONE])
    assert reopen().load().identifications == ()


def test_a_node_with_a_name_keeps_its_identification_by_name(reopen, tmp_path):
    store = reopen()
    newest = IdentificationRecord("mn@example.org", IDENTIFICATION)
    store.commit([binding(), newest])
    assert contents(reopen().load()) == ({binding()}, {newest})


VERSION_2 = (
    VERSION_1.replace(
        "    PRIMARY KEY (home_address, care",
        "    send_key INTEGER,\n    receive_key INTEGER,\n"
        "    PRIMARY KEY (home_address, care",
    )
    .replace("    home_address TEXT PRIMARY KEY", "    node TEXT PRIMARY KEY")
    .replace("'10.1.2.5');", "'10.1.2.5', 1, 2);")
    .replace(
        "PRAGMA user_version = 1;",
        """
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
PRAGMA user_version = 2;
""",
    )
)


VERSION_3 = VERSION_2.replace(
    "version = 2",
    """version = 3;
ALTER TABLE binding ADD COLUMN newest INTEGER NOT NULL DEFAULT 0""",
)


@pytest.mark.parametrize("older", [VERSION_2, VERSION_3])
def test_an_older_file_becomes_one_of_this_version(older, reopen, tmp_path, notes):
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "home-agent.sqlite") as database:
        database.executescript(older)
    database.close()
    kept = binding(send_key=1, receive_key=2)
    for _ in range(2):
        known = IdentificationRecord("10.1.1.10", IDENTIFICATION)
        assert contents(reopen().load()) == ({kept}, {known})
    reopen().commit(registration(IDENTIFICATION + 1))
    reopen().commit([GONE])
    newest = IdentificationRecord("10.1.1.10", IDENTIFICATION + 1)
    assert contents(reopen().load()) == (set(), {newest})
    assert notes.noted == []
