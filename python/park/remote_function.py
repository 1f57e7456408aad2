"""`RemoteFunction`: what `@park.remote` makes of a function.

The function is pickled at its first call in a session and stored there once; each call sends a reference to it. Copies of a remote
function that reach other processes (in closures, as globals of other tasks) share one stored definition for each process: without
that, a recursive function would store itself anew at each level.
"""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from park import _park, options, placing, signature, streaming
from park.here import HERE
from park.retrying import Counted, Driven, Retrying, RetryingGenerator

_session_id = _park.session_id
_submit_task = _park.submit_task


#: What a function wraps the making of its calls with: a function of a function of `args` and `kwargs`.
INVOCATION_DECORATOR = "__ray_invocation_decorator__"


class Export(NamedTuple):
    """A definition that is stored in a session."""

    session: int
    ref: _park.ObjectRef


class Definition:
    """What this process knows of one function or class that was made remote, however many copies and variants there are of it."""

    __slots__ = ("__weakref__", "exports", "facts")

    def __init__(self):
        #: By what sets one variant apart from the others in the bytes that are stored.
        self.exports: dict[Any, Export] = {}
        #: What was found out about it by looking at it.
        self.facts: Any = None

    def export(self, variant: Any, session: int, pickled: Callable[[], bytes]) -> Export:
        """The stored variant; `pickled()` makes the bytes if the session does not have it yet."""
        export = self.exports.get(variant)
        if export is None or export.session != session:
            export = self.exports[variant] = Export(session, _park.export(pickled))
        return export


_definitions: weakref.WeakValueDictionary[bytes, Definition] = weakref.WeakValueDictionary()


def definition_of(key: bytes) -> Definition:
    """The definition with this key; a new one if nobody in this process uses it."""
    return _definitions.setdefault(key, Definition())


def definitions() -> list[tuple[bytes, Definition]]:
    """Every definition that this process uses, by key."""
    return list(_definitions.items())


class RemoteFunction:
    """A function that runs as a task in a worker process: call it with `.remote(...)`."""

    _function: Any
    _options: dict[str, Any]
    #: Which function this is, in whatever process and with whatever options.
    _key: bytes
    __name__: str
    __qualname__: str

    def __init__(self, function, task_options: dict[str, Any]):
        if inspect.iscoroutinefunction(function):
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function with `asyncio.run(f())`. See more "
                "at:https://docs.ray.io/en/latest/ray-core/actors/async_api.html "
            )
        options.check_task(task_options, override=False, generator=_is_generator(function))
        if task_options.get("max_calls") is None and task_options.get("num_gpus"):
            # What a process took of a GPU's memory is only given back with the process.
            task_options = {**task_options, "max_calls": 1}
        self.__setstate__(
            {
                "_function": function,
                "_options": task_options,
                "_key": os.urandom(16),
                "__name__": function.__name__,
                "__qualname__": function.__qualname__,
                "__module__": function.__module__,
                "__doc__": function.__doc__,
            }
        )

    @property
    def _default_options(self) -> dict[str, Any]:
        """What the decorator said."""
        return dict(self._options)

    def _remote(self, args=(), kwargs=None, **task_options):
        """As `.options(...).remote(...)`, with the arguments in a list and a dictionary."""
        chosen = self.options(**task_options) if task_options else self
        return chosen.remote(*args, **(kwargs or {}))

    def bind(self, *args, **kwargs):
        """Ray makes a node of a graph here."""
        raise NotImplementedError("park has no graphs of actors and tasks: call .remote()")

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name in _TRAVELS}

    def __setstate__(self, state):
        # The function may be half made yet (a recursive one contains this object), so nothing may be asked of it here.
        vars(self).update(state)
        chosen = self._options
        self._num_returns = options.number_of_results(chosen.get("num_returns"), _is_generator(self._function))
        self._yields = options.yields(self._num_returns, chosen)
        retries = chosen.get("max_retries")
        self._max_retries = 3 if retries is None else retries
        self._task_name = chosen.get("name") or self.__name__
        needs = options.task_resources(chosen)
        self._needs = (needs,)
        self._resources = _park.Resources(needs)
        self._placing = placing.placing_of(chosen, self._needs, self._repr())
        self._definition = definition_of(self._key)
        self._export: Export | None = None
        self._shape: signature.Shape | None = None
        decorator = getattr(self._function, INVOCATION_DECORATOR, None)
        if decorator is not None:
            # In place of the method, so that functions without one pay nothing.
            self.remote = functools.partial(_decorated, decorator, self)  # type: ignore[method-assign]

    def remote(self, *args, **kwargs):
        """Submit a task that calls the function. Returns a reference to its result, or a list of them, or None for none."""
        export = self._export
        if export is None or export.session != _session_id():
            export = self._publish()
        shape = self._shape
        if kwargs or not shape.low <= len(args) <= shape.high:
            shape.check(args, kwargs)
        place = None
        if self._placing is not None:
            place = self._placing.place()
        elif HERE.facts.captures is not None:
            place = placing.captured(self._options, self._needs, self._repr())
        number = self._num_returns
        refs = _submit_task(
            export.ref, self._task_name, args, kwargs, self._yields, self._resources, self._max_retries, place
        )
        if number == 1:
            return refs[0]
        return streaming.results(number, refs)

    def options(self, **task_options) -> RemoteFunction:
        """This function with other options; the original keeps its own."""
        generator = _is_generator(self._function)
        merged = {name: value for name, value in self._options.items() if name != "max_calls"} | task_options
        options.check_task(merged, override=True, generator=generator)
        changed = RemoteFunction.__new__(RemoteFunction)
        # The function's own, whatever its other options.
        changed.__setstate__(
            {**self.__getstate__(), "_options": merged | {"max_calls": self._options.get("max_calls")}}
        )
        return changed

    def _publish(self) -> Export:
        """Store the definition in the session that is open, and open one if there is none."""
        if self._definition.facts is None:
            self._definition.facts = signature.shape_of(self._function)
        self._shape = self._definition.facts
        function: Any = self._function
        if inspect.isasyncgenfunction(function):
            function = Driven(function)
        variant: Any = ()
        retry = self._options.get("retry_exceptions")
        if retry and self._max_retries != 0:
            exceptions = (Exception,) if retry is True else tuple(retry)
            wrapper = RetryingGenerator if _is_generator(self._function) else Retrying
            function = wrapper(function, self._max_retries, exceptions)
            variant = (self._max_retries, exceptions)
        max_calls = self._options.get("max_calls")
        if max_calls:
            function = Counted(function, max_calls)

        env = options.environment(self._options)
        if env:
            from park import environment

            if (interpreter := environment.interpreter_of(env)) is not None:
                # Its process has it on.
                self._placing, env = placing.placing_of(self._options, self._needs, self._repr(), interpreter), {}
        if env:
            variant = (variant, repr(sorted(env.items())))

        def pickled():
            from park.serialization import dumps_definition

            definition = dumps_definition(function, "function")
            if not env:
                return definition
            from park.environment import InEnvironment

            return dumps_definition(InEnvironment(definition, env, function), "function")

        self._export = self._definition.export(variant, _session_id(), pickled)
        return self._export

    def _repr(self) -> str:
        return f"{self.__module__}.{self.__qualname__}"

    def __call__(self, *args, **kwargs):
        name = f"{self.__module__}.{self.__name__}"
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{name}()', try '{name}.remote()'."
        )

    def __repr__(self):
        return f"<RemoteFunction {self.__module__}.{self.__qualname__}>"


_TRAVELS = frozenset({"_function", "_options", "_key", "__name__", "__qualname__", "__module__", "__doc__"})


def _decorated(decorator, function, *args, **kwargs):
    def invocation(args, kwargs):
        return RemoteFunction.remote(function, *args, **(kwargs or {}))

    return decorator(invocation)(args, kwargs)


def _is_generator(function) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
