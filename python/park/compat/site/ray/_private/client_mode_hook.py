"""Ray's client is a proxy to a far cluster; park has none, so nothing is ever in client mode."""

from contextlib import contextmanager

is_client_mode_enabled = False


def client_mode_should_convert():
    """Whether calls go through a client: never."""
    return False


def client_mode_hook(function):
    """The function itself."""
    return function


def client_mode_wrap(function):
    """The function itself."""
    return function


@contextmanager
def disable_client_hook():
    """Nothing to disable."""
    yield


@contextmanager
def enable_client_mode():
    """There is no client mode to enable."""
    raise NotImplementedError("park has no Ray Client; a program shares a session's objects by park.attach()")
    yield
