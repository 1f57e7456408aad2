"""Private names of Ray that programs reach into; each module here says which. `ray._private.X` needs no import, as in Ray."""

import importlib

_MODULES = frozenset(
    {
        *(
            "auto_init_hook",
            "client_mode_hook",
            "internal_api",
            "label_utils",
            "ray_constants",
            "services",
            "state",
        ),
        *("utils", "worker", "workers"),
    }
)


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
