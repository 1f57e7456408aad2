"""Names that test files import from Ray's conftest; as fixtures they come from the plugin."""

import contextlib

import pytest
from plugin import call_ray_start, shutdown_only  # noqa: F401


@contextlib.contextmanager
def call_ray_start_context(request):
    pytest.skip("needs a cluster started by `ray start`")
    yield
