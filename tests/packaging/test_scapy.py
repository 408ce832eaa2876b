# SPDX-License-Identifier: GPL-2.0-only
"""How Scapy and other programs load the packages, each time in a fresh interpreter."""

import pathlib
import subprocess
import sys

import pytest

import mip_agents
import scapy_mip
import scapy_mip.all

PACKAGES = [pathlib.Path(one.__file__).parent for one in (scapy_mip, mip_agents)]
PREPARE = """
import sys
from scapy.config import conf
conf.debug_dissector = True
def dissected(sport=5000, dport=434):
    from scapy.layers.inet import UDP
    from scapy.compat import raw
    return type(UDP(raw(UDP(sport=sport, dport=dport) / bytes.fromhex(RRQ))).payload)
RRQ = "01220708c000020ac0000201c6336407d123456789abcdef"
"""


def run(code, prepare=PREPARE):
    """Run code in an interpreter of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", prepare + code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Scapy's extension loader


def test_extension_is_loaded_by_the_name_of_its_distribution():
    run("""
conf.exts.load("scapy-mip")
assert "mip_agents.node" not in sys.modules
assert "scapy_mip.registration" not in sys.modules, "loading must not import layers"
from scapy.all import load_contrib
load_contrib("mip", globals_dict=globals())
import scapy_mip.all
for name in scapy_mip.all.__all__:
    assert globals()[name] is getattr(scapy_mip.all, name), name
assert dissected() is MIPRRQ
""")


def test_contributed_module_can_be_imported_by_name():
    run("""
conf.exts.load("scapy-mip")
from scapy.contrib.mip import MIPRRQ
import scapy_mip.all
assert MIPRRQ is scapy_mip.all.MIPRRQ
""")


# UDP port 434


def test_star_import_gives_everything():
    run("""
before = set(globals())
from scapy_mip.all import *
import scapy_mip.all
assert set(scapy_mip.all.__all__) <= set(globals()) - before
assert dissected() is MIPRRQ
assert dissected(sport=434, dport=5000) is MIPRRQ
assert dissected(sport=434, dport=434) is MIPRRQ
""")


@pytest.mark.parametrize(
    "order", [("scapy.all", "scapy_mip.all"), ("scapy_mip.all", "scapy.all")]
)
def test_port_434_is_ours_in_either_order(order):
    run(f"""
from {order[0]} import *
from {order[1]} import *
assert dissected() is MIPRRQ
assert dissected(sport=434, dport=5000) is MIPRRQ
assert type(IP(raw(IP()/UDP()/MIPRRQ()))[UDP].payload) is MIPRRQ
""")


def test_builtin_layer_loaded_late_does_not_take_the_port_back():
    run("""
from scapy_mip.all import *
import scapy.layers.mobileip
assert dissected() is MIPRRQ
""")


def test_builtin_layer_is_still_crafted():
    run("""
from scapy.all import *
from scapy_mip.all import *
made = UDP()/MobileIP()/MobileIPRRQ()
assert (made.sport, made.dport) == (434, 434)
assert raw(made)[8:10] == b"\\x01\\x00"
assert type(MobileIP(raw(MobileIP()/MobileIPRRP())).payload) is MobileIPRRP
""")


def test_ports_are_filled_in():
    run("""
from scapy_mip.all import *
from scapy.layers.inet import UDP
assert (UDP(sport=5000)/MIPRRQ()).dport == 434
assert (UDP(dport=5000)/MIPRRP()).sport == 434
assert (UDP(dport=5000)/MIPRRP()).dport == 5000
""")


def test_port_434_is_given_back_and_taken_again():
    run("""
from scapy_mip.all import *
from scapy_mip import _bindings
from scapy.layers.inet import UDP
from scapy.layers.mobileip import MobileIP
ours = list(UDP.payload_guess)
for _twice in range(2):
    restore_builtin_mobileip()
    assert dissected() is MobileIP
    assert dissected(sport=434, dport=5000) is MobileIP
given = list(UDP.payload_guess)
assert all(cls is not MIP for _bond, cls in given)
for _twice in range(2):
    _bindings.take_over()
    assert dissected() is MIPRRQ
assert UDP.payload_guess == ours
""")


def test_bonds_that_others_made_stay():
    run("""
from scapy.layers.inet import UDP
from scapy.layers.dns import DNS
before = [bond for bond in UDP.payload_guess if bond[1].__name__ != "MobileIP"]
from scapy_mip.all import *
after = [bond for bond in UDP.payload_guess if bond[1] is not MIP]
assert after == before
assert any(cls is DNS for _bond, cls in after)
""")


def test_layers_are_listed():
    text = run("""
from scapy.all import ls
from scapy_mip.all import *
ls(MIPRRQ)
ls(MIPMHAE())
""")
    for name in ("care_of_address", "identification", "extensions", "authenticator"):
        assert name in text


# What an import brings along


def test_agents_are_light_to_import():
    run(
        """
import sys
import mip_agents
heavy = {"scapy", "pyroute2", "pydantic", "asyncio", "httpx", "rich", "typer"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
""",
        prepare="",
    )


def test_layers_bring_no_agent_along():
    run(
        """
import sys
import scapy_mip.all
foreign = {"mip_agents", "pyroute2", "pydantic", "structlog", "typer", "httpx"}
assert not foreign & sys.modules.keys(), foreign & sys.modules.keys()
assert "scapy.all" not in sys.modules
""",
        prepare="",
    )


IMPORT_EACH = """
import importlib, os, sys, traceback
# Others' packages once, so that each child loads ours alone.
for name in ("scapy.layers.inet", "pydantic", "pyroute2", "httpx", "rich", "typer",
             "starlette", "structlog", "asyncio", "sqlite3"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
failed = False
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("cannot import", name, file=sys.stderr)
        failed = True
sys.exit(failed)
"""


def modules():
    names = []
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            if parts[-1] != "__main__":
                names.append(".".join(parts).removesuffix(".__init__"))
    return names


def test_every_module_imports_alone():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules()],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# What is shipped


def test_agents_folder_is_no_package():
    assert not (PACKAGES[1].parent / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_say_that_they_are_typed(package):
    assert (package / "py.typed").is_file()


def test_names_for_the_prompt_are_complete_and_sorted():
    listed = scapy_mip.all.__all__
    public = {
        name
        for name in vars(scapy_mip.all)
        if not name.startswith("_")
        and not isinstance(vars(scapy_mip.all)[name], type(sys))
    }
    assert set(listed) == public
    assert len(listed) == len(set(listed))
    constants = [name for name in listed if name.isupper()]
    classes = [name for name in listed if name[0].isupper() and not name.isupper()]
    functions = [name for name in listed if name[0].islower()]
    assert listed == sorted(constants) + sorted(classes) + sorted(functions)


def test_every_layer_is_among_the_names_for_the_prompt():
    layers = {
        cls
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("scapy_mip")
        for name, cls in vars(module).items()
        if isinstance(cls, type)
        and name.startswith("MIP")
        and not name.endswith("Field")
    }
    listed = {getattr(scapy_mip.all, name) for name in scapy_mip.all.__all__}
    assert {cls.__name__ for cls in layers - listed} <= {"MIPRegistration"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_file_names_its_licence(package):
    for path in package.rglob("*.py"):
        first = path.read_text().splitlines()[:1]
        assert first == ["# SPDX-License-Identifier: GPL-2.0-only"], path
