"""What programs build on tasks and actors, under the names of `ray.util`.

`park.options` needs placement groups, so this package is imported with park itself: all that is more than those is imported when
somebody asks for it.
"""

from importlib import import_module

from park.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

#: Where the other names are.
_HOMES = {
    "ActorPool": "actor_pool",
    "as_completed": "helpers",
    "deregister_serializer": "serialization",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_instance_id": "addresses",
    "get_node_ip_address": "addresses",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "named_actors",
    "log_once": "debug",
    "map_unordered": "helpers",
    "register_serializer": "serialization",
}

__all__ = [
    "accelerators",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    *_HOMES,
]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"park.util.{_HOMES[name]}"), name)
    if name in ("accelerators", "collective", "state"):
        return import_module(f"park.util.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
