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

from ray._private import utils as _utils
from ray._private.defer_sigint import DeferSigint

_utils.DeferSigint = DeferSigint

import pytest as _pytest

from ray import absent as _absent
from ray._private import ray_constants as _constants

_absent.install()

import ray.util.state as _state

_state.StateApiClient = _absent.Absent("ray.util.state.StateApiClient", "Ray's dashboard")
_utils.get_directory_size_bytes = _absent.Absent("get_directory_size_bytes", "Ray's cache of packages")
for _name in ("DEBUG_AUTOSCALING_ERROR", "DEBUG_AUTOSCALING_STATUS", "RAY_RUNTIME_ENV_URI_PIN_EXPIRATION_S_ENV_VAR"):
    if not hasattr(_constants, _name):
        setattr(_constants, _name, _name)

import ray.cluster_utils as _cluster_utils

_cluster_utils.AutoscalingCluster = _absent.Absent("AutoscalingCluster", "Ray's autoscaler")

#: A mark of cases that need a cluster of several nodes, which park has on every platform it runs on.
_cluster_utils.cluster_not_supported = _pytest.mark.skipif(False, reason="clusters are there")
