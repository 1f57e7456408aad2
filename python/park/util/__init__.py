"""What programs build on tasks and actors, under the names of `ray.util`."""

from park.util import accelerators
from park.util.actor_pool import ActorPool
from park.util.addresses import get_node_instance_id, get_node_ip_address
from park.util.check_serialize import inspect_serializability
from park.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from park.util.helpers import as_completed, map_unordered
from park.util.named_actors import list_named_actors
from park.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from park.util.serialization import deregister_serializer, register_serializer

__all__ = [
    "ActorPool",
    "accelerators",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]
