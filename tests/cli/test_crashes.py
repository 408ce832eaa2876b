# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` as a process that is killed, or whose disk, journal or clock has trouble.

Each ends in a state that is defined, told in the log, and left again when the trouble
is over; and nothing that was acknowledged is lost.
"""

import contextlib
import os
import random
import sys
import time

import pytest

from scapy_mip.const import ReplyCode
from scapy_mip.ident import from_unix_ns
from support import crashing
from support.crashing import World, bound, homes
from support.daemons import kernel_state
from support.netns import isolated, need_driver, sh

LESS = "-dac_override,-dac_read_search"
"""What lets root write what others own."""
DENIED = ReplyCode.HA_INSUFFICIENT_RESOURCES
MISMATCH = ReplyCode.HA_IDENTIFICATION_MISMATCH


def check_kernel(place, bindings):
    """See that packets go where the bindings say, and to nobody else."""
    expected = {(care_of, home) for home, (care_of, _) in bindings.items()}
    place.away.call(crashing.listen)
    crashing.probe(homes(40))
    assert place.away.call(crashing.tunnelled, len(expected)) == expected


@pytest.mark.parametrize("dataplane", ["ebpf", "tun"])
@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 2), pytest.param(2, 60, marks=pytest.mark.soak)]
)
@isolated
def test_kill_9_amid_moves_loses_nothing(tmp_path, dataplane, seed, rounds):
    """HA-02, HA-30: in the journal, in the kernel, and against replays."""
    need_driver(dataplane)
    rng = random.Random(seed)
    place = World(tmp_path, dataplane)
    clean = kernel_state()
    ha = place.start()
    nodes = homes(30)
    for _ in range(rounds):
        finish = place.away.start(crashing.wander, rng.random(), nodes)
        time.sleep(rng.uniform(0.02, 0.5))  # a moment is what the test is about
        ha.kill()
        granted, waiting = finish()

        ha = place.start()
        bindings = bound(ha)
        for home in nodes:
            # The newest that was acknowledged, or else what was never answered.
            possible = granted[home][-1:] + waiting.get(home, [])
            if home in bindings:
                care_of, identification = bindings[home]
                known = bytes.fromhex(identification)
                assert (care_of, known) in [(a, d[16:24]) for a, d in possible]
            else:
                assert not granted[home]
        check_kernel(place, bindings)
        accepted = [asked for home in nodes for asked in granted[home][-3:]]
        codes = place.away.call(crashing.replay, accepted)
        assert set(codes) <= {0, MISMATCH}  # 0: the last one's answer, repeated
        counters = ha.status()["counters"]
        changed = "registration_accepted", "registration_refreshed"
        assert not [name for name in changed if name in counters]
        assert bound(ha) == bindings
        check_kernel(place, bindings)
    assert ha.stop() == 0
    assert kernel_state() == clean
    assert "Traceback" not in ha.log


def fill(folder):
    """Take all room in a file system; return the file that takes it."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return filler


def ask_until(place, code, nodes):
    """Register nodes until one is answered with `code`; return it and those before."""
    for number, home in enumerate(nodes):
        if place.ask(home) == code:
            return home, nodes[:number]
    raise AssertionError(f"nobody was answered with {code}")


@isolated
def test_a_full_disk_denies_until_there_is_room(tmp_path):
    """HA-02, HA-17: nothing is acknowledged that is not on the disk."""
    place = World(tmp_path)
    place.mount_state("size=256k")
    ha = place.start()
    nodes = homes(100)
    assert place.ask(nodes[0]) == 0
    filler = fill(place.state)
    unlucky, granted = ask_until(place, DENIED, nodes[1:])
    assert place.ask(unlucky) == DENIED
    assert bound(ha).keys() == {nodes[0], *granted}
    ha.wait_for('"journal_failing"')
    assert ha.log.count('"journal_failing"') == 1
    assert f"{place.state}/home-agent.sqlite: database or disk is full" in ha.log
    filler.unlink()
    assert place.ask(unlucky) == 0
    ha.wait_for('"journal_works_again"')

    fill(place.state)
    later, _ = ask_until(place, DENIED, nodes[len(granted) + 2 :])
    before = bound(ha)
    assert later not in before
    ha.kill()
    # Of what is there already, no byte more is needed.
    ha = place.start()
    assert bound(ha) == before
    assert ha.stop() == 0


@isolated
def test_a_full_disk_at_the_first_start_is_one_line(tmp_path):
    place = World(tmp_path)
    place.mount_state("size=32k")
    filler = fill(place.state)
    code, line = place.refuse()
    assert code == 1
    assert "full" in line or "No space left" in line
    filler.unlink()
    sh(f"mount -o remount,size=1m {place.state}")
    ha = place.start()
    assert place.ask(homes(1)[0]) == 0
    assert ha.stop() == 0


@isolated
def test_a_journal_that_cannot_be_written_is_one_line(tmp_path):
    """On a read-only file system; owned by another; and good again without a trace."""
    place = World(tmp_path)
    place.mount_state("size=1m")
    ha = place.start()
    (home,) = homes(1)
    assert place.ask(home) == 0
    before = bound(ha)
    ha.kill()

    sh(f"mount -o remount,ro {place.state}")
    code, line = place.refuse()
    assert code == 1
    assert f"state_dir {place.state} is not usable (Read-only file system)" in line
    sh(f"mount -o remount,rw {place.state}")

    journal = place.state / "home-agent.sqlite"
    journal.chmod(0o400)
    # As a user who is not the owner: root without its usual freedom.
    code, line = place.refuse("setpriv", "--bounding-set", LESS, "--inh-caps", LESS)
    assert code == 1
    assert line.startswith(f"mip: {journal}: ")
    assert "see that the user of this agent owns it" in line
    journal.chmod(0o600)

    ha = place.start()
    assert bound(ha) == before
    assert ha.stop() == 0


def scribble(journal):
    """Overwrite pages, but for the first: at the end of a life, or of a disk."""
    content = bytearray(journal.read_bytes())
    rng = random.Random(3)
    for start in range(4096, len(content), 4096):
        content[start : start + 4096] = rng.randbytes(4096)
    journal.write_bytes(content)


def replace_by_text(journal):
    journal.write_text("Dear diary, today the disk was full. " * 300)


@isolated
def test_with_a_damaged_journal_there_is_no_start_until_a_person_has_decided(tmp_path):
    """HA-30: what was accepted is not forgotten in silence."""
    place = World(tmp_path)
    ha = place.start()
    for home in homes(3):
        assert place.ask(home) == 0
    before = bound(ha)
    assert ha.stop() == 0
    journal = place.state / "home-agent.sqlite"
    backup = journal.read_bytes()
    for damage in (scribble, replace_by_text):
        damage(journal)
        damaged = journal.read_bytes()
        code, line = place.refuse()
        assert code == 2
        assert line.startswith(f"mip: {journal}: ")
        assert "put a copy from a backup in its place, or move it away" in line
        assert journal.read_bytes() == damaged
        journal.write_bytes(backup)
    ha = place.start()
    assert bound(ha) == before
    assert ha.stop() == 0
    for file in place.state.glob("home-agent.sqlite*"):
        file.rename(tmp_path / file.name)
    ha = place.start()
    assert '"journal_created"' in ha.log
    assert bound(ha) == {}
    assert ha.stop() == 0


@isolated
def test_a_journal_that_is_moved_away_under_an_agent_takes_no_more(tmp_path):
    """HA-02, HA-17: SQLite would go on writing where nobody finds it."""
    place = World(tmp_path)
    ha = place.start()
    first, second = homes(2)
    assert place.ask(first) == 0
    before = bound(ha)
    place.state.rename(tmp_path / "elsewhere")
    assert place.ask(second) == DENIED
    assert place.ask(first) == DENIED  # to be renewed
    assert bound(ha) == before
    ha.wait_for('"journal_failing"')
    assert ha.log.count('"journal_failing"') == 1
    assert "moved, replaced or deleted" in ha.log
    (tmp_path / "elsewhere").rename(place.state)
    assert place.ask(second) == 0
    ha.wait_for('"journal_works_again"')
    before = bound(ha)
    ha.kill()
    ha = place.start()
    assert bound(ha) == before
    assert ha.stop() == 0


SHIFTED_CLOCK = """\
import os, time
real, file = time.time_ns, os.environ["CLOCK_OFFSET"]
time.time_ns = lambda: real() + int(open(file).read()) * 10**9
time.time = lambda: time.time_ns() / 1e9
"""


@pytest.fixture
def shifted(tmp_path):
    """Give what starts an agent whose time of day a file shifts, and what sets it."""
    (tmp_path / "shift").mkdir()
    (tmp_path / "shift" / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    offset = tmp_path / "offset"
    offset.write_text("0")
    paths = os.pathsep.join([str(tmp_path / "shift"), *sys.path])
    more = {"PYTHONPATH": paths, "CLOCK_OFFSET": str(offset)}

    def set_clock(seconds):
        new = tmp_path / "new"
        new.write_text(str(seconds))
        new.rename(offset)

    return more, set_clock


def remaining(daemon):
    with daemon.client() as client:
        (binding,) = client.bindings()
    return binding["remaining"]


@isolated
def test_a_clock_that_is_set_changes_no_lifetime_over_a_restart_either(
    tmp_path, shifted
):
    """HA-22, HA-23: neither longer nor shorter, ahead or back."""
    more, set_clock = shifted
    place = World(tmp_path)
    ha = place.start(**more)
    (home,) = homes(1)
    assert place.ask(home, lifetime=300) == 0
    last = remaining(ha)
    for seconds in (-3600, 3600):
        set_clock(seconds)
        assert last - 60 < remaining(ha) <= last
        last = remaining(ha)
        ha.kill()
        ha = place.start(**more)
    assert last - 60 < remaining(ha) <= last
    assert ha.stop() == 0


@isolated
def test_a_clock_that_is_set_denies_with_the_time_until_it_is_right_again(
    tmp_path, shifted
):
    """HA-29, HA-30: nothing older is taken than what was, whatever the clock says."""
    more, set_clock = shifted
    place = World(tmp_path)
    ha = place.start(**more)
    (home,) = homes(1)
    assert place.ask(home) == 0
    before = bound(ha)
    set_clock(-3600)
    assert place.ask(home) == MISMATCH
    # A node that takes the time of the denial over is told why that does not help.
    an_hour_ago = from_unix_ns(time.time_ns() - 3600 * 10**9)
    assert place.ask(home, identification=an_hour_ago) == MISMATCH
    ha.wait_for("not greater than the last accepted one")
    ha.wait_for("too far from the home agent's clock")
    assert bound(ha) == before
    set_clock(0)
    assert place.ask(home) == 0
    assert ha.stop() == 0
