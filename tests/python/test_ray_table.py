"""docs/RAY.md says what the code does, and everything in it that is missing or without effect says why."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tests" / "tools" / "ray_table.py"
pytestmark = pytest.mark.park_only


def rows():
    for line in (ROOT / "docs" / "RAY.md").read_text().splitlines():
        found = re.fullmatch(r"\| `(.+)` \| (.+) \| (.*) \|", line)
        if found:
            yield found.groups()


def test_the_table_is_what_the_code_does():
    done = subprocess.run([sys.executable, str(TOOL), "check"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


def test_whatever_is_not_supported_says_why():
    found = list(rows())
    assert len(found) > 300
    assert [name for name, status, why in found if status != "supported" and not why] == []


def test_what_is_without_effect_can_be_given(fresh):
    ignored = [name for name, status, _ in rows() if status == "accepted, no effect"]
    arguments = {name: None for name in ignored if name not in ("enable_task_events", "config")}
    fresh(num_cpus=1, **arguments)
