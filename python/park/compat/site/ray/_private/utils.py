"""Helpers that programs borrow from Ray."""

import sys

from park import _park
from park.machine import cpus as get_num_cpus
from park.machine import memory as get_system_memory

from ray._private.defer_sigint import DeferSigint

__all__ = [
    "DeferSigint",
    "binary_to_hex",
    "format_error_message",
    "get_num_cpus",
    "get_system_memory",
    "get_used_memory",
    "hex_to_binary",
]


def get_used_memory():
    """Bytes of memory that are in use, as what ends workers for want of memory counts them."""
    used, _ = _park.memory_use()
    return used


def binary_to_hex(identifier):
    """Hexadecimal digits of bytes."""
    return identifier.hex()


def hex_to_binary(digits):
    """Bytes of hexadecimal digits."""
    return bytes.fromhex(digits)


def format_error_message(exception_message, task_exception=False):
    """The text of an error, without the first frames of a task's traceback."""
    lines = exception_message.split("\n")
    return "\n".join(lines[:1] + lines[3:] if task_exception else lines)


def get_python_version():
    """This interpreter's version, as Ray compares it."""
    return ".".join(map(str, sys.version_info[:3]))


def get_ray_doc_version():
    """Which edition of Ray's documentation warnings point to."""
    import ray

    return f"releases-{ray.__version__}"
