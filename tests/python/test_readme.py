"""The README's Python examples run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def outputs():
    """What each Python example prints, in order."""
    for program in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        yield done.stdout


@pytest.mark.park_only
def test_the_python_examples_of_the_readme():
    tasks, store = outputs()
    total = 1_000_000 * 999_999 // 2
    assert re.findall(r"\d+", tasks.replace("np.int64", "")) == [str(total)] * 4
    assert store == "(10, 1000)\n"
