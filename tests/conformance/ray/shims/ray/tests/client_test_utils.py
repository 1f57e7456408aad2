"""Classes and functions that several test files use."""

from ray._common.test_utils import SignalActor


def create_remote_signal_actor(ray):
    """The class of actors to signal by."""
    return SignalActor
