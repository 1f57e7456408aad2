"""`runtime_env`: what the processes of a session, a task or an actor find around them. Which fields there are, and what they may be.

A session is one machine, so nothing is uploaded: `working_dir` and `py_modules` are used where they lie. Where `excludes`, patterns as in
a `.gitignore`, leaves something out of them, a view without that takes their place (`working_dir.py`). What would have to be installed first (`pip`, `conda`, a container) is refused
with what to do instead. How an environment is put on is in `environment.py`.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from park.exceptions import RuntimeEnvSetupError

_OFFERED = ("env_vars", "working_dir", "py_modules", "excludes", "worker_process_setup_hook", "config", "py_executable")
#: Fields that park does not offer, and what to do instead.
_REFUSED = {
    **dict.fromkeys(("pip", "uv", "conda"), "install the packages into the environment that the driver runs in"),
    **dict.fromkeys(("container", "image_uri"), "start the driver inside of the container"),
    **dict.fromkeys(("_nsight", "nsight", "_rocprof_sys", "rocprof-sys"), "start the driver under the profiler"),
    **dict.fromkeys(("java_jars", "ray_debugger", "mpi", "ray_release", "_ray_release", "_ray_commit"), "leave it out"),
}


class RuntimeEnv(dict):
    """A runtime environment, checked where it is made. A plain dictionary will do as well."""

    def __init__(self, **fields: Any):
        super().__init__(checked(fields))

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dict(self)

    def env_vars(self) -> dict[str, str]:
        """Environment variables."""
        return self.get("env_vars", {})


class RuntimeEnvConfig(dict):
    """How Ray's agent sets an environment up. Nothing is set up here, so it has no effect."""

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ):
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=log_files or []
        )


def checked(env: dict[str, Any] | None) -> dict[str, Any]:
    """The environment with its paths made absolute and empty fields left out. Raises for what is wrong or not offered."""
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise TypeError(f"runtime_env must be a dictionary, got {type(env)}")
    found = {name: value for name, value in env.items() if value not in (None, {}, [])}
    for name in found:
        if name in _REFUSED:
            raise RuntimeEnvSetupError(
                f"park does not set up runtime_env[{name!r}]: {_REFUSED[name]}; park offers {', '.join(_OFFERED)}"
            )
        if name not in _OFFERED:
            raise RuntimeEnvSetupError(f"runtime_env has no field {name!r}; park offers {', '.join(_OFFERED)}")
    if "env_vars" in found:
        found["env_vars"] = _checked_variables(found["env_vars"])
    if "working_dir" in found:
        found["working_dir"] = _checked_path("working_dir", found["working_dir"])
    if "py_modules" in found:
        if not isinstance(found["py_modules"], list):
            raise TypeError(f"`py_modules` must be a list of strings, got {type(found['py_modules'])}.")
        found["py_modules"] = [_checked_module(module) for module in found["py_modules"]]
    if "excludes" in found and not isinstance(found["excludes"], list):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(found['excludes'])}")
    hook = found.get("worker_process_setup_hook")
    if hook is not None and not callable(hook) and not isinstance(hook, str):
        raise TypeError(
            f"Invalid type {type(hook)} for worker_process_setup_hook. It has to be either a function or a string."
        )
    python = found.pop("py_executable", None)
    if python is not None and os.path.realpath(str(python)) != os.path.realpath(sys.executable):
        raise RuntimeEnvSetupError(
            f"park does not set up runtime_env['py_executable'] = {python!r}: workers are forked from the driver's own interpreter, "
            f"{sys.executable}; start the driver with the other one"
        )
    return found


def refuse_in_threads(env: dict[str, Any]) -> None:
    """Refuse what would have to be put on a process, where workers are threads of the driver's."""
    for name in ("env_vars", "working_dir", "py_modules", "worker_process_setup_hook"):
        if name in env:
            raise RuntimeEnvSetupError(
                f"runtime_env[{name!r}] belongs to a process, and in thread mode workers have none of their own: set it up in the driver, "
                "or use park.init(mode='process')"
            )


def merged(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """What holds for work with the environment `inner` in a process with `outer`: its fields, and the variables of both."""
    both = {**outer, **inner}
    if "env_vars" in outer and "env_vars" in inner:
        both["env_vars"] = {**outer["env_vars"], **inner["env_vars"]}
    return both


def _checked_variables(variables: Any) -> dict[str, str]:
    if not isinstance(variables, dict):
        raise TypeError(f"runtime_env['env_vars'] must be of type Dict[str, str], got {type(variables)}")
    for name, value in variables.items():
        if not isinstance(name, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the key {name} is of type {type(name)}"
            )
        if not isinstance(value, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the value {value} is of type {type(value)}"
            )
    return variables


def _checked_path(field: str, path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`{field}` must be a string, got {type(path)}.")
    text = os.fspath(path)
    if "://" in text:
        raise RuntimeEnvSetupError(f"park fetches nothing: {field} {text!r} must be a folder of this machine")
    if not os.path.exists(text):
        raise ValueError(f"{text} is not a valid path for {field}: there is no such file or folder")
    if not os.path.isdir(text) and not text.endswith((".zip", ".whl", ".py")):
        raise ValueError(f"{text} is not a valid path for {field}: it is no folder and no archive")
    return os.path.abspath(text)


def _checked_module(module: Any) -> str:
    if isinstance(module, types.ModuleType):
        folders = list(getattr(module, "__path__", ()))
        module = folders[0] if folders else module.__file__
    return _checked_path("py_modules", module)
