"""`log_once`: say something the first time only."""

import time

_said: set[str] = set()
_disabled = False
_periodic = False
_last = 0.0


def log_once(key: str) -> bool:
    """True the first time that this process asks with `key`; with periodic logging, again after a minute of silence."""
    global _last
    if _disabled:
        return False
    now = time.monotonic()
    if key not in _said:
        _said.add(key)
        _last = now
        return True
    if _periodic and now - _last > 60:
        _said.clear()
        _last = now
    return False


def disable_log_once_globally() -> None:
    """Let `log_once` be False from now on."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Let `log_once` forget what was said, once a minute."""
    global _periodic
    _periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget that `key` was asked with, or every key."""
    if key is None:
        _said.clear()
    else:
        _said.discard(key)
