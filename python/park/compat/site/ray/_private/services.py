"""Addresses: what programs ask for to let their processes find each other."""

from park.util import get_node_instance_id, get_node_ip_address

__all__ = ["get_node_instance_id", "get_node_ip_address"]
