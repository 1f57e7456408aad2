"""`ActorClass`, `ActorHandle` and `ActorMethod`: what `@park.remote` makes of a class, and what calls its instances.

A class is stored in a session as a pair: what a handle must know about it, and the pickled class itself. A handle is a reference
(the actor lives while there is one, in any process) and the first half of the pair, so it works where the class is not known; a
named actor's handle is made from the pair that was stored when the actor was created.
"""

from __future__ import annotations

import inspect
import pickle
import uuid
from typing import Any

from park import _park, exceptions, options, session, signature, streaming
from park.remote_function import Export, definition_of

_session_id = _park.session_id
_call_actor = _park.call_actor

#: Where `@park.method` leaves its options on a function.
_METHOD_OPTIONS = "__park_method_options__"


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class."""


def method(*args, **kwargs):
    """Options of one method of an actor: `@park.method(num_returns=2)`."""
    if len(args) == 1 and callable(args[0]) and not kwargs:
        return args[0]
    names = list(options.METHOD)
    if args:
        raise options.UsageError(
            "The @ray.method decorator must be applied using no arguments or at least one of the arguments in the list "
            f"{names}, for example '@ray.method(num_returns=2)'."
        )
    for name, value in kwargs.items():
        if name not in options.METHOD:
            raise options.UsageError(
                f"Unexpected keyword argument to @ray.method: '{name}'. The supported keyword arguments are {names}"
            )
        options.METHOD[name].check(name, value)

    def annotate(function):
        options.check_num_returns(kwargs.get("num_returns"), _is_generator(function))
        options.refuse_what_is_not_offered(options.METHOD, kwargs)
        setattr(function, _METHOD_OPTIONS, kwargs)
        return function

    return annotate


class ActorMethod:
    """A method of one actor: call it with `.remote(...)`.

    It holds the reference rather than the handle, which keeps it: in a circle the actor would live until the collector came by.
    """

    __slots__ = ("_generator", "_limit", "_name", "_num_returns", "_ref", "_retries", "_shape", "_yields")

    def __init__(self, ref, name: str, shape: signature.Shape, chosen: dict[str, Any], retries: int, generator: bool):
        self._ref = ref
        self._name = name
        self._shape = shape
        self._num_returns = options.number_of_results(chosen.get("num_returns"), generator)
        self._yields = options.yields(self._num_returns, chosen)
        self._limit = chosen.get(options.BACKPRESSURE)
        self._retries = retries
        self._generator = generator

    def remote(self, *args, **kwargs):
        """Call the method. Returns a reference to its result, or a list of them, or None for none."""
        shape = self._shape
        if kwargs or not shape.low <= len(args) <= shape.high:
            shape.check(args, kwargs)
        number = self._num_returns
        refs = _call_actor(self._ref, self._name, args, kwargs, self._yields, self._retries)
        if number == 1:
            return refs[0]
        return streaming.results(number, refs)

    def options(self, **call_options) -> ActorMethod:
        """This method with other options for one call."""
        for name, value in call_options.items():
            if name not in options.CALL:
                raise TypeError(f"ActorMethod.options() got an unexpected keyword argument '{name}'")
            options.CALL[name].check(name, value)
        number = call_options.get("num_returns")
        options.check_num_returns(number, self._generator)
        options.refuse_what_is_not_offered(options.CALL, call_options)
        retries = call_options.get("max_task_retries")
        limit = call_options.get(options.BACKPRESSURE)
        return ActorMethod(
            self._ref,
            self._name,
            self._shape,
            {
                "num_returns": self._num_returns if number is None else number,
                options.BACKPRESSURE: self._limit if limit is None else limit,
            },
            self._retries if retries is None else retries,
            self._generator,
        )

    def __call__(self, *args, **kwargs):
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._name}()', try "
            f"'object.{self._name}.remote()'."
        )

    def __repr__(self):
        return f"<ActorMethod {self._name} of {self._ref.hex()}>"


class ActorHandle:
    """A reference to an actor. Its methods are called as `handle.method.remote(...)`; it may be passed, put and returned."""

    def __init__(self, ref: _park.ObjectRef, meta: dict[str, Any]):
        self._park_ref = ref
        self._park_meta = meta

    def __getattr__(self, name):
        # Only asked for what is not there yet: a method is made once and then found as any attribute is.
        try:
            shape, chosen, generator = vars(self)["_park_meta"]["methods"][name]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'") from None
        retries = chosen.get("max_task_retries")
        made = ActorMethod(
            self._park_ref,
            name,
            shape,
            chosen,
            self._park_meta["max_task_retries"] if retries is None else retries,
            generator,
        )
        vars(self)[name] = made
        return made

    @property
    def _actor_id(self) -> _park.ObjectRef:
        """The actor's id, with `hex()` and `binary()`."""
        return self._park_ref

    _ray_actor_id = _actor_id

    def __reduce__(self):
        return ActorHandle, (self._park_ref, self._park_meta)

    def __eq__(self, other):
        return isinstance(other, ActorHandle) and self._park_ref == other._park_ref

    def __hash__(self):
        return hash(self._park_ref)

    def __dir__(self):
        return list(self._park_meta["methods"])

    def __repr__(self):
        return f"Actor({self._park_meta['class_name']}, {self._park_ref.hex()})"


class _Metadata:
    """What programs read from `ActorClass.__ray_metadata__`."""

    def __init__(self, class_name: str, modified_class: type):
        self.class_name = class_name
        self.modified_class = modified_class


class ActorClass:
    """A class whose instances live in worker processes: make one with `.remote(...)`."""

    _class: type
    _options: dict[str, Any]
    #: Which class this is, in whatever process and with whatever options.
    _key: bytes
    __name__: str
    __qualname__: str

    def __init__(self, class_, actor_options, attributes=None):
        if attributes is not None:
            # `class Derived(ThisActorClass)`: Python makes the class by calling the type of the base.
            base = next(base.__name__ for base in actor_options if isinstance(base, ActorClass))
            raise ActorClassInheritanceException(
                f"Attempted to define subclass '{class_}' of actor class '{base}'. Inheriting from actor classes is not currently "
                "supported. You can instead inherit from a non-actor base class and make the derived class an actor class (with "
                "@ray.remote)."
            )
        options.check_actor(actor_options, override=False)
        self.__setstate__(
            {
                "_class": class_,
                "_options": actor_options,
                "_key": uuid.uuid4().bytes,
                "__name__": class_.__name__,
                "__qualname__": class_.__qualname__,
                "__module__": class_.__module__,
                "__doc__": class_.__doc__,
            }
        )

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name in _TRAVELS}

    def __setstate__(self, state):
        # The class may be half made yet (its methods may use this object), so nothing may be asked of it here.
        vars(self).update(state)
        retries = self._options.get("max_task_retries")
        self._max_task_retries = 0 if retries is None else retries
        self._resources = options.actor_resources(self._options)
        self._definition = definition_of(self._key)
        #: What handles of this variant know; made with the export.
        self._meta: dict[str, Any] = {}
        self._export: Export | None = None

    @property
    def __ray_metadata__(self):
        return _Metadata(self.__name__, self._class)

    def remote(self, *args, **kwargs) -> ActorHandle:
        """Create an actor. Returns its handle at once; the constructor runs in the actor's process."""
        chosen = self._options
        name: Any = chosen.get("name")
        namespace: str | None = chosen.get("namespace")
        if name == "":
            raise ValueError("Actor name cannot be an empty string.")
        session.check_namespace(namespace)
        if not chosen.get("get_if_exists"):
            return self._create(args, kwargs, name, namespace)
        try:
            return get_actor(name, namespace)
        except ValueError:
            pass
        try:
            return self._create(args, kwargs, name, namespace)
        except exceptions.ActorAlreadyExistsError:
            return get_actor(name, namespace)  # another caller was quicker

    def _create(self, args, kwargs, name, namespace) -> ActorHandle:
        export = self._export
        if export is None or export.session != _session_id():
            export = self._publish()
        constructor, _ = self._definition.facts
        constructor.check(args, kwargs)
        place = None if name is None else (namespace or session.namespace(), name)
        placement, lifetime = self._resources
        restarts = self._options.get("max_restarts") or 0
        try:
            ref = _park.create_actor(export.ref, self.__name__, args, kwargs, placement, lifetime, restarts, place)
        except exceptions.ActorAlreadyExistsError:
            raise exceptions.ActorAlreadyExistsError(
                f"The name {name} (namespace={namespace}) is already taken. Please use a different name or get the existing actor "
                f"using ray.get_actor('{name}', namespace='{namespace}')"
            ) from None
        return ActorHandle(ref, self._meta)

    def options(self, **actor_options) -> ActorClass:
        """This class with other options; the original keeps its own."""
        merged = {name: value for name, value in self._options.items() if name != "concurrency_groups"} | actor_options
        options.check_actor(merged, override=True)
        changed = ActorClass.__new__(ActorClass)
        changed.__setstate__({**self.__getstate__(), "_options": merged})
        return changed

    def _publish(self) -> Export:
        """Store the class in the session that is open, and open one if there is none."""
        if self._definition.facts is None:
            self._definition.facts = self._look()
        _, methods = self._definition.facts
        self._meta = {"class_name": self.__name__, "max_task_retries": self._max_task_retries, "methods": methods}

        def pickled():
            from park.serialization import dumps_definition

            return pickle.dumps((self._meta, dumps_definition(self._class, "actor class")))

        self._export = self._definition.export(self._max_task_retries, _session_id(), pickled)
        return self._export

    def _look(self) -> tuple[signature.Shape, dict[str, Any]]:
        """The parameters of the constructor, and what handles know of each method."""
        found = inspect.getmembers(self._class, lambda value: inspect.isfunction(value) or inspect.ismethod(value))
        asynchronous = [name for name, value in found if _is_async(value)]
        if asynchronous:
            raise NotImplementedError(
                f"park does not offer async actors yet: {self.__name__} has async methods {asynchronous}"
            )
        return _constructor_shape(self._class), {name: _describe(self._class, name, value) for name, value in found}

    def __call__(self, *args, **kwargs):
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use '{self.__name__}.remote()'."
        )

    def __repr__(self):
        return f"<ActorClass {self.__module__}.{self.__qualname__}>"


_TRAVELS = frozenset({"_class", "_options", "_key", "__name__", "__qualname__", "__module__", "__doc__"})


def _describe(class_, name, value):
    """What a handle knows about a method: its shape, the options of `@park.method`, whether it is a generator."""
    # A function found on the class takes the instance first, unless it is static; a class method is bound already.
    bound = inspect.ismethod(value) or isinstance(inspect.getattr_static(class_, name), staticmethod)
    return signature.shape_of(value, skip_first=not bound), getattr(value, _METHOD_OPTIONS, {}), _is_generator(value)


def _constructor_shape(class_) -> signature.Shape:
    if class_.__init__ is object.__init__ and class_.__new__ is object.__new__:
        return signature.Shape(())
    if class_.__init__ is object.__init__:
        return signature.shape_of(class_.__new__, skip_first=True)
    return signature.shape_of(class_.__init__, skip_first=True)


def _is_async(function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _is_generator(function) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of the actor with this name, in `namespace` or in the session's own."""
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    session.check_namespace(namespace)
    _session_id()  # opens a session, whose namespace is then known
    try:
        ref, stored = _park.find_actor(namespace or session.namespace(), name)
    except exceptions.ObjectNotFoundError:
        raise ValueError(
            f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a named actor you didn't "
            "create. 2. The named actor died. 3. You did not use a namespace matching the namespace of the actor."
        ) from None
    meta, _ = pickle.loads(_park.fetch(stored))
    return ActorHandle(ref, meta)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor's process at once. Calls that it has not answered fail; with `no_restart=False` it may come back."""
    _session_id()  # opens a session as the rest of the interface does
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}.")
    try:
        _park.kill_actor(actor._park_ref, no_restart)
    except exceptions.ForeignSessionError as error:
        raise exceptions.ActorHandleNotFoundError(
            f"ActorHandle objects are not valid across Ray sessions: {error}. This typically happens when you try to use an actor "
            "handle from a previous session after calling ray.shutdown() and ray.init(). Please create a new actor handle in the "
            "current session."
        ) from error
