"""Where the processes of a session find each other."""

import os

from park.machine import NODE_IP


def get_node_ip_address(address: str = "8.8.8.8:53") -> str:
    """The node's address. A session is one machine, so this is the loopback one, whatever `address` would be reached from."""
    return NODE_IP


def get_node_instance_id() -> str:
    """The cloud's name of this machine, where the environment says it."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")
