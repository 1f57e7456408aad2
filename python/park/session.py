"""Sessions: `init`, `shutdown`, `attach`, and what a session says about itself.

`init` checks what it is told, works out what the machine has, and hands both to the native half, which opens the store and starts
the workers' zygote. Everything else that needs a session calls `auto_init`, as Ray does.
"""

from __future__ import annotations

import atexit
import collections.abc
import importlib
import importlib.util
import os
import sys
import threading
from typing import Any

from park import _park, assignment, machine, node_resources, working_dir
from park.exceptions import RaySystemError
from park.here import HERE, PROCESS
from park.ids import NodeID
from park.labels import check_labels

NODE_IP = machine.NODE_IP

#: Arguments of Ray's `init` that change what cannot be seen from a program here: there is no dashboard, no log file, no raylet.
_WITHOUT_EFFECT = {
    *("include_dashboard", "dashboard_host", "dashboard_port", "proxy_server_url"),
    *("configure_logging", "logging_level", "logging_format", "logging_config"),
    *(
        "_enable_object_reconstruction",
        "_plasma_directory",
        "_driver_object_store_memory",
    ),
    *("_node_ip_address", "_node_name", "_redis_username", "_redis_password", "_metrics_export_port"),
    *("_memory", "_temp_dir", "_tracing_startup_hook", "_skip_env_hook"),
}
#: Arguments that ask for what park does not have, unless they are empty.
_NOT_OFFERED = {
    *("enable_resource_isolation", "cgroup_path", "system_reserved_cpu", "system_reserved_memory"),
}

#: Modules that workers start with besides those that `init` was told: what must reach them however they come to be.
PRELOADED: list[str] = []

#: What zygotes are forked from, if the program was started with one (park.nursery).
NURSERY: Any = None

#: Whether what needs a session opens one.
AUTO_INIT = os.environ.get("RAY_ENABLE_AUTO_CONNECT", "1") != "0"

_lock = threading.RLock()
_namespace: str | None = None
_closes_at_exit = False
_runtime_env: dict[str, Any] = {}
#: In a worker, the interpreter that its session's workers have unless they ask for another: the driver's.
_executable: str | None = None
#: Whether actors that do not say so are detached.
_default_lifetime = "non_detached"
#: Prints what workers print.
_output: Any = None
#: Whether the workers of the open session are threads of this process.
_threaded = False
#: In a worker, where its session's views of folders lie.
_views: str | None = None
#: The id of the first node, once it is known.
_node_id: str | None = None


class RayContext(collections.abc.Mapping):
    """What `init` returns: facts about the session, and a context manager that shuts it down."""

    dashboard_url = None
    python_version = "{}.{}.{}".format(*sys.version_info[:3])

    def __init__(self, address_info: dict[str, Any]):
        self.address_info = address_info

    def __getitem__(self, key):
        return self.address_info[key]

    def __len__(self):
        return len(self.address_info)

    def __iter__(self):
        return iter(self.address_info)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shutdown()

    def disconnect(self):
        """As `park.shutdown()`."""
        shutdown()

    def __repr__(self):
        return f"RayContext({self.address_info})"


def init(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    mode: str | None = None,
    job_config: Any = None,
    log_to_driver: bool = True,
    preload: collections.abc.Iterable[str] = (),
    object_store_reserve: bool = False,
    object_store_prefault: bool = False,
    object_store_huge_pages: bool = False,
    _object_spilling_directory: str | None = None,
    _object_spilling_limit: int | None = None,
    _system_config: dict[str, Any] | None = None,
    **ray_arguments: Any,
) -> RayContext:
    """Open a session: an object store and workers, which end with it.

    With `mode="process"` workers are processes. With `mode="thread"` they are threads of this process: the same semantics, but
    breakpoints, profilers and coverage see everything, and nothing of what belongs to a process is a worker's own (docs/THREADS.md).
    Without a mode, the environment variable PARK_MODE says which; without that, processes.

    `runtime_env` is what every worker finds around it: environment variables, a working folder, modules, a hook to run first. It and
    the namespace may also come in a `job_config`, as Ray's `JobConfig` has them.

    `num_cpus`, `num_gpus` and `resources` are what tasks and actors share; without them, what the machine has. `preload` names
    modules that every worker starts with, because the process it is forked from imported them once. What workers print is printed
    here, each line with the name and process of who printed it; with `log_to_driver=False` it is dropped.

    The store takes memory as it is needed and gives it back when idle. With `object_store_reserve` it takes all of
    `object_store_memory` bytes now and keeps them (`StoreFullError` if the machine has not as many); with `object_store_prefault` it
    also fills in this process's page tables, about a second for 4 GB; with `object_store_huge_pages` it asks for huge pages where
    the system allows them. Objects that do not fit into memory wait on disk, in a directory of the session's own below
    `_object_spilling_directory` (by default the system's directory for temporary files), at most `_object_spilling_limit` bytes of
    them (0: none; by default 90 % of what is free).

    Before the machine, or its container, runs out of memory a worker is ended, and its work repeated or raised as `OutOfMemoryError`: see
    `park.machine.memory_watch` for the settings, which `_system_config` may hold as well. Its other settings have no effect.

    With the `address` of a session that another process of this user has opened (`init` returned it there), this process joins that session
    as one more driver: its tasks, actors and placement groups are that session's, and end with this driver unless they are detached. RAY_ADDRESS
    may name it too.

    Other arguments of Ray's `init` are accepted where they would change nothing here, and refused where they ask for what park does
    not have.
    """
    if unknown := [name for name in ray_arguments if name not in _WITHOUT_EFFECT | _NOT_OFFERED]:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    if local_mode:
        raise RuntimeError(
            "`local_mode` is no longer supported. For interactive debugging consider using the Ray distributed debugger."
        )
    with _lock:
        if _park.is_initialized():
            if ignore_reinit_error:
                return _context()
            raise RuntimeError(
                "Maybe you called ray.init twice by accident? This error can be suppressed by passing in 'ignore_reinit_error=True' "
                "or by calling 'ray.shutdown()' prior to 'ray.init()'."
            )
        joins = _session_at(address)
        cluster = None if joins else _cluster_at(address)
        if job_config is not None:
            namespace, runtime_env = _from_job_config(job_config, namespace, runtime_env)
        for name, value in ray_arguments.items():
            if name in _NOT_OFFERED and value:
                raise NotImplementedError(f"park does not offer init({name}={value!r}) yet")
        check_namespace(namespace)
        modules = checked_preload(preload)
        if joins:
            _refuse_with_cluster(num_cpus, num_gpus, resources, labels, object_store_memory)
            _join(joins, namespace, runtime_env, getattr(job_config, "default_actor_lifetime", "non_detached"))
            return _context()
        threaded = _checked_mode(mode) == "thread"
        if cluster is None:
            total = node_resources.total_resources(
                num_cpus, num_gpus, resources, object_store_memory, ray_arguments.get("_memory")
            )
            given = {**node_resources.default_labels(total), **check_labels(labels)}
            first = (NodeID.from_random().hex(), given, total)
        else:
            _refuse_with_cluster(num_cpus, num_gpus, resources, labels, object_store_memory)
            first = (cluster.head_node.node_id, cluster.head_node.labels, cluster.head_node.total)
            total = {"object_store_memory": sum(node.total["object_store_memory"] for node in cluster.list_all_nodes())}
        store = {
            "capacity": int(total["object_store_memory"]),
            "reserve": _checked_bool("object_store_reserve", object_store_reserve),
            "prefault": _checked_bool("object_store_prefault", object_store_prefault),
            "huge_pages": _checked_bool("object_store_huge_pages", object_store_huge_pages),
            **_checked_spilling(_object_spilling_directory, _object_spilling_limit),
        }
        env = _checked_runtime_env(runtime_env, threaded)
        lifetime = getattr(job_config, "default_actor_lifetime", "non_detached")
        memory = machine.memory_watch(_system_config)
        name, show_output = namespace or _new_namespace(), _checked_bool("log_to_driver", log_to_driver)
        if threaded:
            _open_with_threads(first, name, modules, store, lifetime)
        else:
            _open(first, name, modules, store, env, lifetime, show_output, memory)
        if cluster is not None:
            _clusters[OPEN] = cluster
            for node in cluster.worker_nodes:
                _park.add_node(node.node_id, node.labels, node.total)
        return _context()


def _open(
    first: tuple[str, dict[str, str], dict[str, Any]],
    namespace: str,
    modules: list[str],
    store: dict[str, Any],
    env: dict[str, Any],
    lifetime: str,
    show_output: bool,
    memory: tuple[int, float, int],
) -> None:
    """Start the session with this first node (id, labels, resources) and an object store made so."""
    global _namespace, _node_id, _output, _default_lifetime
    node_id, labels, total = first
    _leave_ended()
    path = [entry or os.getcwd() for entry in sys.path]
    start = f"import sys; sys.path[:] = {path!r}; from park.zygote import main; main()"
    # One thread each, or the workers' pools would together be many times as large as the machine.
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
    hello = {
        "driver_pid": os.getpid(),
        "views": views(),
        "sys_path": path,
        "program_path": program_path(),
        "executable": sys.executable,
        "preload": [*modules, *PRELOADED],
        # By workers of other interpreters, which may lack the others.
        "needed": list(PRELOADED),
        "namespace": namespace,
        "runtime_env": env,
        "default_lifetime": lifetime,
        "output": None,
        "node_id": node_id,
        "visible_devices": assignment.visible_devices(),
        "threads": threads.get("OMP_NUM_THREADS"),
    }
    from json import dumps

    prestart = int(min(total.get("CPU", 0), machine.cpus()))
    if "py_executable" in env:
        prestart = 0  # nobody will ask for workers of the driver's interpreter
    command = [sys.executable, "-c", start]
    output = _reader() if show_output else None
    try:
        if output is not None:
            hello["output"] = output.theirs.fileno()
        ready = None if NURSERY is None else NURSERY.fork(hello["output"])
        _park.init(
            command, threads, dumps(hello), node_id, labels, total, prestart, store, ready, _shared(output), memory
        )
    except BaseException:
        if output is not None:
            output.stop()
        raise
    _output = output
    _namespace, _node_id, _default_lifetime = namespace, node_id, lifetime
    set_runtime_env(env)
    _close_at_exit()


def _shared(output: Any) -> int | None:
    return None if output is None else os.dup(output.theirs.fileno())


def _reader() -> Any:
    from park.output.reader import (
        Reader,  # what it needs is a fifth of the whole import, and attached processes have none
    )

    return Reader()


def _new_namespace() -> str:
    """A namespace that nobody else has."""
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _open_with_threads(
    first: tuple[str, dict[str, str], dict[str, Any]],
    namespace: str,
    modules: list[str],
    store: dict[str, Any],
    lifetime: str,
) -> None:
    """As `_open`; the workers are threads of this process."""
    global _namespace, _node_id, _threaded, _default_lifetime
    from park import threads

    node_id, labels, total = first
    _leave_ended()
    for name in [*modules, *PRELOADED]:
        importlib.import_module(name)
    assignment.enter_threads()
    _park.init_threads(node_id, labels, total, store)
    threads.hand_on_membership()
    _namespace, _node_id, _threaded, _default_lifetime = namespace, node_id, True, lifetime
    _close_at_exit()


def _leave_ended() -> None:
    if _park.role() != "none":
        # One that ended by itself: its host went away, or it belongs to the parent of this forked process.
        shutdown()


def _close_at_exit() -> None:
    global _closes_at_exit
    if not _closes_at_exit:
        _closes_at_exit = True
        atexit.register(shutdown)


def auto_init() -> None:
    """Open a session with the defaults if none is open. Called by whatever needs one."""
    if not _park.is_initialized():
        with _lock:
            if not _park.is_initialized():
                if not AUTO_INIT:
                    raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
                init()


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End the session: its workers, its actors and its objects. Without a session, nothing happens."""
    global _namespace, _node_id, _output, _threaded
    if HERE.facts is not PROCESS:
        return  # the session is that of the driver, whose process this is
    with _lock:
        _park.shutdown()
        _namespace = _node_id = None
        if _threaded:
            sys.modules["park.threads"].keep_membership()
            _threaded = False
        _clusters.pop(OPEN, None)
        set_runtime_env({})
        if _views is None:
            working_dir.remove_views(views())
        if _output is not None:
            _output.stop()
            _output = None
    futures = sys.modules.get("park.futures")  # imported by those who await
    if futures is not None:
        futures.close()


def attach(session: str, *, read_only: bool = False) -> None:
    """Join a session that another process of this user has opened, to share objects with it: put, get and wait.

    `session` is what `init` returned there as `address_info["session"]`. `shutdown` leaves the session again. With `read_only`
    objects can be found, awaited, read and let go of; `put` and whatever else would make one, run a task or call an actor raises
    `PeerRefusedError`, and a stray write into an object's memory faults. This guards the session against mistakes of this process, not
    against malice: it runs as the same user.
    """
    if not isinstance(session, str):
        raise TypeError(f"a session is named by a string, got {type(session)}")
    with _lock:
        if _park.is_initialized():
            raise RuntimeError("a session is open in this process already; call park.shutdown() before park.attach()")
        if _park.role() != "none":
            _park.shutdown()
        _park.attach(session, read_only)
        _close_at_exit()


def is_initialized() -> bool:
    """Whether a session is open in this process."""
    return _park.is_initialized()


def enter_worker(hello: dict[str, Any]) -> None:
    """Make this process, which was just forked for the purpose, a worker of the session that `hello` describes."""
    global _namespace, _node_id, _lock, _default_lifetime, _views, _executable
    _lock = threading.RLock()
    _views, _executable = hello["views"], hello["executable"]
    _namespace, _node_id, _default_lifetime = hello["namespace"], hello["node_id"], hello["default_lifetime"]
    assignment.enter_worker(hello["visible_devices"], hello["threads"])


def views() -> str:
    """Where views of folders lie that are made for the session: see `park.working_dir`."""
    return _views or working_dir.home_of(os.getpid())


def executable() -> str:
    """The interpreter that workers have unless they ask for another: the driver's."""
    return _executable or sys.executable


def program_path() -> list[str]:
    """Where this process's modules lie, without what comes with its interpreter or was installed into that, but for what is park's."""
    standard = os.path.dirname(os.__file__)
    archive = "python{}{}.zip".format(*sys.version_info[:2])

    def is_program(entry: str) -> bool:
        parts = entry.split(os.sep)
        if entry.startswith(os.path.dirname(__file__)):
            return True
        return not (entry.startswith(standard) or parts[-1] == archive or {"site-packages", "dist-packages"} & {*parts})

    return [entry for entry in (entry or os.getcwd() for entry in sys.path) if is_program(entry)]


def threaded() -> bool:
    """Whether the workers of the open session are threads of this process."""
    return _threaded


def namespace() -> str:
    """The namespace that names of actors are looked up in by default: the session's."""
    global _namespace
    if _namespace is None:
        _namespace = _new_namespace()
    return _namespace


def default_lifetime() -> str:
    """The `lifetime` of actors that do not say one: the job's."""
    return _default_lifetime


def runtime_env() -> dict[str, Any]:
    """The environment that this process was made with: what `init` was told, or the task or actor that it runs."""
    return _runtime_env


def set_runtime_env(env: dict[str, Any]) -> None:
    """Say which environment this process has now."""
    global _runtime_env
    _runtime_env = env


def check_namespace(value: str | None) -> None:
    """Refuse what is no namespace."""
    if value is not None and not isinstance(value, str):
        raise TypeError("namespace must be None or a string.")
    if value == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')


# --- clusters ---------------------------------------------------------------------------------------------------------------------

#: What addresses of clusters begin with; those of sessions go on with digits.
CLUSTER = "park-cluster-"
#: Where the cluster of the open session stands among the clusters of this process.
OPEN = ""
_clusters: dict[str, Any] = {}


def register_cluster(address: str, cluster: Any) -> None:
    """Make a `Cluster` known to `init`."""
    _clusters[address] = cluster


def forget_cluster(address: str) -> None:
    """The cluster has no nodes any more."""
    _clusters.pop(address, None)


def open_cluster() -> Any:
    """The cluster on whose nodes the open session runs; None if there is no session, or it has a node of its own."""
    return _clusters.get(OPEN) if _park.is_initialized() else None


def _cluster_at(address: str | None) -> Any:
    """The cluster that `init` is to connect to; None for a session of its own."""
    clusters = {name: cluster for name, cluster in _clusters.items() if name != OPEN}
    if address in clusters:
        return clusters[address]
    if clusters and address in (None, "", "auto"):
        return clusters[list(clusters)[-1]]
    _check_address(address)
    return None


def is_there(address: str | None) -> bool:
    """Whether `init` with this address connects to what runs already, and makes no session of its own."""
    return _session_at(address) is not None or _cluster_at(address) is not None


def _session_at(address: str | None) -> str | None:
    """The address of another process's session that is meant; None if none is."""
    if address in (None, "", "auto"):
        address = os.environ.get("RAY_ADDRESS")
    joins = isinstance(address, str) and address.startswith("park-") and not address.startswith(CLUSTER)
    return address if joins else None


def _join(address: str, namespace: str | None, env: dict[str, Any] | None, lifetime: str) -> None:
    """Become one more driver of another process's session."""
    global _namespace, _default_lifetime
    checked = _checked_runtime_env(env, threaded=False)
    # Workers know where the first driver's modules lie.
    checked["_sys_path"] = program_path()
    _leave_ended()
    _park.attach(address, False)
    _namespace, _default_lifetime = namespace or _new_namespace(), lifetime
    set_runtime_env(checked)
    _close_at_exit()


def _refuse_with_cluster(num_cpus, num_gpus, resources, labels, object_store_memory) -> None:
    if num_cpus is not None or num_gpus is not None:
        raise ValueError("When connecting to an existing cluster, num_cpus and num_gpus must not be provided.")
    if resources is not None:
        raise ValueError("When connecting to an existing cluster, resources must not be provided.")
    if labels is not None:
        raise ValueError("When connecting to an existing cluster, labels must not be provided.")
    if object_store_memory is not None:
        raise ValueError("When connecting to an existing cluster, object_store_memory must not be provided.")


# --- arguments of init ------------------------------------------------------------------------------------------------------------


def _check_address(address: str | None) -> None:
    if address is not None and not isinstance(address, str):
        raise TypeError(f"address must be None or a string, got {type(address)}")
    if address in (None, "", "local"):
        return
    if address == "auto":
        raise ConnectionError(
            "Could not find any running Ray instance. Please specify the one to connect to by setting `--address` flag or "
            "`RAY_ADDRESS` environment variable."
        )
    raise NotImplementedError(
        f"park does not connect to {address!r}: it runs on one machine, and joins the session of another process there by the address "
        "that init() returned in it, park-..."
    )


def _from_job_config(
    config: Any, namespace: str | None, env: dict[str, Any] | None
) -> tuple[str | None, dict[str, Any] | None]:
    """The namespace and environment that a `JobConfig` and the arguments beside it give; the arguments go first.

    Its search path goes onto that of this process, which workers are given.
    """
    sys.path += [path for path in config.code_search_path if path not in sys.path]
    return namespace or config.ray_namespace, env or config.runtime_env


def _checked_mode(mode: str | None) -> str:
    chosen = os.environ.get("PARK_MODE") or "process" if mode is None else mode
    if chosen not in ("process", "thread"):
        where = "PARK_MODE" if mode is None else "mode"
        raise ValueError(f"{where} must be 'process' or 'thread', got {chosen!r}")
    return chosen


def _checked_runtime_env(env: dict[str, Any] | None, threaded: bool) -> dict[str, Any]:
    if not env:
        return {}
    from park import environment, runtime_env

    checked = runtime_env.checked(env)
    if threaded:
        runtime_env.refuse_in_threads(checked)
    if runtime_env.is_own(checked.get("py_executable")):
        checked.pop("py_executable", None)
    return environment.for_hello(checked)


def _checked_bool(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def _checked_spilling(directory: str | None, limit: int | None) -> dict[str, Any]:
    if directory is not None and not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"_object_spilling_directory must be a path, got {type(directory)}")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise TypeError(f"_object_spilling_limit must be a number of bytes, got {limit!r}")
    if limit is not None and limit < 0:
        raise ValueError(f"_object_spilling_limit must not be negative, got {limit} bytes")
    return {"spill_directory": None if directory is None else os.fspath(directory), "spill_limit": limit}


def checked_preload(preload: collections.abc.Iterable[str]) -> list[str]:
    if isinstance(preload, str):
        raise TypeError(f"preload must be a list of module names, got the string {preload!r}")
    modules = list(preload)
    for name in modules:
        if not isinstance(name, str):
            raise TypeError(f"preload must be a list of module names, got {name!r} in it")
        top = name.partition(".")[0]
        # The package alone: to look for a module inside it would import the package here.
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            raise ModuleNotFoundError(f"preload: no module named {top!r} can be imported", name=top)
    return modules


# --- what a session says about itself ---------------------------------------------------------------------------------------------


def require() -> None:
    """Refuse to go on without a session."""
    if _park.role() == "none":
        raise RaySystemError("Ray has not been started yet. Trying to use state API before ray.init() has been called.")


def node_id() -> str:
    """The id of the node that the caller runs on. The driver, and whoever attaches, are on the first one."""
    global _node_id
    if HERE.facts.node is not None:
        return HERE.facts.node
    _park.session_id()  # opens a session as the rest of the interface does
    if _node_id is None:
        _node_id = _park.placement_report()["nodes"][0]["name"]
    return _node_id


def _context() -> RayContext:
    address = _park.session_address()
    return RayContext({"session": address, "address": address, "node_ip_address": NODE_IP, "node_id": node_id()})


def cluster_resources() -> dict[str, float]:
    """What the session has of each resource, in use or not."""
    require()
    return node_resources.totals(_park.placement_report())


def available_resources() -> dict[str, float]:
    """What the session has left of each resource; one that is used up is not listed, as in Ray."""
    require()
    return node_resources.available(_park.placement_report(), _park.store_stats()["used"])


def nodes() -> list[dict[str, Any]]:
    """The nodes of the session: one, this machine, unless a `Cluster` added others."""
    require()
    return node_resources.rows(_park.placement_report())


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What each node has left of each resource, by the node's id."""
    require()
    return node_resources.available_by_node(_park.placement_report())


def store_stats() -> dict[str, int]:
    """Numbers about the object store, for the whole session: bytes in use and promised, objects, and how bytes moved.

    `used` is bytes that objects take, `cached` bytes that processes keep for their next objects, `resident` what the store takes from
    the system, `largest_free` the largest object that would fit now. `spilled` is bytes on disk; `objects_spilled` and
    `objects_restored` count objects that went there and came back. `bytes_copied` counts payload bytes that any process copied into
    the store or out of it, `bytes_shared` those that it handed out as views; `high_water` is the most that was in use at once.
    """
    require()
    stats = _park.store_stats()
    return {**stats, "high_water": stats["peak"]}


def runtime_stats() -> dict[str, Any]:
    """Numbers about processes and work: workers and their ids, tasks submitted, finished, retried, queued and running, deaths."""
    require()
    stats = _park.head_stats()
    return {
        "workers": len(stats["worker_pids"]),
        "workers_alive_pids": stats["worker_pids"],
        "zygote_pid": stats["zygote_pid"],
        "tasks_submitted": stats["submitted"],
        "tasks_finished": stats["finished"],
        "tasks_retried": stats["retried"],
        "workers_died": stats["workers_died"],
        "actors_restarted": stats["actors_restarted"],
        "queued": stats["queued"],
        "running": stats["running"],
    }


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A thread that is not there after fork() may have held it.
os.register_at_fork(after_in_child=_new_lock)
