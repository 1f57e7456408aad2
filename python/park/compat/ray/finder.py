"""The import hook behind `import ray`: which of Ray's modules are park's under a second name, and which are not offered.

A module is looked for in three places: among those that are refused, among park's modules that bear Ray's names, and in the
package `park/compat/site/ray`. A second name is no copy: `sys.modules["ray.actor"] is park.actor`.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec

#: Modules of park, and all below them, that have the names of Ray's: `ray.X` is `park.X`.
ALIASES = frozenset(
    {"actor", "cloudpickle", "cluster_utils", "exceptions", "remote_function", "runtime_context", "runtime_env", "util"}
)
#: Libraries on top of Ray that are not part of park.
REFUSED = frozenset(
    {"air", "autoscaler", "dashboard", "data", "job_submission", "llm", "rllib", "serve", "train", "tune", "workflow"}
)


def refusal(name: str) -> str:
    """Why `ray.<name>` is not there, and what to do."""
    return (
        f"ray.{name} is not part of park, which stands in for Ray's core API here: run this program on Ray itself (pip install "
        f"'ray[default]', and start it without park.compat.ray), or keep what needs ray.{name} in a program of its own"
    )


class Finder:
    """A meta path finder for `ray` and everything below it."""

    def __init__(self, package: str):
        self._package = package

    def find_spec(self, fullname, path=None, target=None):
        root, _, rest = fullname.partition(".")
        if root != "ray":
            return None
        if not rest:
            return importlib.util.spec_from_file_location(
                "ray", f"{self._package}/__init__.py", submodule_search_locations=[self._package]
            )
        first = rest.partition(".")[0]
        if first in REFUSED:
            return ModuleSpec(fullname, _Refusing(first), is_package=True)
        if first in ALIASES and importlib.util.find_spec(f"park.{rest}") is not None:
            return ModuleSpec(fullname, _Aliasing(f"park.{rest}"))
        return None  # a file of the package, if there is one


class _Refusing:
    """As Ray without the library's own dependencies: the module can be found and does not import."""

    def __init__(self, name):
        self._name = name

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise ImportError(refusal(self._name), name=module.__name__)


class _Aliasing:
    def __init__(self, real):
        self._real = real
        self._spec = None

    def create_module(self, spec):
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module):
        # The import system has just written the second name's spec into it.
        alias = module.__spec__.name
        module.__spec__ = self._spec
        # Importing a submodule sets an attribute of its package, which may have a function of that name by now, as `placement_group`:
        # those that are loaded are not to be imported again.
        for name in [name for name in sys.modules if name.startswith(f"{self._real}.")]:
            sys.modules.setdefault(alias + name.removeprefix(self._real), sys.modules[name])
