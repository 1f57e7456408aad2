"""`python -m park.compat.ray script.py arguments`, and `-m module arguments`: run a program whose `import ray` is park.

The program finds the world as Python itself would have made it: `sys.argv`, `sys.path[0]`, and a `__main__` of its own. With
`--preload torch,transformers` before it, workers of all its sessions start with these modules imported (see park/nursery.py).
"""

import io
import os
import runpy
import sys
import types

from park import nursery, session
from park.compat import ray

USAGE = "usage: python -m park.compat.ray [--preload module,...] [-m module | script.py | folder] [arguments ...]"


def main() -> None:
    """Run the program that the command line names."""
    arguments, preload = _preloads(sys.argv[1:])
    if arguments[:1] in (["-h"], ["--help"]):
        print(
            f"{USAGE}\n\nRuns a program of Ray's on park: `import ray` is park in it, in its workers and in its child processes."
        )
        return
    as_module = arguments[:1] == ["-m"]
    target = arguments[as_module : as_module + 1]
    if not target or target[0].startswith("-"):
        raise SystemExit(f"{USAGE}\npark.compat.ray: {f'unknown option {target[0]}' if target else 'nothing to run'}")
    sys.argv[:] = arguments[as_module:]
    fresh = types.ModuleType("__main__")
    fresh.__dict__["__builtins__"] = __builtins__
    ray.install()
    if as_module:
        # Python has put the working folder into sys.path[0] for our own -m, which is what the program's would have.
        _start_nursery(preload)
        sys.modules["__main__"] = fresh
        runpy._run_module_as_main(target[0], alter_argv=True)  # type: ignore[attr-defined]
        return
    path = target[0]
    if os.path.isdir(path) or not _is_source(path):
        sys.path[0] = path
        _start_nursery(preload)
        sys.modules["__main__"] = fresh
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    try:
        with io.open_code(os.path.abspath(path)) as file:
            code = compile(file.read(), path, "exec")
    except OSError as error:
        raise SystemExit(f"park.compat.ray: can't open file {os.path.abspath(path)!r}: {error}") from None
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    _start_nursery(preload)
    fresh.__file__ = path
    fresh.__dict__["__cached__"] = None
    sys.modules["__main__"] = fresh
    exec(code, fresh.__dict__)


def _preloads(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is left of the command line without `--preload`, and the modules that it names."""
    if not arguments or arguments[0].partition("=")[0] != "--preload":
        return arguments, []
    first, equals, names = arguments.pop(0).partition("=")
    if not equals:
        if not arguments:
            raise SystemExit(f"{USAGE}\npark.compat.ray: {first} names no module")
        names = arguments.pop(0)
    return arguments, names.split(",")


def _start_nursery(modules: list[str]) -> None:
    if not modules:
        return
    try:
        session.NURSERY = nursery.Nursery(session.checked_preload(modules))
    except ModuleNotFoundError as error:
        raise SystemExit(f"park.compat.ray: --{error}") from None


def _is_source(path: str) -> bool:
    """Whether it is no archive: Python runs the `__main__.py` inside of one."""
    import zipfile

    return not zipfile.is_zipfile(path)


if __name__ == "__main__":
    main()
