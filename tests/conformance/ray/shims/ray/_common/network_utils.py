"""Addresses as Ray's tests write them."""

import socket


def build_address(host, port):
    """Host and port in one."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(address):
    """Host and port apart; None without a port."""
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), port) if colon else None


def find_free_port(family=socket.AF_INET):
    """A port that nobody listens at."""
    with socket.socket(family) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
