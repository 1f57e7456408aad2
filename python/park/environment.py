"""Putting a runtime environment on: a session's in the zygote, an actor's for its process's life, a task's while it runs.

One with another interpreter is its zygote's, and with that all its workers'.
"""

from __future__ import annotations

import base64
import importlib
import os
import pickle
import re
import sys
from typing import Any

from park import assignment, session

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def put_on(env: dict[str, Any]) -> None:
    """Make this process's surroundings what `env` says, until it ends."""
    for name, value in env.get("env_vars", {}).items():
        # As in Ray: a value may speak of variables that there are.
        os.environ[name] = _expanded(value)
    assignment.heed(env.get("env_vars", {}))
    paths = [_importable(path) for path in env.get("py_modules", ())]
    if "working_dir" in env:
        folder = env["working_dir"]
        paths.insert(0, folder)
        if os.path.isdir(folder):
            os.chdir(folder)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    # Of a driver that joined the session: behind all else.
    sys.path += [path for path in env.get("_sys_path", ()) if path not in sys.path]
    session.set_runtime_env(env)


def _expanded(value: str) -> str:
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)


def _importable(module: str) -> str:
    """What must be on `sys.path` for this module to be imported: an archive itself, else the folder that it lies in."""
    return module if module.endswith((".zip", ".whl")) else os.path.dirname(module)


class Worn:
    """An environment that is put on for a while: `with Worn(env): ...`. One at a time in a process, as tasks are."""

    def __init__(self, env: dict[str, Any]):
        self._env = env

    def __enter__(self):
        self._before = (dict(os.environ), list(sys.path), os.getcwd(), session.runtime_env(), set(sys.modules))
        put_on(self._env)

    def __exit__(self, *exc):
        variables, path, folder, env, modules = self._before
        own = tuple(f"{entry}{os.sep}" for entry in sys.path if entry not in path)
        os.environ.clear()
        os.environ.update(variables)
        sys.path[:] = path
        os.chdir(folder)
        session.set_runtime_env(env)
        # Another task's module of that name may be another file.
        for name in set(sys.modules) - modules:
            if own and (getattr(sys.modules[name], "__file__", None) or "").startswith(own):
                del sys.modules[name]


class InEnvironment:
    """A task's function that runs in an environment of its own, and is only unpickled there."""

    def __init__(self, pickled: bytes, env: dict[str, Any], function: Any):
        self._pickled = pickled
        self._env = env
        self.__qualname__ = function.__qualname__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args, **kwargs):
        with Worn(self._env):
            _run_hook(self._env.get("worker_process_setup_hook"))
            return pickle.loads(self._pickled)(*args, **kwargs)


# --- a session's ------------------------------------------------------------------------------------------------------------------


def for_hello(env: dict[str, Any]) -> dict[str, Any]:
    """The environment as the zygote is told of it, in JSON: a hook that is a function is pickled, and folders are those without what is
    left out of them."""
    if "working_dir" in env or "py_modules" in env:
        env = _without_excluded(env, env.get("excludes", []))
    hook = env.get("worker_process_setup_hook")
    if hook is None or isinstance(
        hook, (str, dict)
    ):  # a dictionary: pickled already, by who submitted the work that asks
        return env
    from park.serialization import dumps_definition

    pickled = dumps_definition(hook, "worker_process_setup_hook")
    return {**env, "worker_process_setup_hook": {"pickled": base64.b64encode(pickled).decode()}}


def _without_excluded(env: dict[str, Any], excludes: list[str]) -> dict[str, Any]:
    from park.working_dir import unpacked, without_excluded  # few have any

    def place(path: str) -> str:
        return without_excluded(path, excludes, session.views()) if os.path.isdir(path) else path

    changed = dict(env)
    if "working_dir" in env:
        folder = env["working_dir"]
        changed["working_dir"] = (
            place(folder) if os.path.isdir(folder) or not folder.endswith(".zip") else unpacked(folder, session.views())
        )
    if "py_modules" in env:
        changed["py_modules"] = [place(path) for path in env["py_modules"]]
    return changed


# --- another interpreter's --------------------------------------------------------------------------------------------------------

#: As `Placement` takes it: a name, the command, variables, the folder, seconds to be ready in, and what the zygote is told.
Interpreter = tuple[str, list[str], list[tuple[str, str]], str, int, str]


def interpreter_of(env: dict[str, Any]) -> Interpreter | None:
    """How the zygote for work in this environment is started; None if that has the session's own interpreter.

    Variables and folder are there before the interpreter is, for what looks at them as it starts. Equal environments share a zygote.
    """
    if "py_executable" not in env:
        return None
    import json
    import shlex

    import cloudpickle

    from park import foreign, runtime_env

    own = [
        foreign.__file__,
        "{}.{}".format(*sys.version_info[:2]),
        session.executable(),
        os.path.dirname(cloudpickle.__file__),
    ]
    variables = {name: _expanded(value) for name, value in env.get("env_vars", {}).items()}
    folder = env.get("working_dir", "")
    seconds = env.get("config", {}).get("setup_timeout_seconds", runtime_env.DEFAULT_TIMEOUT)
    return (
        env["py_executable"],
        [*shlex.split(env["py_executable"]), *own],
        sorted(variables.items()),
        folder if os.path.isdir(folder) else "",
        _NEVER if seconds == -1 else seconds,
        json.dumps({**env, "env_vars": variables}, sort_keys=True),
    )


#: Seconds; more than a hundred years.
_NEVER = (1 << 32) - 1


def run_session_hook() -> None:
    """Run what every worker of the session runs first."""
    _run_hook(session.runtime_env().get("worker_process_setup_hook"))


def _run_hook(hook: Any) -> None:
    if hook is None:
        return
    if isinstance(hook, dict):
        hook = pickle.loads(base64.b64decode(hook["pickled"]))
    elif isinstance(hook, str):
        module, _, name = hook.rpartition(".")
        hook = getattr(importlib.import_module(module), name)
    hook()
