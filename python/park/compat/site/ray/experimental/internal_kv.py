"""The session's table of keys and values: what its processes note for each other. It ends with the session.

Keys and values are strings or bytes; what comes back is bytes. Each namespace is a table of its own.
"""

from park import _park
from park.exceptions import RaySystemError

__all__ = [
    "_internal_kv_del",
    "_internal_kv_exists",
    "_internal_kv_get",
    "_internal_kv_initialized",
    "_internal_kv_list",
    "_internal_kv_put",
]


def _bytes(value, what):
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"{what} must be a string or bytes, got {type(value)}")
    return value


def _whole(key, namespace):
    """The key in the one table of the session: its namespace's length, the namespace, the key."""
    space, key = _bytes(namespace or b"", "namespace"), _bytes(key, "key")
    if key.startswith(b"@namespace_"):
        raise RaySystemError(f"'@namespace_' is reserved and cannot begin a key, got {key!r}")
    return len(space).to_bytes(4, "big") + space + key


def _internal_kv_initialized():
    """Whether there is a session, and so a table."""
    return _park.is_initialized()


def _internal_kv_get(key, *, namespace=None):
    """The value of the key; None if it has none."""
    return _park.get_pair(_whole(key, namespace))


def _internal_kv_exists(key, *, namespace=None):
    """Whether the key has a value."""
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_put(key, value, overwrite=True, *, namespace=None):
    """Give the key a value, unless it has one and `overwrite` is false. Returns whether it had one."""
    return _park.put_pair(_whole(key, namespace), _bytes(value, "value"), overwrite) is not None


def _internal_kv_del(key, *, del_by_prefix=False, namespace=None):
    """Forget the key, or all keys that begin so. Returns how many there were."""
    keys = _internal_kv_list(key, namespace=namespace) if del_by_prefix else [key]
    return sum(_park.remove_pair(_whole(one, namespace)) for one in keys)


def _internal_kv_list(prefix, *, namespace=None):
    """The keys that begin so."""
    start = len(_whole(b"", namespace))
    return [key[start:] for key in _park.pair_keys(_whole(prefix, namespace))]
