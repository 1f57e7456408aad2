"""What the session has, by node."""

from park import available_resources, cluster_resources, nodes
from park._park import ObjectRef  # noqa: F401  (programs annotate with it)
from park.ids import NodeID
from park.util import state as _state
from park.util.timeline import timeline

__all__ = [
    "actors",
    "available_resources",
    "available_resources_per_node",
    "cluster_resources",
    "current_node_id",
    "jobs",
    "node_ids",
    "nodes",
    "timeline",
    "total_resources_per_node",
]


def total_resources_per_node():
    """What each node that lives has of each resource, by the node's id."""
    return {node["NodeID"]: node["Resources"] for node in nodes() if node["Alive"]}


def available_resources_per_node():
    """What each node that lives has left of each resource, by the node's id."""
    return _state.available_per_node()


def current_node_id():
    """The resource that every node has one of, by its address."""
    from park.machine import NODE_IP

    return f"node:{NODE_IP}"


def node_ids():
    """The ids of all nodes."""
    return [NodeID.from_hex(node["NodeID"]) for node in nodes()]


def actors(actor_id=None):
    """The actors, also those that died lately, by id; or the one that is asked for. Times are milliseconds since 1970, 0: not yet."""
    from park.machine import NODE_IP

    table = {
        one.actor_id: {
            "ActorID": one.actor_id,
            "ActorClassName": one.class_name,
            "Name": one.name,
            "JobID": one.job_id,
            "State": one.state,
            "Address": {"IPAddress": NODE_IP, "NodeID": one.node_id},
            "Pid": one.pid,
            "NumRestarts": one.num_restarts,
            "StartTime": one.start_time_ms or 0,
            "EndTime": one.end_time_ms or 0,
        }
        for one in _state.list_actors(limit=10_000)
    }
    return table if actor_id is None else table.get(actor_id, {})


def jobs():
    """The programs of the session: that which opened it, and those that joined it, also such as have left."""
    from park.machine import NODE_IP

    return [
        {
            "JobID": row["job_id"],
            "DriverIPAddress": NODE_IP,
            "DriverPid": row["driver_pid"],
            "IsDead": row["status"] != "RUNNING",
            "Entrypoint": row["entrypoint"],
        }
        for row in _state.list_jobs(limit=10_000)
    ]


class GlobalState:
    """What Ray keeps one connection for: the tables that programs read through `state`."""

    def node_table(self):
        """The nodes, as `ray.nodes` has them."""
        return nodes()

    def actor_table(self, actor_id=None):
        """The actors, or the one of this id."""
        return actors(actor_id)

    def placement_group_table(self, placement_group_id=None):
        """The row of the group with this id, empty if there is none; or all rows by id."""
        from park.util.placement_group import placement_group_table

        rows = placement_group_table()
        return rows if placement_group_id is None else rows.get(placement_group_id.hex(), {})

    job_table = staticmethod(jobs)
    cluster_resources = staticmethod(cluster_resources)
    available_resources = staticmethod(available_resources)
    available_resources_per_node = staticmethod(available_resources_per_node)
    total_resources_per_node = staticmethod(total_resources_per_node)
    chrome_tracing_dump = staticmethod(timeline)


state = GlobalState()
