"""Names that test files import from Ray's conftest; as fixtures they come from the plugin."""

from plugin import call_ray_start, shutdown_only  # noqa: F401
