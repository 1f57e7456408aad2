"""The old place of `ray.util.state`."""

from park.util.state import *  # noqa: F403
from park.util.state import __all__  # noqa: F401
