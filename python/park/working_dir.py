"""Folders of a runtime environment without what is left out of them: views, of links, that last as long as the session.

What is left out is said by the environment's `excludes`, and by `.rayignore` and `.gitignore` files in the folder and below it, each about
the folder that it lies in. With the environment variable RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1 the `.gitignore` files say nothing.

A folder of which nothing is left out is used where it lies. Of any other a *view* is made: folders of its own as far down as something is
left out of them, and in these a link to each file and to each folder that is whole. All views of a session lie in one folder below that
for temporary files, whose name says which driver it is for:

    park-view-USER-PIDNAMESPACE-PID-START/DIGEST/NAME/...

The driver removes it when the session ends, and so does the session's zygote, which outlives a driver that is killed. What is left when
both are killed at once, the next session that makes a view removes. A view is named by what it holds: it is made anew when files came or
went, and shared by all work that has it otherwise. A `working_dir` that is a zip archive is unpacked into such a view.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from collections.abc import Callable

    from park.ignore import Patterns

# What is needed to make a view is imported by those who do: a zygote only asks whether there are any.

#: A folder's entries that stay: name to what stays of a folder, or to None for a link to what is there.
_Kept = dict[str, Optional["_Kept"]]


def without_excluded(folder: str, excludes: list[str], home: str) -> str:
    """Where to find this folder without what is left out of it, by these patterns too: itself if that is nothing, else a view in `home`."""
    from park.ignore import Patterns

    if folder.startswith(home + os.sep):
        return folder  # a view already, of whoever submitted the work that asks
    kept = _walk(folder, "", [("", Patterns(excludes))])
    if kept is None:
        return folder
    # By its own name, which is that of a module.
    return _view(home, (folder, kept), os.path.basename(folder), lambda inside: _link(folder, inside, kept))


def unpacked(archive: str, home: str) -> str:
    """Where to find what this zip archive holds: a folder in `home`. RuntimeEnvSetupError if it is none."""
    import zipfile

    from park.exceptions import RuntimeEnvSetupError

    def extract(inside: str) -> None:
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                path = file.extract(info, inside)
                # Programs stay programs.
                if mode := info.external_attr >> 16 & 0o777:
                    os.chmod(path, mode | 0o600 | (0o100 if info.is_dir() else 0))

    there = os.stat(archive)
    try:
        # What lies there later under this name may be another one.
        which = (archive, there.st_ino, there.st_mtime_ns, there.st_size)
        return _view(home, which, os.path.basename(archive).removesuffix(".zip"), extract)
    except zipfile.BadZipFile as error:
        raise RuntimeEnvSetupError(f"working_dir {archive!r} cannot be unpacked: {error}") from None


def _view(home: str, which: tuple[Any, ...], name: str, fill: Callable[[str], None]) -> str:
    """The folder of this name in the view of `which` in `home`; if it is not there yet, one that is `fill`ed."""
    import hashlib
    import shutil
    import tempfile

    digest = hashlib.sha256(repr(which).encode()).hexdigest()[:32]
    view = os.path.join(home, digest)
    if not os.path.exists(view):
        _sweep()
        os.makedirs(home, mode=0o700, exist_ok=True)
        made = tempfile.mkdtemp(dir=home)
        inside = os.path.join(made, name)
        os.mkdir(inside)
        try:
            fill(inside)
            os.rename(made, view)
        except BaseException:  # another process was quicker, or it cannot be filled
            shutil.rmtree(made)
            if not os.path.isdir(view):
                raise
    return os.path.join(view, name)


def home_of(driver: int) -> str:
    """Where the views of this driver's session lie, if there are any."""
    return f"{_prefix()}{driver}-{_started(driver)}"


def remove_views(home: str) -> None:
    """Remove what `home_of` names."""
    if os.path.isdir(home):
        import shutil

        shutil.rmtree(home, ignore_errors=True)


def _said_in(folder: str) -> list[Patterns]:
    """What the files in a folder leave out of it."""
    from park.ignore import Patterns

    names = (
        [".rayignore", ".gitignore"] if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") != "1" else [".rayignore"]
    )
    found = []
    for name in names:
        try:
            with open(os.path.join(folder, name), errors="surrogateescape") as file:
                found.append(Patterns(file))
        except (FileNotFoundError, IsADirectoryError):
            pass
    return found


def _walk(folder: str, path: str, rules: list[tuple[str, Patterns]]) -> _Kept | None:
    """What stays of the folder at this path from the first one, None if all of it does. Each of the rules is about what lies below a path."""
    kept: _Kept = {}
    rules = rules + [(path, patterns) for patterns in _said_in(folder)]
    whole = True
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            inside = f"{path}{entry.name}"
            # As for git, a link is a file, also to a folder: what it leads to lies elsewhere.
            is_folder = entry.is_dir(follow_symlinks=False)
            if any(patterns.leaves_out(inside[len(base) :], is_folder) for base, patterns in rules):
                whole = False
                continue
            below = _walk(entry.path, f"{inside}/", rules) if is_folder else None
            whole = whole and below is None
            kept[entry.name] = below
    return None if whole else kept


def _link(source: str, target: str, kept: _Kept) -> None:
    for name, below in kept.items():
        there = os.path.join(target, name)
        if below is None:
            os.symlink(os.path.join(source, name), there)
        else:
            os.mkdir(there)
            _link(os.path.join(source, name), there, below)


def _prefix() -> str:
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"park-view-{os.getuid()}-{namespace}-")


def _started(pid: int) -> int:
    """When a process started, in ticks since the machine did: a number that is given out again comes with another one."""
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def _sweep() -> None:
    """Remove what is for drivers that are gone."""
    import contextlib
    import glob

    for home in glob.glob(f"{glob.escape(_prefix())}*"):
        with contextlib.suppress(ValueError):
            pid, started = (int(part) for part in home.rsplit("-", 2)[1:])
            try:
                gone = _started(pid) != started
            except (FileNotFoundError, ProcessLookupError):
                gone = True
            if gone:
                remove_views(home)
