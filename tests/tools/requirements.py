"""Prints what `.venv` must hold: the dependencies of pyproject.toml and the named extras, one requirement a line.

pyproject.toml stays the one list. pip cannot install a project's extras without building the project, so make keys its stamp to
this text: editing the linter's settings in pyproject.toml reinstalls nothing.
"""

import sys
import tomllib
from pathlib import Path


def main(extras: list[str]) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    print("\n".join(sorted(set(wanted))))


if __name__ == "__main__":
    main(sys.argv[1:])
