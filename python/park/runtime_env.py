"""`runtime_env`: what the processes of a session, a task or an actor find around them. Which fields there are, and what they may be.

A session is one machine, so nothing is uploaded: `working_dir` and `py_modules` are used where they lie. Where `excludes`, patterns as in
a `.gitignore`, or such a file in them leaves something out of them, a view without that takes their place (`working_dir.py`). What would
have to be installed first (`pip`, `conda`, a container) is refused with what to do instead. `py_executable`, another interpreter, may do
such things itself (`uv run`). How an environment is put on is in `environment.py`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import types
from typing import Any

from park.exceptions import RuntimeEnvSetupError

_OFFERED = ("env_vars", "working_dir", "py_modules", "excludes", "worker_process_setup_hook", "config", "py_executable")
#: Seconds in which another interpreter must be ready, as in Ray.
DEFAULT_TIMEOUT = 600
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
    """How an environment is set up: how long another interpreter may take until it is ready, -1 for any time. The rest has no effect."""

    def __init__(
        self,
        setup_timeout_seconds: int = DEFAULT_TIMEOUT,
        eager_install: bool = True,
        log_files: list[str] | None = None,
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
    if "py_executable" in found:
        found["py_executable"] = _checked_command(found["py_executable"])
    if "config" in found:
        _check_timeout(found["config"])
    return found


def refuse_in_threads(env: dict[str, Any]) -> None:
    """Refuse what would have to be put on a process, where workers are threads of the driver's."""
    for name in ("env_vars", "working_dir", "py_modules", "worker_process_setup_hook"):
        if name in env:
            raise RuntimeEnvSetupError(
                f"runtime_env[{name!r}] belongs to a process, and in thread mode workers have none of their own: set it up in the driver, "
                "or use park.init(mode='process')"
            )
    if not is_own(env.get("py_executable")):
        raise RuntimeEnvSetupError(
            f"runtime_env['py_executable'] = {env['py_executable']!r} asks for a process of another interpreter, and in thread mode workers "
            f"are threads of the driver's, {sys.executable}: start the driver with the other one, or use park.init(mode='process')"
        )


def is_own(command: str | None) -> bool:
    """Whether `py_executable` means the interpreter that the session's workers have anyway: the driver's. None means that, too.

    A virtual environment's interpreter is a link to another one, and yet not the same: it is known by its folder.
    """
    if command is None:
        return True
    from park import _park, session

    if _park.role() == "peer":
        return False  # it does not know which that is
    words = shlex.split(command)
    found = shutil.which(words[0])
    own = session.executable()
    return len(words) == 1 and found is not None and _place(found) == _place(own)


def _place(program: str) -> tuple[str, str]:
    return os.path.realpath(os.path.dirname(program)), os.path.realpath(program)


def merged(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """What holds for work with the environment `inner` in a process with `outer`: its fields, and the variables of both."""
    both = {**outer, **inner}
    if "env_vars" in outer and "env_vars" in inner:
        both["env_vars"] = {**outer["env_vars"], **inner["env_vars"]}
    return both


def _checked_command(command: Any) -> str:
    if not isinstance(command, (str, os.PathLike)):
        raise TypeError(f"runtime_env['py_executable'] must be a path or a command line, got {type(command)}")
    text = os.fspath(command).strip()
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"runtime_env['py_executable'] = {text!r} is no command line: {error}") from None
    if not words:
        raise ValueError("runtime_env['py_executable'] is empty")
    return text


def _check_timeout(config: Any) -> None:
    if not isinstance(config, dict):
        raise TypeError(f"runtime_env['config'] must be a dictionary or a RuntimeEnvConfig, got {type(config)}")
    seconds = config.get("setup_timeout_seconds", DEFAULT_TIMEOUT)
    if not isinstance(seconds, int):
        raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(seconds)}")
    if seconds <= 0 and seconds != -1:
        raise ValueError(f"setup_timeout_seconds must be greater than zero or equals to -1, got: {seconds}")


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
