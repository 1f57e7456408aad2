"""Patterns of what to exclude: they mean what they mean in a `.gitignore`, asked of git itself where there is one."""

import os
import random
import shutil
import subprocess

import pytest
from park.ignore import Patterns

pytestmark = pytest.mark.park_only

NAMES = ["a", "b", "ab", "a.txt", "b.txt", "c.py", "dir", "x1"]
PATTERNS = [
    "a",
    "*.txt",
    "dir/",
    "/a",
    "/dir/b",
    "a/**",
    "**/b",
    "dir/**/b",
    "!a.txt",
    "[ab].txt",
    "[!a].txt",
    "x?",
    "*",
    "!*.py",
    "dir/*",
    "#c",
    "\\#c",
    "a/b/",
    "**/dir/",
    "!dir/",
    "d*r",
    "**",
    "a*b",
    "/*",
    "!/dir",
    "dir/a",
    "*/b",
    "!*/",
    "[a-c]b",
    "a\\b",
    "[]a]",
]


def leaves_out(patterns, path):
    parts = path.split("/")
    folders = ["/".join(parts[:end]) for end in range(1, len(parts))]
    return any(patterns.leaves_out(folder, True) for folder in folders) or patterns.leaves_out(path, False)


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        (["*.log"], "deep/down/a.log", True),
        (["/a.log"], "deep/a.log", False),
        (["*.log", "!keep.log"], "keep.log", False),
        (["logs/", "!logs/keep.log"], "logs/keep.log", True),
        (["logs/*", "!logs/keep.log"], "logs/keep.log", False),
        (["# *.log", "", "  "], "a.log", False),
        (["a b  "], "a b", True),
        (["data/**/raw"], "data/raw", True),
        (["./a"], "a", False),
    ],
)
def test_patterns(patterns, path, out):
    assert leaves_out(Patterns(patterns), path) is out


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_as_git_reads_them(tmp_path):
    chosen = random.Random(7)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for _ in range(60):
        patterns = chosen.sample(PATTERNS, chosen.randint(1, 5))
        (tmp_path / ".gitignore").write_text("\n".join(patterns) + "\n")
        paths = sorted({"/".join(chosen.choices(NAMES, k=chosen.randint(1, 4))) for _ in range(60)})
        command = ["git", "-C", os.fspath(tmp_path), "check-ignore", "--no-index", "--stdin"]
        asked = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True)
        mine = [path for path in paths if leaves_out(Patterns(patterns), path)]
        assert mine == asked.stdout.split(), patterns
