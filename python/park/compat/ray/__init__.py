"""`install()`: from then on `import ray` is park, in this process, in its workers and in the Python programs that it starts.

What is imported is the package `ray` in `park/compat/site`. It is small: names of Ray's top level and of those private modules that
programs reach into. Every other module (`ray.actor`, `ray.exceptions`, `ray.util.queue`) is park's own module under a second
name, put there by the import hook in `finder.py`, so that a class is the same class by whichever name it was imported.

The decision travels as a path: `park/compat/site` stands on `sys.path`, which workers get from their driver, and in `PYTHONPATH`,
which every child process gets. The package there installs the hook when it is imported. `uninstall()` takes all of it back.

    python -m park.compat.ray script.py arguments       runs a program so, as `python script.py arguments` would
    python -m park.compat.ray -m module arguments       likewise
"""

import os
import sys

from park import session
from park.compat.ray.finder import Finder

#: The folder whose `ray` is park.
SITE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "site")

_finder = Finder(os.path.join(SITE, "ray"))


def is_installed() -> bool:
    """Whether `import ray` gives park in this process."""
    return _finder in sys.meta_path


def install() -> None:
    """Let `ray` be park from now on. RuntimeError if the real Ray is loaded: two runtimes under one name would be mixed up."""
    loaded = sys.modules.get("ray")
    if loaded is not None and not getattr(loaded, "__park__", False):
        raise RuntimeError(
            f"park cannot take the name of Ray here: Ray {getattr(loaded, '__version__', '')} is loaded in this process, from "
            f"{getattr(loaded, '__file__', None)}; call park.compat.ray.install() before anything imports ray"
        )
    if is_installed():
        return
    sys.meta_path.insert(0, _finder)
    # Second place: the first is the program's own folder, which programs look at.
    sys.path.insert(1, SITE)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if SITE not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([SITE, *paths])
    session.PRELOADED.append("ray")


def uninstall() -> None:
    """Take `install()` back. Modules that were imported already keep what they imported; the next `import ray` is Python's own."""
    if not is_installed():
        return
    sys.meta_path.remove(_finder)
    sys.path[:] = [path for path in sys.path if path != SITE]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", SITE)]
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    else:
        os.environ.pop("PYTHONPATH", None)
    session.PRELOADED.remove("ray")
    for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        del sys.modules[name]
