"""`ActorClass`, `ActorHandle` and `ActorMethod`: what `@park.remote` makes of a class, and what calls its instances.

A class is stored in a session as a pair: what a handle must know about it, and the pickled class itself. A handle is a reference
(the actor lives while there is one, in any process) and the first half of the pair, so it works where the class is not known; a
named actor's handle is made from the pair that was stored when the actor was created, and does not keep the actor alive.
"""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from park import _park, exceptions, options, placing, session, signature, streaming
from park.here import HERE
from park.ids import ActorID
from park.remote_function import INVOCATION_DECORATOR, Export, definition_of, definitions

_session_id = _park.session_id
_call_actor = _park.call_actor

#: Where `@park.method` leaves its options on a function.
_METHOD_OPTIONS = "__park_method_options__"
#: Calls of an async actor that run at a time, unless it says otherwise.
_ASYNC_CONCURRENCY = 1000
#: Groups that every actor has.
_SYSTEM_GROUPS = {"_ray_system": 1, "_ray_system_error": 1}


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

    __slots__ = ("_call_options", "_chosen", "_generator", "_limit", "_name", "_num_returns", "_ref", "_shape")

    def __init__(self, ref, name: str, shape: signature.Shape, chosen: dict[str, Any], generator: bool, limit: int):
        self._ref = ref
        self._name = name
        self._shape = shape
        self._chosen = chosen
        self._generator = generator
        #: How many calls of a process may be under way: the actor's `max_pending_calls`.
        self._limit = limit
        self._num_returns = options.number_of_results(chosen.get("num_returns"), generator)
        self._call_options = self._made(chosen)

    def _made(self, chosen: dict[str, Any]) -> _park.CallOptions:
        retry = chosen.get("retry_exceptions")
        if retry and retry is not True:
            from park.serialization import dumps_definition

            retry_on = dumps_definition(tuple(retry), "retry_exceptions")
        else:
            retry_on = b"" if retry else None
        return _park.CallOptions(
            options.yields(self._num_returns, chosen),
            chosen.get("max_task_retries") or 0,
            chosen.get("concurrency_group") or "",
            retry_on,
            _pending_calls(self._ref, self._limit),
            chosen.get("name") or "",
        )

    def _with(self, chosen: dict[str, Any]) -> ActorMethod:
        return ActorMethod(self._ref, self._name, self._shape, chosen, self._generator, self._limit)

    def __reduce__(self):
        return ActorMethod, (self._ref, self._name, self._shape, self._chosen, self._generator, self._limit)

    def remote(self, *args, **kwargs):
        """Call the method. Returns a reference to its result, or a list of them, or None for none."""
        shape = self._shape
        if kwargs or not shape.low <= len(args) <= shape.high:
            shape.check(args, kwargs)
        refs = _call_actor(self._ref, self._name, args, kwargs, self._call_options)
        number = self._num_returns
        if number == 1:
            return refs[0]
        return streaming.results(number, refs)

    def options(self, **call_options) -> ActorMethod:
        """This method with other options for one call."""
        for name, value in call_options.items():
            if name not in options.CALL:
                raise TypeError(f"ActorMethod.options() got an unexpected keyword argument '{name}'")
            options.CALL[name].check(name, value)
        options.check_num_returns(call_options.get("num_returns"), self._generator)
        options.refuse_what_is_not_offered(options.CALL, call_options)
        changed = {name: value for name, value in call_options.items() if value is not None}
        return self._with({**self._chosen, **changed})

    def _remote(self, args=(), kwargs=None, **call_options):
        """As `.options(...).remote(...)`, with the arguments in a list and a dictionary."""
        chosen = self.options(**call_options) if call_options else self
        return chosen.remote(*args, **(kwargs or {}))

    def bind(self, *args, **kwargs):
        """Ray makes a node of a graph here."""
        raise NotImplementedError("park has no graphs of actors and tasks: call .remote()")

    def __call__(self, *args, **kwargs):
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._name}()', try "
            f"'object.{self._name}.remote()'."
        )

    def __repr__(self):
        return f"<ActorMethod {self._name} of {self._ref.hex()}>"


class DecoratedMethod(ActorMethod):
    """A method whose function has an `__ray_invocation_decorator__`: that wraps the making of the call, in the caller's process."""

    __slots__ = ("_decorator",)

    def __init__(self, decorator: bytes, *method: Any):
        super().__init__(*method)
        self._decorator = decorator

    def _with(self, chosen: dict[str, Any]) -> ActorMethod:
        return DecoratedMethod(
            self._decorator, self._ref, self._name, self._shape, chosen, self._generator, self._limit
        )

    def __reduce__(self):
        method = super().__reduce__()[1]
        return DecoratedMethod, (self._decorator, *method)

    def remote(self, *args, **kwargs):
        """What the decorated call gives for these arguments."""

        def invocation(args, kwargs):
            return ActorMethod.remote(self, *args, **(kwargs or {}))

        return pickle.loads(self._decorator)(invocation)(args, kwargs)


class _ActorClassMethodMetadata(dict):
    """What handles know of a class: one for each variant of it in a process, however many handles come by."""

    _cache: ClassVar[weakref.WeakValueDictionary[bytes, _ActorClassMethodMetadata]] = weakref.WeakValueDictionary()

    def __init__(self, key: bytes, facts: dict[str, Any]):
        super().__init__(facts)
        self.key = key

    @classmethod
    def known_as(cls, key: bytes, facts: dict[str, Any]) -> _ActorClassMethodMetadata:
        """The one with this key; made of `facts` if this process has none."""
        found = cls._cache.get(key)
        if found is None:
            found = cls._cache[key] = cls(key, facts)
        return found

    def __reduce__(self):
        return _known_as, (self.key, dict(self))


def _known_as(key: bytes, facts: dict[str, Any]) -> _ActorClassMethodMetadata:
    """What a pickled handle finds its class by."""
    return _ActorClassMethodMetadata.known_as(key, facts)


class ActorHandle:
    """A reference to an actor. Its methods are called as `handle.method.remote(...)`; it may be passed, put and returned.

    The actor lives as long as handles that came from its creation do, and calls. One that was found, by name or by the actor itself, only
    names it.
    """

    def __init__(self, ref: _park.ObjectRef | _park.WeakActor, meta: dict[str, Any]):
        self._park_ref = ref
        self._park_meta = meta

    def __getattr__(self, name):
        # Only asked for what is not there yet: a method is made once and then found as any attribute is.
        try:
            meta = vars(self)["_park_meta"]
            shape, chosen, generator = meta["methods"].get(name) or _EVERY_SHAPE[name]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'") from None
        if chosen.get("max_task_retries") is None:
            chosen = {**chosen, "max_task_retries": meta["max_task_retries"]}
        method = (self._park_ref, name, shape, chosen, generator, meta["max_pending_calls"])
        decorator = meta["decorators"].get(name)
        made = ActorMethod(*method) if decorator is None else DecoratedMethod(decorator, *method)
        vars(self)[name] = made
        return made

    @property
    def _actor_id(self) -> ActorID:
        """The actor's id."""
        return ActorID(self._park_ref.binary())

    _ray_actor_id = _actor_id

    def _get_local_state(self) -> int:
        """How it is, by Ray's numbers: 0 waits for arguments, 1 for its process, 2 lives, 3 is started again, 4 is dead."""
        from park.util import state

        return state.actor_state_number(self._park_ref.binary())

    def __reduce__(self):
        ref = self._park_ref
        if not _park.pickles_for_session():
            # Bytes that a program keeps for itself hold nothing: they name the actor.
            ref = _park.WeakActor(ref.binary())
        return ActorHandle, (ref, self._park_meta)

    def __eq__(self, other):
        return isinstance(other, ActorHandle) and self._park_ref.binary() == other._park_ref.binary()

    def __hash__(self):
        return hash(self._park_ref.binary())

    def __dir__(self):
        own = [name for name in EVERY_ACTOR if name != TRACE]
        return list(dict.fromkeys(["__init__", *self._park_meta["methods"], *own]))

    def __repr__(self):
        return f"Actor({self._park_meta['class_name']}, {self._park_ref.hex()})"


class _Metadata:
    """What programs read from `ActorClass.__ray_metadata__`."""

    def __init__(self, class_name: str, modified_class: type):
        self.class_name = class_name
        self.modified_class = modified_class


class Facts(NamedTuple):
    """What is found out about a class by looking at it."""

    constructor: signature.Shape
    #: What handles know of each method.
    methods: dict[str, Any]
    #: Whether any of them is `async`.
    asynchronous: bool
    #: What wraps the making of calls, pickled, by method.
    decorators: dict[str, bytes]


class ActorClass:
    """A class whose instances live in worker processes: make one with `.remote(...)`."""

    _class: type
    _options: dict[str, Any]
    #: Which class this is, in whatever process and with whatever options.
    _key: bytes
    __name__: str
    __qualname__: str

    def __new__(cls, class_, actor_options, attributes=None):
        if attributes is not None:
            # `class Derived(ThisActorClass)`: Python makes the class by calling the type of the base.
            base = next(base.__name__ for base in actor_options if isinstance(base, ActorClass))
            raise ActorClassInheritanceException(
                f"Attempted to define subclass '{class_}' of actor class '{base}'. Inheriting from actor classes is not currently "
                "supported. You can instead inherit from a non-actor base class and make the derived class an actor class (with "
                "@ray.remote)."
            )
        return _blank(class_.__name__)

    def __init__(self, class_, actor_options):
        options.check_actor(actor_options, override=False)
        self.__setstate__(
            {
                "_class": class_,
                "_options": actor_options,
                "_key": os.urandom(16),
                "__name__": class_.__name__,
                "__qualname__": class_.__qualname__,
                "__module__": class_.__module__,
                "__doc__": class_.__doc__,
            }
        )

    def __getattr__(self, name):
        # Programs read constants and call class methods of a class that was made an actor's, and look at its methods, private ones
        # too. Protocols of Python's are no part of it: its `__deepcopy__` copies instances. Half made, there is no class to ask yet.
        class_ = vars(self).get("_class")
        if class_ is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"'ActorClass' object has no attribute '{name}'")
        return getattr(class_, name)

    def __dir__(self):
        return [*dir(self._class), "bind", "options", "remote"]

    @property
    def _default_options(self) -> dict[str, Any]:
        """What the decorator said."""
        return dict(self._options)

    @property
    def __ray_actor_class__(self) -> type:
        """The class itself."""
        return self._class

    def _remote(self, args=(), kwargs=None, **actor_options):
        """As `.options(...).remote(...)`, with the arguments in a list and a dictionary."""
        chosen = self.options(**actor_options) if actor_options else self
        return chosen.remote(*args, **(kwargs or {}))

    def bind(self, *args, **kwargs):
        """Ray makes a node of a graph here."""
        raise NotImplementedError("park has no graphs of actors and tasks: call .remote()")

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name in _TRAVELS}

    def __reduce__(self):
        return _blank, (self._class.__name__,), self.__getstate__()

    def __setstate__(self, state):
        # The class may be half made yet (its methods may use this object), so nothing may be asked of it here.
        vars(self).update(state)
        retries = self._options.get("max_task_retries")
        self._max_task_retries = 0 if retries is None else retries
        needs, lifetime = options.actor_resources(self._options)
        # In the order in which a placement group is asked for them.
        self._needs = (lifetime, needs)
        self._resources = (_park.Resources(needs), _park.Resources(lifetime))
        self._placing = placing.placing_of(self._options, self._needs, self.__qualname__)
        self._definition = definition_of(self._key)
        #: What handles of this variant know; made with the export.
        self._meta: Any = None
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
            # Somebody may be quicker: the head decides.
            return self._create(args, kwargs, name, namespace)

    def _create(self, args, kwargs, name, namespace) -> ActorHandle:
        export = self._export
        if export is None or export.session != _session_id():
            export = self._publish()
        constructor, _, asynchronous, _ = self._definition.facts
        constructor.check(args, kwargs)
        in_order = self._in_order(asynchronous)
        full_name = None if name is None else (namespace or session.namespace(), name)
        place = None
        if self._placing is not None:
            place = self._placing.place()
        elif HERE.facts.captures is not None:
            place = placing.captured(self._options, self._needs, self.__qualname__)
        placement, lifetime = self._resources
        restarts = self._options.get("max_restarts") or 0
        detached = (self._options.get("lifetime") or session.default_lifetime()) == "detached"
        try:
            ref, found = _park.create_actor(
                export.ref,
                self.__name__,
                args,
                kwargs,
                placement,
                lifetime,
                restarts,
                full_name,
                in_order,
                place,
                detached,
                bool(self._options.get("get_if_exists")),
            )
        except exceptions.ActorAlreadyExistsError:
            raise exceptions.ActorAlreadyExistsError(
                f"The name {name} (namespace={namespace}) is already taken. Please use a different name or get the existing actor "
                f"using ray.get_actor('{name}', namespace='{namespace}')"
            ) from None
        return ActorHandle(ref, self._meta) if found is None else _found(ref, found)

    def options(self, **actor_options) -> ActorClass:
        """This class with other options; the original keeps its own."""
        merged = {name: value for name, value in self._options.items() if name != "concurrency_groups"} | actor_options
        options.check_actor(merged, override=True)
        if "concurrency_groups" in self._options:
            # They belong to the class, whose methods name them.
            merged["concurrency_groups"] = self._options["concurrency_groups"]
        changed = _blank(self._class.__name__)
        changed.__setstate__({**self.__getstate__(), "_options": merged})
        return changed

    def _in_order(self, asynchronous: bool) -> bool:
        """Whether calls of one caller start in the order in which it made them."""
        chosen = self._options.get("allow_out_of_order_execution")
        several = (self._options.get("max_concurrency") or 1) > 1
        if chosen is False and (asynchronous or several):
            kind = "async" if asynchronous else "multi-threaded"
            raise ValueError(
                f"If you're using {kind} actors, Ray can't execute actor tasks in order. Set "
                "`allow_out_of_order_execution=True` to allow out-of-order execution."
            )
        return not (asynchronous or several) if chosen is None else not chosen

    def _groups(self, asynchronous: bool, methods: dict[str, Any]) -> dict[str, int]:
        """How many calls of each group may run at a time. Without one of no name, the calls of none run on the main thread."""
        groups = self._options.get("concurrency_groups") or {}
        for name, (_, chosen, _) in methods.items():
            group = chosen.get("concurrency_group")
            if group and group not in groups:
                raise options.UsageError(
                    f"The method '{name}' of {self.__name__} names the concurrency group '{group}', which is none of {list(groups)}."
                )
        if any(number <= 0 for number in groups.values()):
            # The process that is to be the actor refuses that, which only those hear of who call it.
            import logging  # seldom, and a tenth of the whole import

            logging.getLogger(__name__).error(
                f"max_concurrency must be greater than 0: the concurrency groups of {self.__name__} are {groups}"
            )
        default = self._options.get("max_concurrency") or (_ASYNC_CONCURRENCY if asynchronous else 1)
        if asynchronous or groups or default > 1:
            return {**_SYSTEM_GROUPS, **groups, "": default}
        return _SYSTEM_GROUPS

    def _publish(self) -> Export:
        """Store the class in the session that is open, and open one if there is none."""
        if self._definition.facts is None:
            self._definition.facts = self._look()
        _, methods, asynchronous, decorators = self._definition.facts
        limit = self._options.get("max_pending_calls") or -1
        groups = self._groups(asynchronous, methods)
        untaken = options.limit_of(self._options.get(options.ACTOR_BACKPRESSURE))
        env = options.environment(self._options)
        if env:
            from park import environment

            if (interpreter := environment.interpreter_of(env)) is not None:
                # Its process has it on.
                self._placing, env = placing.placing_of(self._options, self._needs, self.__qualname__, interpreter), {}
        variant = (
            self._max_task_retries,
            limit,
            tuple(groups.items()),
            untaken,
            repr(sorted(env.items())),
        )
        facts = {
            "class_name": self.__name__,
            "module": self.__module__,
            "qualname": self.__qualname__,
            "max_task_retries": self._max_task_retries,
            "max_pending_calls": limit,
            "asynchronous": asynchronous,
            "attends": asynchronous and not self._options.get("concurrency_groups"),
            "groups": groups,
            "methods": methods,
            "decorators": decorators,
            "untaken": untaken,
            "runtime_env": env,
        }
        self._meta = _ActorClassMethodMetadata.known_as(self._key + repr(variant).encode(), facts)

        def pickled():
            from park.serialization import dumps_definition

            return pickle.dumps((self._meta, dumps_definition(self._class, "actor class")))

        self._export = self._definition.export(variant, _session_id(), pickled)
        return self._export

    def _look(self) -> Facts:
        found = inspect.getmembers(self._class, lambda value: inspect.isfunction(value) or inspect.ismethod(value))
        methods = {name: _describe(self._class, name, value) for name, value in found}
        decorators = {name: getattr(value, INVOCATION_DECORATOR, None) for name, value in found}
        return Facts(
            _constructor_shape(self._class),
            methods,
            any(_is_async(value) for _, value in found),
            {name: _dumps(value) for name, value in decorators.items() if value is not None},
        )

    def __call__(self, *args, **kwargs):
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use '{self.__name__}.remote()'."
        )

    def __repr__(self):
        return f"<ActorClass {self.__module__}.{self.__qualname__}>"


def exported_classes() -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The classes that this process has made actors of in the session that is open: key, and what handles know of each."""
    session = _session_id()
    for key, definition in definitions():
        stored = [export for export in definition.exports.values() if export.session == session]
        if isinstance(definition.facts, Facts) and stored:
            yield key, pickle.loads(_park.fetch(stored[0].ref))[0]


def _dumps(decorator: Any) -> bytes:
    from park.serialization import dumps_definition

    return dumps_definition(decorator, "decorator of calls")


@functools.cache
def _type_of(name: str) -> type[ActorClass]:
    return type(f"ActorClass({name})", (ActorClass,), {})


def _blank(name: str) -> ActorClass:
    """An `ActorClass` to be filled. Its type has the class's name in its own, as in Ray: programs make names of it."""
    return object.__new__(_type_of(name))


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


def _pending_calls(ref: _park.ObjectRef | _park.WeakActor, limit: int) -> _park.PendingCalls | None:
    """The count of this process's calls to an actor that are not done, if the actor limits them."""
    if limit <= 0:
        return None
    pending = _pending.get(ref)
    if pending is None:
        pending = _pending[ref] = _park.PendingCalls(limit)
    return pending


#: By the actor, however many handles of it this process has.
_pending: weakref.WeakKeyDictionary[_park.ObjectRef | _park.WeakActor, _park.PendingCalls] = weakref.WeakKeyDictionary()


def exit_actor():
    """End the actor whose method calls this: the call fails, and so does every call that has not begun; it is not restarted."""
    if not _park.leave_actor():
        raise TypeError(
            f"exit_actor API is called on a non-actor worker, {_park.role()}. Call this API inside an actor methods if you'd like "
            "to exit the actor gracefully."
        )
    if _park.runs_event_loop():
        # A SystemExit would end the loop, and with it every other call.
        raise exceptions.AsyncioActorExit()
    raise SystemExit(0)


def _ready(self):
    return True


def _call(self, function, *args, **kwargs):
    return function(self, *args, **kwargs)


def _terminate(self):
    exit_actor()


def _trace(self):
    return os.getpid(), _park.traced_calls()


#: What `park.timeline` asks each actor for.
TRACE = "__park_trace__"

#: Methods that every actor has, unless its class has its own of that name.
EVERY_ACTOR = {"__ray_ready__": _ready, "__ray_call__": _call, "__ray_terminate__": _terminate, TRACE: _trace}
_EVERY_SHAPE: dict[str, tuple[signature.Shape, dict[str, Any], bool]] = {
    name: (signature.shape_of(value, skip_first=True), {}, False) for name, value in EVERY_ACTOR.items()
}


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
    return _found(ref, stored)


def _found(ref: _park.ObjectRef, stored: _park.ObjectRef) -> ActorHandle:
    """A handle of an actor that others keep alive."""
    meta, _ = pickle.loads(_park.fetch(stored))
    return ActorHandle(_park.WeakActor(ref.binary()), meta)


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
