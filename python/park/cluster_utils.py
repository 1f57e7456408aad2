"""`Cluster`: several nodes in one session, to try out on one machine what places work on several.

A node is a partition of the runtime: an id, resources and labels of its own, no process of its own. Nodes can be added and removed while a
session runs; what runs on a node that is removed is killed, as if its machine were gone, but objects stay. Nothing runs before a driver
connects with `park.init(address=cluster.address)`, and a session that is opened again starts with the cluster's nodes and nothing else.
"""

from __future__ import annotations

import time
from typing import Any

from park import _park, labels, node_resources, session
from park.ids import NodeID

__all__ = ["Cluster"]

#: What a node has unless it is said.
_DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 150 * 1024 * 1024}
_ARGUMENTS = {"num_cpus", "num_gpus", "resources", "object_store_memory", "memory", "labels"}
#: Arguments of Ray's nodes that change nothing here, where a node has no processes, ports and files.
_WITHOUT_EFFECT = {
    "enable_object_reconstruction",  # no object is lost with a node
    *("_system_config", "include_dashboard", "dashboard_host", "dashboard_port", "dashboard_agent_listen_port"),
    *(
        "min_worker_port",
        "max_worker_port",
        "node_ip_address",
        "temp_dir",
        "node_name",
        "env_vars",
        "include_log_monitor",
    ),
    *("object_spilling_directory", "redis_password", "redis_username", "cluster_id", "ray_client_server_port"),
}


class Node:
    """One node of a cluster."""

    def __init__(self, address: str, total: dict[str, Any], node_labels: dict[str, str]):
        self.node_id = NodeID.from_random().hex()
        self.address = self.gcs_address = address
        self.node_ip_address = node_resources.NODE_IP
        self.total = total
        self.labels = node_labels

    @property
    def unique_id(self) -> str:
        """The node's id."""
        return self.node_id

    @property
    def address_info(self) -> dict[str, str]:
        """Facts about the node."""
        store, daemon = node_resources.sockets(self.node_id)
        return {
            "address": self.address,
            "node_id": self.node_id,
            "node_ip_address": self.node_ip_address,
            "object_store_address": store,
            "raylet_socket_name": daemon,
        }

    def __repr__(self):
        return f"Node({self.node_id})"


class Cluster:
    """A list of nodes, the first of which is the driver's."""

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ):
        self.head_node: Node | None = None
        self.worker_nodes: list[Node] = []
        self.connected = False
        self._address = f"{session.CLUSTER}{NodeID.from_random().hex()[:16]}"
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """What `park.init(address=...)` takes to open a session on these nodes; None as long as there are none."""
        return None if self.head_node is None else self._address

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Open a session on these nodes."""
        if self.address is None or self.connected:
            raise AssertionError("the cluster has no node yet, or is connected already")
        session.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **arguments: Any) -> Node:
        """Add a node with `num_cpus`, `num_gpus`, `resources`, `memory`, `object_store_memory` and `labels`."""
        if unknown := arguments.keys() - _ARGUMENTS - _WITHOUT_EFFECT:
            raise TypeError(f"a node has no {sorted(unknown)}; it has {sorted(_ARGUMENTS)}")
        chosen = {**_DEFAULTS, **{name: value for name, value in arguments.items() if name in _ARGUMENTS}}
        given = labels.check_labels(chosen.pop("labels", None))
        total = node_resources.total_resources(
            chosen["num_cpus"],
            chosen["num_gpus"],
            chosen.get("resources"),
            chosen["object_store_memory"],
            chosen.get("memory"),
            head=self.head_node is None,
        )
        node = Node(self._address, total, {**node_resources.default_labels(total), **given})
        if self.head_node is None:
            self.head_node = node
            session.register_cluster(self._address, self)
        else:
            if self._is_open():
                _park.add_node(node.node_id, node.labels, node.total)
            self.worker_nodes.append(node)
        return node

    def remove_node(self, node: Node, allow_graceful: bool = True) -> None:
        """Remove a node, and kill what runs there."""
        if node is self.head_node:
            if self._is_open():
                session.shutdown()
                raise ValueError(
                    "Removing a node that is connected to this Ray client is not allowed because it will break the driver. You can use "
                    "the get_other_node utility to avoid removing a node that the Ray client is connected."
                )
            self.head_node = None
            self.connected = False
            session.forget_cluster(self._address)
            return
        self.worker_nodes.remove(node)
        if self._is_open():
            _park.remove_node(node.node_id)

    def list_all_nodes(self) -> list[Node]:
        """The nodes, the first one first."""
        return ([self.head_node] if self.head_node else []) + self.worker_nodes

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Wait until the session knows all nodes. It does at once, so this only checks."""
        end = time.monotonic() + timeout
        while self._is_open():
            known = [node for node in session.nodes() if node["Alive"]]
            if len(known) == len(self.list_all_nodes()):
                return
            if time.monotonic() > end:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(0.01)

    def remaining_processes_alive(self) -> bool:
        """Whether the nodes' processes are well. They have none of their own."""
        return True

    def shutdown(self) -> None:
        """Remove all nodes, and end the session on them."""
        if self._is_open():
            session.shutdown()
        self.worker_nodes.clear()
        if self.head_node is not None:
            self.remove_node(self.head_node)

    def _is_open(self) -> bool:
        return session.open_cluster() is self
