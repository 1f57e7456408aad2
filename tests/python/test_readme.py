"""The Python examples of the README and of the pages in docs/ run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def outputs(page):
    """What each Python example of a page prints, in order."""
    for program in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        yield done.stdout


@pytest.mark.park_only
def test_the_python_examples_of_the_readme():
    tasks, store, kv = outputs("README.md")
    total = 1_000_000 * 999_999 // 2
    assert re.findall(r"\d+", tasks.replace("np.int64", "")) == [str(total)] * 4
    assert store == "(10, 1000)\n"
    assert kv == "[0, 96] [100, 24] 124\n"


@pytest.mark.park_only
def test_the_python_examples_of_the_kv_page():
    scheduler, cache = outputs("docs/KV.md")
    assert (scheduler, cache) == ("1007\n", "96\n")
