"""What is stored of a function besides itself: how it is run again after an exception, by what it is driven if it is an async generator,
and how often one process may run it.
"""

from __future__ import annotations

from park.exceptions import StreamingGeneratorReplayInconsistentError


class Retrying:
    """A function that is run again in the same worker while it raises: what `retry_exceptions` asks for.

    A worker that dies is another matter, and another count: the head retries the task as a whole.
    """

    def __init__(self, function, retries: int, exceptions: tuple[type[Exception], ...]):
        self.function = function
        self.retries = retries
        self.exceptions = exceptions
        self.__qualname__ = function.__qualname__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args, **kwargs):
        left = self.retries
        while True:
            try:
                return self.function(*args, **kwargs)
            except self.exceptions:
                if left == 0:
                    raise
                left -= 1  # from -1 it never comes to 0: without end, as asked


class RetryingGenerator(Retrying):
    """A generator function that begins anew while it raises. What it yielded before is made again and left out."""

    def __call__(self, *args, **kwargs):
        left = self.retries
        given = 0
        while True:
            made = 0
            try:
                for item in self.function(*args, **kwargs):
                    made += 1
                    if made > given:
                        given = made
                        yield item
            except self.exceptions:
                if left == 0:
                    raise
                left -= 1
                continue
            if made < given:
                raise StreamingGeneratorReplayInconsistentError(
                    f"the generator was run again and yielded {made} objects, {given} before"
                )
            return


class Driven:
    """An async generator function as an ordinary one, for a task: an event loop of its own runs while it makes an item."""

    def __init__(self, function):
        self.function = function
        self.__qualname__ = function.__qualname__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args, **kwargs):
        import asyncio  # few tasks have any

        async def step(values):
            try:
                return True, await anext(values)
            except StopAsyncIteration:
                return False, None

        with asyncio.Runner() as runner:
            values = self.function(*args, **kwargs)
            while True:
                more, item = runner.run(step(values))
                if not more:
                    return
                yield item


class Counted:
    """A function whose worker process ends once it has run it so often: what `max_calls` asks for. The worker reads the number."""

    def __init__(self, function, max_calls: int):
        self.function = function
        self.__park_max_calls__ = max_calls
        self.__qualname__ = function.__qualname__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)
