"""The README's Python example runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.park_only
def test_the_python_example_of_the_readme():
    (program,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    total = 1_000_000 * 999_999 // 2
    assert re.findall(r"\d+", done.stdout.replace("np.int64", "")) == [str(total)] * 4
