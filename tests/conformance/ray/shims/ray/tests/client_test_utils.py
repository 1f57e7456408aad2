"""Classes and functions that several test files use."""

import asyncio


def create_remote_signal_actor(ray):
    """The class of actors to signal by."""

    @ray.remote
    class SignalActor:
        def __init__(self):
            self.event = asyncio.Event()

        def send(self, clear=False):
            self.event.set()
            if clear:
                self.event.clear()

        async def wait(self, should_wait=True):
            if should_wait:
                await self.event.wait()

    return SignalActor
