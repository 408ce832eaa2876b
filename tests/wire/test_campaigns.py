# SPDX-License-Identifier: GPL-2.0-only
"""The campaigns in `tests/uts`, in Scapy's own format, run by Scapy's own tool."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from scapy_mip.base import message_classes
from scapy_mip.discovery import icmp_classes
from scapy_mip.discovery_extensions import discovery_extension_classes
from scapy_mip.extensions.base import extension_classes, subtype_classes
from scapy_mip.extensions.vendor import vendor_items

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "tests/uts/scapy-mip.utsc"
CAMPAIGNS = sorted(CONFIG.parent.glob("*.uts"))


def headings(text):
    return re.findall(r"^= (.*)", text, re.MULTILINE)


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda path: path.stem)
def test_campaign_passes(path):
    prepare = json.loads(CONFIG.read_text())["global_preexec"]
    tool = [sys.executable, "-m", "scapy.tools.UTscapy"]
    run = subprocess.run(
        [*tool, "-f", "text", "-F", "-t", path, "-P", prepare],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    counted = re.search(r"PASSED=(\d+) FAILED=0\b", output)
    assert counted, output
    assert int(counted[1]) == len(headings(path.read_text()))


def test_configuration_names_the_campaigns():
    (pattern,) = json.loads(CONFIG.read_text())["testfiles"]
    assert sorted(ROOT.glob(pattern)) == CAMPAIGNS
    assert CAMPAIGNS


@pytest.mark.parametrize(
    "classes",
    [
        message_classes,
        extension_classes,
        subtype_classes,
        vendor_items,
        icmp_classes,
        discovery_extension_classes,
    ],
)
def test_campaigns_name_every_class(classes):
    everything = "".join(path.read_text() for path in CAMPAIGNS)
    words = set(re.findall(r"\w+", everything))
    assert not {cls.__name__ for cls in classes().values()} - words
