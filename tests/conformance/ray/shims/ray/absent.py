"""Names of Ray's servers and their protocols that test files import: they can be imported, and a case that uses one is not applicable."""

import sys
import types

import pytest

#: Modules that are no part of park, and what they belong to. Any name can be imported from them.
MODULES = {
    "ray._private.accelerators.tpu": "Ray's detection of TPUs",
    "ray._private.async_compat": "what Ray makes of methods of async actors",
    "ray._private.function_manager": "Ray's table of functions in its GCS server",
    "ray._private.grpc_utils": "the protocol of Ray's servers",
    "ray._private.runtime_env.context": "Ray's agent, which sets environments up",
    "ray._private.profiling": "Ray's profile of its own servers",
    "ray._private.runtime_env.plugin": "Ray's agent, which sets environments up",
    "ray._private.runtime_env.packaging": "Ray's upload of packages",
    "ray._private.runtime_env.setup_hook": "Ray's upload of hooks",
    "ray._private.runtime_env.working_dir": "Ray's agent, which sets environments up",
    "ray.autoscaler._private.commands": "Ray's autoscaler",
    "ray.autoscaler._private.constants": "Ray's autoscaler",
    "ray.client_builder": "Ray Client",
    "ray.core.generated.common_pb2": "the protocol of Ray's servers",
    "ray.dashboard.utils": "Ray's dashboard",
    "ray.job_submission": "Ray's job server",
    "ray.scripts.scripts": "Ray's command line",
    "ray.util.client.common": "Ray Client",
    "ray.util.client.ray_client_helpers": "Ray Client",
    "ray.util.client.worker": "Ray Client",
    "ray.util.state.common": "the schema of Ray's dashboard",
    "ray.util.state.exception": "a client of Ray's dashboard",
    "ray.util.state.state_cli": "Ray's command line",
    "ray.util.state.state_manager": "a client of Ray's dashboard",
}


#: Names that cases were skipped for: what such a case had opened, it could not close.
SKIPPED = []


class Absent:
    """A name that can be imported, and skips the case when anything is done with it."""

    def __init__(self, name, what):
        self._name, self._what = name, what

    def _skip(self):
        SKIPPED.append(self._name)
        pytest.skip(f"{self._name} is part of {self._what}")

    def __call__(self, *args, **kwargs):
        self._skip()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        # An attribute of a class, as `ActorTableData.DEAD`, may be read at import.
        return Absent(f"{self._name}.{name}", self._what)

    def __mro_entries__(self, bases):
        return ()  # a class that is derived from it can be made

    def __str__(self):
        self._skip()

    __enter__ = __iter__ = __len__ = __bool__ = __index__ = __str__


def _module(name, what):
    module = types.ModuleType(name, f"Part of {what}.")
    module.__path__ = []

    def look(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Absent(f"{name}.{attribute}", what)

    module.__getattr__ = look
    return module


def install():
    """Put them where imports find them."""
    for name, what in MODULES.items():
        parts = name.split(".")
        for end in range(2, len(parts) + 1):
            full = ".".join(parts[:end])
            if full not in sys.modules:
                try:
                    __import__(full)
                except ImportError:
                    sys.modules[full] = _module(full, what)
