"""Writes docs/RAY.md: every public name and option of Ray, and what park does with it.

    .venv/bin/python tests/tools/ray_table.py write     after a change of the interface
    .venv/bin/python tests/tools/ray_table.py check     whether the table is what the code does

Ray's names are in `ray_names.json`, from `ray_names.py`. What park does with them is asked of park, under the name that
`park.compat.ray` gives it; only why something is missing, or has no effect, is said here.
"""

import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "RAY.md"
NAMES = Path(__file__).with_name("ray_names.json")
sys.path.insert(0, str(ROOT / "python"))

SUPPORTED, IGNORED, RAISES, PARTLY = "supported", "accepted, no effect", "raises", "supported in part"
LATER = "not built yet"

INTRODUCTION = (
    "Every public name and option of Ray's core API and what park does with it. Written by `tests/tools/ray_table.py`, which asks the "
    "code; a test keeps the two together. How a supported name behaves, Ray's documentation says; where park differs, park's own does."
)

#: Why a name is not there. A whole module's stands under its own name.
MISSING = {
    "ray.ClientBuilder": "there is no Ray Client: park.attach() joins a session",
    "ray.client": "there is no Ray Client: park.attach() joins a session",
    "ray.DynamicObjectRefGenerator": "deprecated in Ray; use num_returns='streaming'",
    "ray.LoggingConfig": "park configures no logging",
    "ray._config": "a view of Ray's internal settings",
    "ray.widgets": "parts of Ray's notebook pages",
    "ray.cluster_utils.AutoscalingCluster": "nothing scales on one machine",
    "ray.util.connect": "there is no Ray Client",
    "ray.util.disconnect": "there is no Ray Client",
    "ray.util.pdb": "use a debugger in the worker's own process",
    "ray.util.ray_debugpy": "use a debugger in the worker's own process",
    "ray.util.iter": "deprecated in Ray",
    "ray.util.actor_group": "deprecated in Ray",
    "ray.util.tracing": "hooks for Ray's own telemetry",
    **{
        f"ray.util.collective.{name}_multigpu": "one process for each GPU, in park"
        for name in ("allgather", "allreduce", "broadcast", "recv", "reduce", "reducescatter", "send")
    },
    "ray.util.collective.register_collective_backend": "the backends are torch's",
    "ray.util.accelerators.tpu": "a module about TPU hosts, which park does not run on",
    "ray.util.state.StateApiClient": "a client of Ray's dashboard",
    "ray.util.state.get_log": "workers write no log files: what they print comes to the driver",
    "ray.util.state.list_logs": "workers write no log files: what they print comes to the driver",
    "ray.util.state.list_cluster_events": "events of Ray's autoscaler",
}
#: Names that are there and raise NotImplementedError when they are used.
REFUSING = {
    "ray.java_function": "park runs no Java",
    "ray.java_actor_class": "park runs no Java",
    "ray.cpp_function": "C++ tasks are registered through park.h",
}
#: Why an argument or option may be given and changes nothing.
NO_EFFECT = {
    "include_dashboard": "there is no dashboard",
    "dashboard_host": "there is no dashboard",
    "dashboard_port": "there is no dashboard",
    "proxy_server_url": "there is no dashboard",
    "configure_logging": "park configures no logging",
    "logging_level": "park configures no logging",
    "logging_format": "park configures no logging",
    "logging_config": "park configures no logging",
    "enable_task_events": "each task is remembered for a while",
}


def section(title, rows):
    """A heading and a table of (name, status, why)."""
    lines = [f"## {title}", "", "| name | park | |", "|---|---|---|"]
    lines += [f"| `{name}` | {status} | {why} |" for name, status, why in rows]
    return "\n".join(lines)


def name_row(module_name, name):
    """What `module.name` does."""
    full = f"{module_name}.{name}"
    if full in REFUSING:
        return name, f"{RAISES} NotImplementedError", REFUSING[full]
    if has(module_name, name):
        return name, SUPPORTED, ""
    return name, f"{RAISES} AttributeError", MISSING.get(full, MISSING.get(module_name, LATER))


def has(module_name, name):
    """Whether the name is there: as an attribute, or as a module to be imported."""
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return False
    try:
        return hasattr(module, name) or importlib.import_module(f"{module_name}.{name}") is not None
    except ImportError:
        return False


def top_level(names):
    """Rows for `ray.*`, and for the libraries above it."""
    rows = [name_row("ray", name) for name in names["ray"] if name not in names["libraries"]]
    return rows + [
        (name, f"{RAISES} ImportError", "a library on top of Ray: run it on Ray itself") for name in names["libraries"]
    ]


def init_rows(names):
    """Rows for the arguments of `init`."""
    from park import session

    for name in names["init"]:
        if name in session._WITHOUT_EFFECT:
            yield name, IGNORED, NO_EFFECT.get(name, LATER)
        elif name in session._NOT_OFFERED:
            yield name, f"{RAISES} NotImplementedError", f"{LATER}; empty values are taken"
        elif name == "local_mode":
            yield name, f"{RAISES} RuntimeError", "removed from Ray too"
        else:
            yield name, SUPPORTED, ""


def option_rows(names, table):
    """Rows for the options of tasks or actors."""
    from park.options import Option

    everything = Option._field_defaults["offered"]
    for name in names:
        if name not in table:
            yield name, f"{RAISES} ValueError", LATER
        elif name in NO_EFFECT:
            yield name, IGNORED, NO_EFFECT[name]
        elif table[name].offered is everything:
            yield name, SUPPORTED, ""
        else:
            yield name, PARTLY, "raises NotImplementedError for values that park does not have yet"


def environment_rows(names):
    """Rows for the fields of `runtime_env`."""
    from park import runtime_env

    for name in names:
        if name in NO_EFFECT:
            yield name, IGNORED, NO_EFFECT[name]
        elif name == "py_executable":
            yield (
                name,
                SUPPORTED,
                "a path or a command line; of the driver's minor version, with `park` taken from the driver",
            )
        elif name == "config":
            yield name, PARTLY, "`setup_timeout_seconds`, for another interpreter; the rest has no effect"
        elif name in runtime_env._OFFERED:
            yield name, SUPPORTED, ""
        else:
            yield name, f"{RAISES} RuntimeEnvSetupError", runtime_env._REFUSED.get(name, "unknown to park")


def text():
    """The whole file."""
    from park.compat import ray as compat

    compat.install()
    import park
    from park import options
    from park.runtime_context import RuntimeContext

    names = json.loads(NAMES.read_text())
    parts = [
        f"# Ray {names['version']} on park",
        INTRODUCTION,
        section("`ray`", top_level(names)),
        section("Arguments of `ray.init`", init_rows(names)),
        section("Options of tasks", option_rows(names["task options"], options.TASK)),
        section("Options of actors", option_rows(names["actor options"], options.ACTOR)),
        section("Fields of `runtime_env`", environment_rows(names["runtime_env"])),
        section(
            "`ray.get_runtime_context()`",
            [
                (name, SUPPORTED, "") if hasattr(RuntimeContext, name) else (name, f"{RAISES} AttributeError", LATER)
                for name in names["runtime context"]
            ],
        ),
        section(
            "`ray.ObjectRef`",
            [
                (name, SUPPORTED, "") if hasattr(park.ObjectRef, name) else (name, f"{RAISES} AttributeError", LATER)
                for name in names["ObjectRef"]
            ],
        ),
    ]
    for module, found in names["modules"].items():
        if found:
            parts.append(section(f"`{module}`", [name_row(module, name) for name in found]))
        else:
            status = (SUPPORTED, "") if importable(module) else (f"{RAISES} ImportError", MISSING.get(module, LATER))
            parts.append(section(f"`{module}`", [(module, *status)]))
    compat.uninstall()
    return "\n\n".join(parts) + "\n"


def importable(module):
    """Whether the module is there."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def main():
    """See the module."""
    mode = sys.argv[1:]
    if mode == ["write"]:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(text())
    elif mode == ["check"]:
        if not TABLE.exists() or TABLE.read_text() != text():
            raise SystemExit(f"{TABLE} is not what the code does: run tests/tools/ray_table.py write")
    else:
        raise SystemExit("usage: ray_table.py write|check")


if __name__ == "__main__":
    main()
