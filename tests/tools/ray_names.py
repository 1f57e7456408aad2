"""Prints the public names of the Ray that is installed, as JSON: what `ray_table.py` makes the table of `docs/RAY.md` of.

    benches/.venv-ray/bin/python tests/tools/ray_names.py >tests/tools/ray_names.json

Run it when the project moves to another version of Ray. It starts no cluster.
"""

import importlib
import inspect
import json
import sys

import ray
from ray._common import ray_option_utils
from ray.runtime_context import RuntimeContext

#: Modules whose public names count; those of Ray's libraries and of its experiments are listed as a whole.
MODULES = [
    *("ray.actor", "ray.cluster_utils", "ray.cloudpickle", "ray.exceptions", "ray.runtime_env", "ray.util"),
    *("ray.util.accelerators", "ray.util.actor_pool", "ray.util.collective", "ray.util.joblib", "ray.util.metrics"),
    *("ray.util.multiprocessing", "ray.util.placement_group", "ray.util.queue", "ray.util.scheduling_strategies"),
    *("ray.util.state", "ray.util.dask", "ray.util.iter", "ray.util.tracing", "ray.util.actor_group"),
]


def names_of(module_name):
    """What a module says it offers, or else its own functions and classes."""
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return []
    if module_name == "ray.exceptions":
        return sorted(
            name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Exception)
        )
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and getattr(value, "__module__", "").startswith(module_name)
    }
    return sorted(own)


def main():
    """Print the names."""
    init = inspect.signature(ray.init).parameters
    json.dump(
        {
            "version": ray.__version__,
            "ray": sorted({*ray.__all__, "cloudpickle", "exceptions", "__commit__", "_raylet", "job_config", "types"}),
            "libraries": [
                "air",
                "autoscaler",
                "data",
                "job_submission",
                "llm",
                "rllib",
                "serve",
                "train",
                "tune",
                "workflow",
            ],
            "modules": {name: names_of(name) for name in MODULES},
            "init": sorted(name for name, one in init.items() if one.kind is not inspect.Parameter.VAR_KEYWORD),
            "task options": sorted(ray_option_utils.task_options),
            "actor options": sorted(ray_option_utils.actor_options),
            "runtime context": sorted(name for name in vars(RuntimeContext) if not name.startswith("_")),
            "runtime_env": sorted(ray.runtime_env.RuntimeEnv.known_fields),
            "ObjectRef": sorted(name for name in dir(ray.ObjectRef) if not name.startswith("_")),
        },
        sys.stdout,
        indent=1,
    )
    print()


if __name__ == "__main__":
    main()
