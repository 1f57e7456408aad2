"""Park under Ray's name, and beside its modules those of this folder. See README.md."""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
del sys.modules["ray"]  # this one, which the import system has put there

from park.compat import ray as _compat

_compat.install()
# Workers and child processes find `ray` by these paths: this folder must come before park's.
_shims = os.path.dirname(_here)
sys.path[:] = [_shims, *(path for path in sys.path if path != _shims)]
_paths = os.environ["PYTHONPATH"].split(os.pathsep)
os.environ["PYTHONPATH"] = os.pathsep.join([_shims, *(path for path in _paths if path != _shims)])

import ray

ray.__path__.append(_here)
import ray._common
import ray._private
import ray.util

ray._common.__path__.append(os.path.join(_here, "_common"))
ray._private.__path__.append(os.path.join(_here, "_private"))
ray.util.__path__.append(os.path.join(_here, "util"))
