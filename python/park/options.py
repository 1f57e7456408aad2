"""The options of `@park.remote`, `.options()` and `@park.method`: which there are, what they may be, and what they mean here.

The names and the texts of refusals are Ray's, because programs match them. An option is accepted, refused, or, where park does not
have what it asks for, answered with NotImplementedError: never taken and ignored. The few that are taken without effect say so
below, and are those whose effect cannot be seen from a program.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from park import _park, labels
from park.util.placement_group import PlacementGroup
from park.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

NONE = type(None)


class UsageError(TypeError, AssertionError):
    """A decorator was applied wrongly. Ray asserts here; a wrong call is a TypeError; this is both."""


def _every(value: Any) -> bool:
    """What `offered` is of an option of which park honours each value."""
    return True


class Option(NamedTuple):
    """One option: the types it takes, a check that returns what is wrong, and which values park can honour."""

    types: type | tuple[type, ...]
    wrong: Callable[[Any], str | None] = lambda value: None
    offered: Callable[[Any], bool] = _every

    def check(self, name: str, value: Any) -> None:
        if not isinstance(value, self.types):
            raise TypeError(f"The type of keyword '{name}' must be {self.types}, but received type {type(value)}")
        text = self.wrong(value)
        if text:
            raise ValueError(text)


# --- checks -----------------------------------------------------------------------------------------------------------------------


def _count(name: str, least: int) -> Option:
    """A whole number from `least` (-1 stands for "without end", so it is named) or None."""
    allowed = (
        "None, 0, -1 or a positive integer, where -1 represents infinity."
        if least < 0
        else "None, 0 or a positive integer."
    )
    text = f"The keyword '{name}' only accepts {allowed}"
    return Option((int, NONE), lambda value: None if value is None or value >= least else text)


def quantity_wrong(name: str, value: float) -> str | None:
    """What is wrong with an amount of a resource."""
    if value < 0:
        return f"The quantity of resource {name} cannot be negative"
    if isinstance(value, float) and value != 0.0 and int(value * 10_000) == 0:
        return f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001"
    return None


def _quantity(name: str) -> Option:
    return Option((float, int, NONE), lambda value: None if value is None else quantity_wrong(name, value))


def _resources_wrong(resources: dict[str, float] | None) -> str | None:
    resources = resources or {}
    if "CPU" in resources or "GPU" in resources:
        return "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
    if "memory" in resources or "object_store_memory" in resources:
        return "The resources dictionary must not contain the key 'memory' or 'object_store_memory'"
    for name, value in resources.items():
        if not isinstance(value, (int, float)):
            return f"The quantity of resource {name} must be a number, got {value!r}"
        text = quantity_wrong(name, value)
        if text:
            return text
    return None


def _strategy_wrong(value: Any) -> str | None:
    if not isinstance(value, str) or value in ("DEFAULT", "SPREAD"):
        return None
    return (
        f'Invalid scheduling_strategy value {value}. Valid values are ["DEFAULT" | "SPREAD" | PlacementGroupSchedulingStrategy | '
        "NodeAffinitySchedulingStrategy]"
    )


def _group_wrong(value: Any) -> str | None:
    if not isinstance(value, str) or value == "default":
        return None
    return f"placement_group must be a placement group, None or 'default', got {value!r}"


def _num_returns_wrong(value: int | str | None) -> str | None:
    if value is None or value in ("dynamic", "streaming") or (isinstance(value, int) and value >= 0):
        return None
    return (
        "Default None. When None is passed, The default value is 1 for a task and actor task, and 'streaming' for generator tasks "
        "and generator actor tasks. The keyword 'num_returns' only accepts None, a non-negative integer, 'streaming' (for "
        "generators), or 'dynamic'. 'dynamic' flag will be deprecated in the future, and it is recommended to use 'streaming' "
        "instead."
    )


def _retry_wrong(value: bool | list | tuple | None) -> str | None:
    classes = [] if value is None or isinstance(value, bool) else value
    if all(isinstance(one, type) and issubclass(one, Exception) for one in classes):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _groups_wrong(groups: list | dict | None) -> str | None:
    if isinstance(groups, list):
        return "concurrency_groups must be a dictionary of names and numbers" if groups else None
    for name, number in (groups or {}).items():
        if not isinstance(name, str) or not name:
            return f"the name of a concurrency group must be a string that is not empty, got {name!r}"
        if not isinstance(number, int):
            return f"the number of calls of concurrency group {name!r} must be a whole number, got {number!r}"
    return None


def _lifetime_wrong(value: str | None) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


#: Ways by which Ray moves tensors past its object store. Here they lie in shared memory already, so each means the store.
_TRANSPORTS = {"NCCL": False, "GLOO": False, "NIXL": True, "CUDA_IPC": True}


def _transport_wrong(value: str | None) -> str | None:
    return None if value is None or value.upper() in _TRANSPORTS else f"Invalid tensor transport: {value.upper()}"


def check_put_transport(value: str) -> None:
    """Refuse for `put` what is no transport, or one in which a receiver takes part."""
    if wrong := _transport_wrong(value):
        raise ValueError(wrong)
    if not _TRANSPORTS[value.upper()]:
        raise ValueError(
            f"ray.put() is not supported for two-sided RDT transport {value.upper()!r}. Return the value from an actor method and use "
            f"the @ray.method(tensor_transport={value.upper()!r}) decorator instead."
        )


def _empty(value: Any) -> bool:
    return not value


_NO_MEMORY_FOR_TASKS = "Setting 'object_store_memory' is not implemented for tasks"
_NO_ZERO_BACKPRESSURE = (
    "_generator_backpressure_num_objects=0 is not allowed. Use a value > 0. If the value is equal to 1, the behavior is identical "
    "to Python generator (generator 1 object whenever `next` is called). Use -1 to disable this feature. "
)

_PER_YIELD = Option(
    (int, NONE),
    lambda value: (
        None
        if value is None or value > 0
        else "_num_objects_per_yield is a private streaming generator option that must be set to a positive integer."
    ),
)

#: What `scheduling_strategy` may be.
_STRATEGIES = (
    NONE,
    str,
    PlacementGroupSchedulingStrategy,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)

# --- tables -----------------------------------------------------------------------------------------------------------------------

_COMMON = {
    "label_selector": Option((dict, NONE), labels.selector_wrong),
    "fallback_strategy": Option((list, NONE), labels.fallback_wrong),
    "accelerator_type": Option((str, NONE)),
    "memory": _quantity("memory"),
    "name": Option((str, NONE)),
    "num_cpus": _quantity("num_cpus"),
    "num_gpus": _quantity("num_gpus"),
    "object_store_memory": _count("object_store_memory", 0),
    "placement_group": Option((NONE, str, PlacementGroup), _group_wrong),
    "placement_group_bundle_index": Option(int),
    "placement_group_capture_child_tasks": Option((bool, NONE)),
    "resources": Option((dict, NONE), _resources_wrong),
    "runtime_env": Option((dict, NONE)),
    "scheduling_strategy": Option(_STRATEGIES, _strategy_wrong),
    # Tasks are remembered for a while, whether that is enabled or not.
    "enable_task_events": Option(bool),
    "_labels": Option((dict, NONE), offered=_empty),
}

TASK: dict[str, Option] = {
    **_COMMON,
    "max_calls": _count("max_calls", 0),
    "max_retries": _count("max_retries", -1),
    "num_returns": Option((int, str, NONE), _num_returns_wrong),
    "object_store_memory": Option((int, NONE), lambda value: None if value is None else _NO_MEMORY_FOR_TASKS),
    "retry_exceptions": Option((bool, list, tuple), _retry_wrong),
    "_generator_backpressure_num_objects": Option(
        (int, NONE), lambda value: _NO_ZERO_BACKPRESSURE if value == 0 else None
    ),
    "_num_objects_per_yield": _PER_YIELD,
}

ACTOR: dict[str, Option] = {
    **_COMMON,
    "concurrency_groups": Option((list, dict, NONE), _groups_wrong),
    "enable_tensor_transport": Option((bool, NONE)),
    "lifetime": Option((str, NONE), _lifetime_wrong),
    "max_concurrency": _count("max_concurrency", 0),
    "max_restarts": _count("max_restarts", -1),
    "max_task_retries": _count("max_task_retries", -1),
    "max_pending_calls": _count("max_pending_calls", -1),
    "namespace": Option((str, NONE)),
    "get_if_exists": Option(bool),
    "allow_out_of_order_execution": Option((bool, NONE)),
    "_actor_generator_backpressure_num_objects": Option(
        (int, NONE),
        lambda value: (
            None
            if value is None or value > 0 or value == -1
            else "_actor_generator_backpressure_num_objects must be > 0 to cap the actor's total unconsumed generator objects, or "
            f"-1 to disable. Got {value}."
        ),
    ),
}

METHOD: dict[str, Option] = {
    "num_returns": Option((int, str, NONE)),
    "concurrency_group": Option((str, NONE)),
    "max_task_retries": _count("max_task_retries", -1),
    "retry_exceptions": Option((bool, list, tuple, NONE), _retry_wrong),
    "_generator_backpressure_num_objects": Option((int, NONE)),
    "_num_objects_per_yield": _PER_YIELD,
    "enable_task_events": Option((bool, NONE)),
    "tensor_transport": Option((str, NONE), _transport_wrong),
}

#: What a call's `.options()` takes; the name is for people who read it where the call is made.
CALL: dict[str, Option] = {**METHOD, "name": Option((str, NONE))}

REMOTE_USAGE = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example '@ray.remote', or it must "
    f"be applied using some of the arguments in the list {list({**TASK, **ACTOR})}, for example "
    "'@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
)

# --- what callers use -------------------------------------------------------------------------------------------------------------


def _check(table: dict[str, Option], options: dict[str, Any], whose: str) -> None:
    for name, value in options.items():
        if name not in table:
            raise ValueError(f"Invalid option keyword {name} for {whose}. Valid ones are {list(table)}.")
        table[name].check(name, value)


def check_task(options: dict[str, Any], *, override: bool, generator: bool) -> None:
    """Check the options of a task; `override` if they come from `.options()`."""
    _check(TASK, options, "remote functions")
    _check_environment(options)
    _check_deprecated_group(options)
    if override and "max_calls" in options:
        raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
    check_num_returns(options.get("num_returns"), generator)
    refuse_what_is_not_offered(TASK, options)


def check_actor(options: dict[str, Any], *, override: bool) -> None:
    """Check the options of an actor; `override` if they come from `.options()`."""
    _check(ACTOR, options, "actors")
    _check_environment(options)
    _check_deprecated_group(options)
    if override and "concurrency_groups" in options:
        raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    if "object_store_memory" in options:
        warnings.warn(
            "Setting 'object_store_memory' for actors is deprecated since it doesn't actually reserve the required object store memory. "
            "Use object spilling that's enabled by default instead to bypass the object store memory size limitation.",
            DeprecationWarning,
            stacklevel=4,
        )
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    refuse_what_is_not_offered(ACTOR, options)


def _check_environment(options: dict[str, Any]) -> None:
    if options.get("runtime_env"):
        from park import runtime_env

        runtime_env.checked(options["runtime_env"])


def _check_deprecated_group(options: dict[str, Any]) -> None:
    group, strategy = options.get("placement_group", "default"), options.get("scheduling_strategy")
    if group not in ("default", None) and strategy is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. The placement_group option is deprecated."
        )


def check_num_returns(value: int | str | None, generator: bool) -> None:
    """Check what a function, a method or a call says about its number of results."""
    if isinstance(value, int) and value < 0:
        raise ValueError(f"num_returns must be >= 0, but got {value}.")
    if value in ("streaming", "dynamic") and not generator:
        raise ValueError(
            f"num_returns='{value}' can only be used with generator functions (functions that use 'yield'). "
            "The decorated function is not a generator function."
        )
    if value == "dynamic":
        warnings.warn(
            "num_returns='dynamic' is deprecated and will be removed in a future Ray release. Use num_returns='streaming' instead.",
            DeprecationWarning,
            stacklevel=4,
        )


def refuse_what_is_not_offered(table: dict[str, Option], options: dict[str, Any]) -> None:
    """Raise for a valid option that asks for what park does not have."""
    for name, value in options.items():
        if not table[name].offered(value):
            raise NotImplementedError(f"park does not offer {name}={value!r} yet")


BACKPRESSURE = "_generator_backpressure_num_objects"
ACTOR_BACKPRESSURE = "_actor_generator_backpressure_num_objects"
PER_YIELD = "_num_objects_per_yield"


def limit_of(value: int | None) -> int | None:
    """How many items may wait to be taken, None for any number."""
    return value if value is not None and value > 0 else None


def number_of_results(number: int | str | None, generator: bool) -> int | str:
    """How many results a function or method has that says this about them: one, or those of a generator as they come."""
    if number is None:
        return "streaming" if generator else 1
    return number


def yields(number: int | str, options: dict[str, Any]) -> int | tuple[str, int | None, int]:
    """The same for the native half: a number, or which kind of stream, how many items may wait to be taken, how many come at a time."""
    if not isinstance(number, str):
        return number
    return number, limit_of(options.get(BACKPRESSURE)), options.get(PER_YIELD) or 1


def environment(options: dict[str, Any]) -> dict[str, Any]:
    """The runtime environment of a task or actor that is submitted here: its own over this process's; empty for that of the session."""
    from park import session

    chosen = options.get("runtime_env")
    around = session.runtime_env()
    if not chosen and not around:
        return {}
    from park import environment, runtime_env

    checked = runtime_env.checked(chosen)
    if session.threaded():
        runtime_env.refuse_in_threads(checked)
    env = runtime_env.merged(around, checked)
    if runtime_env.is_own(env.get("py_executable")):
        # That of the session is put on by its zygote already; a driver that joined has one of its own.
        env = checked if _park.role() not in ("worker", "peer") else env
        env = {name: value for name, value in env.items() if name != "py_executable"}
    return environment.for_hello(env)


def _amounts(options: dict[str, Any]) -> dict[str, float]:
    amounts = dict(options.get("resources") or {})
    for option, resource in (
        ("num_cpus", "CPU"),
        ("num_gpus", "GPU"),
        ("memory", "memory"),
        ("object_store_memory", "object_store_memory"),
    ):
        value = options.get(option)
        if value is not None:
            amounts[resource] = value
    if kind := options.get("accelerator_type"):
        amounts[f"accelerator_type:{kind}"] = 0.001
    gpus = amounts.get("GPU", 0)
    if gpus > 1 and gpus % 1:
        raise ValueError(f"GPU resource quantities >1 must be whole numbers. The specified quantity {gpus} is invalid.")
    return amounts


def task_resources(options: dict[str, Any]) -> dict[str, float]:
    """What a task holds while it runs: a CPU unless it says otherwise."""
    return {"CPU": 1, **_amounts(options)}


def actor_resources(options: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What an actor needs to be placed, and what it holds while it lives.

    An actor that says nothing about CPUs, GPUs or resources of its own needs a CPU to be placed and then holds none, so that many
    idle ones fit on a machine. One that says something holds just that, and a CPU unless it says otherwise.
    """
    amounts = _amounts(options)
    if amounts.keys() <= {"memory", "object_store_memory"}:
        return {"CPU": 1, **amounts}, amounts
    resources = {"CPU": 1, **amounts}
    return resources, resources
