"""Helpers that programs borrow from Ray."""

import asyncio
import os

__all__ = ["get_or_create_event_loop", "hex_to_binary", "reset_ray_address"]


def get_or_create_event_loop():
    """The loop that runs here, or this thread's, or a new one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:  # none was ever set
        loop = None
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def hex_to_binary(digits):
    """Bytes of hexadecimal digits."""
    return bytes.fromhex(digits)


def reset_ray_address():
    """Forget the address of a cluster that was named by the environment."""
    os.environ.pop("RAY_ADDRESS", None)
