"""`python/examples/kv_engine.py`, run as a user runs it, for fewer requests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.park_only

EXAMPLE = Path(__file__).resolve().parents[2] / "python" / "examples" / "kv_engine.py"


def test_an_engine_without_a_model():
    done = subprocess.run([sys.executable, EXAMPLE, "600"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("600 requests of 500 users in bursts of 200")
    hit, asked = re.search(r"hit rate: ([\d.]+) % of (\d+) prompt tokens", done.stdout).groups()
    assert 0 < float(hit) < 100 and int(asked) == 500 * 680 + 100 * 760, "every prompt was looked up once"
    assert re.search(r"p50 [\d.]+ us, p99 [\d.]+ us", done.stdout)
