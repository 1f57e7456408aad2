"""What frameworks for reinforcement learning silently depend on: not names, but what actors, groups and values do."""

import asyncio
import copy
import functools
import json
import os
import pickle
import subprocess
import sys
import textwrap
import warnings

import pytest
from helpers import fresh_python, ray, wait_until

SESSION = {"num_cpus": 100, "num_gpus": 2, "namespace": "rl", "resources": {"custom": 1}}
MARK = "_registered"


def register(**about):
    """Frameworks' own decorators leave attributes on methods, and look for them on the actor class."""

    def mark(method):
        @functools.wraps(method)
        def inner(*args, **kwargs):
            return method(*args, **kwargs)

        setattr(inner, MARK, about)
        return inner

    return mark


class Worker:
    LIMIT = 3

    def __init__(self, rank=0):
        self.rank = rank

    @register(mode="all")
    def compute(self, data):
        data["a"] += self.rank
        return data

    @register(mode="one")
    def _private(self):
        return "private"

    @classmethod
    def named(cls):
        return cls.__name__

    def env(self, *names):
        return [os.environ.get(name) for name in names]

    def pid(self):
        return os.getpid()


Remote = ray.remote(Worker)

# --- actor classes ---------------------------------------------------------------------------------------------------------------


def test_an_actor_class_shows_the_class_inside():
    options = ray.remote(num_cpus=0.01, max_concurrency=100)(Worker)
    assert Remote.__ray_actor_class__ is Worker or issubclass(Remote.__ray_actor_class__, Worker)
    assert issubclass(options.__ray_metadata__.modified_class, Worker)
    assert options._default_options["num_cpus"] == 0.01 and options._default_options["max_concurrency"] == 100
    assert type(Remote).__name__ == "ActorClass(Worker)"
    marked = {name for name in dir(Remote) if hasattr(getattr(Remote, name, None), MARK)}
    assert marked == {"compute", "_private"}
    assert Remote._private._registered == {"mode": "one"} and Remote.LIMIT == 3 and Remote.named() == "Worker"


def test_a_wrapped_class_is_derived_from_and_wrapped_again(session):
    class Derived(Remote.__ray_metadata__.modified_class):
        def pair(self):
            return self.rank, self._private()

    assert ray.get(ray.remote(Derived).remote(4).pair.remote()) == (4, "private")


def test_a_private_method_is_called(session):
    assert ray.get(Remote.remote()._private.remote()) == "private"


def test_an_async_constructor_and_sync_methods(session):
    @ray.remote(num_cpus=0)
    class Engine:
        async def __init__(self):
            await asyncio.sleep(0)
            self.ready = True

        def look(self):
            return self.ready

        async def generate(self, number):
            await asyncio.sleep(0.05)
            return number

    engine = Engine.remote()
    assert ray.get(engine.look.remote())
    assert ray.get([engine.generate.remote(number) for number in range(1000)]) == list(range(1000))


# --- handles and references ------------------------------------------------------------------------------------------------------


def test_handles_are_keys_and_carry_attributes(session):
    first, second = Remote.remote(), Remote.remote()
    assert {first: 1, second: 2}[first] == 1
    assert isinstance(first, ray.actor.ActorHandle) and len(first._actor_id.hex()) % 2 == 0
    first._initializer = second  # keeps it alive
    assert first._initializer == second
    assert ray.get(first.__ray_ready__.remote()) is True
    assert ray.get(first.__ray_call__.remote(lambda self, more: self.rank + more, 5)) == 5
    first.__ray_terminate__.remote()


def test_a_group_of_handles_and_references_is_copied(session):
    class Group:
        def __init__(self):
            self.workers = [Remote.remote(rank) for rank in range(2)]
            self.pending = {"ref": ray.put("value")}

    group = Group()
    twin = copy.deepcopy(group)
    assert twin.workers == group.workers and twin.workers is not group.workers
    assert ray.get(twin.pending["ref"]) == "value"
    assert copy.copy(group.pending["ref"]) == group.pending["ref"]
    assert ray.get(twin.workers[1].pid.remote()) == ray.get(group.workers[1].pid.remote())


def test_references_inside_of_objects_stay_references(session):
    class Box:
        def __init__(self, ref):
            self.ref = ref

    @ray.remote
    def opened(box, plain):
        return isinstance(box.ref, ray.ObjectRef), ray.get(box.ref), plain

    assert ray.get(opened.remote(Box(ray.put(1)), ray.put(2))) == (True, 1, 2)


def test_references_are_awaited_and_are_futures(session):
    worker = Remote.remote()

    async def main():
        refs = [worker.named.remote() for _ in range(3)]
        gathered = await asyncio.gather(*refs)
        return gathered, await asyncio.wrap_future(worker.named.remote().future()), await worker.named.remote()

    assert asyncio.run(main()) == (["Worker"] * 3, "Worker", "Worker")


def test_a_poll_does_not_wait(session):
    @ray.remote
    class Slow:
        async def wait(self):
            await asyncio.sleep(100)

    slow = Slow.options(num_cpus=0).remote()
    ref = slow.wait.remote()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0)
    assert ray.wait([ref], timeout=0) == ([], [ref])
    ray.kill(slow)


@pytest.mark.park_only
def test_a_tensor_transport_falls_back_to_the_store(session):
    assert ray.get(ray.put([1, 2], _tensor_transport="nixl")) == [1, 2]
    with pytest.raises(ValueError, match="Invalid tensor transport: PIGEON"):
        ray.put(1, _tensor_transport="pigeon")
    with pytest.raises(ValueError, match="two-sided RDT transport 'NCCL'"):
        ray.put(1, _tensor_transport="nccl")

    @ray.remote(enable_tensor_transport=True)
    class Sender:
        @ray.method(tensor_transport="gloo")
        def tensor(self):
            return [3]

    assert ray.get(Sender.remote().tensor.remote()) == [3]
    with pytest.raises(ValueError, match="Invalid tensor transport: PIGEON"):
        ray.method(tensor_transport="pigeon")(lambda self: None)


@pytest.mark.park_only
def test_an_object_may_have_an_owner_that_dies(session):
    worker = Remote.remote()
    ref = ray.put("kept", _owner=worker)
    ray.kill(worker)
    assert ray.get(ref) == "kept"
    with pytest.raises(TypeError, match=r"Expect an `ray.actor.ActorHandle`"):
        ray.put(1, _owner="me")


def test_items_of_a_method_come_as_they_are_made(session):
    @ray.remote(num_cpus=0)
    class Rollout:
        def steps(self, number):
            yield from range(number)

    refs = Rollout.remote().steps.options(num_returns="streaming").remote(3)
    assert [ray.get(ref) for ref in refs] == [0, 1, 2]


# --- values ----------------------------------------------------------------------------------------------------------------------


def test_a_batch_that_was_received_can_be_changed(session):
    """What is no array is a copy of the receiver's own."""
    batch = {"a": 1, "rows": [1, 2]}
    shared = ray.put(batch)
    workers = [Remote.remote(rank) for rank in range(3)]
    assert [found["a"] for found in ray.get([worker.compute.remote(shared) for worker in workers])] == [1, 2, 3]
    assert ray.get(shared) == batch


def test_a_received_array_is_read_only_until_it_is_copied(session):
    numpy = pytest.importorskip("numpy")

    @ray.remote
    def write(array):
        with pytest.raises(ValueError, match="read-only"):
            array += 1
        return array.copy() + 1

    assert ray.get(write.remote(ray.put(numpy.zeros(100_000)))).sum() == 100_000


@pytest.mark.parametrize("out_of_band", [False, True])
def test_a_class_that_pickles_itself(session, out_of_band):
    """As one blob of bytes, or with buffers that need not be copied."""

    class Proto:
        def __init__(self, payload):
            self.payload = payload

        def __getstate__(self):
            if out_of_band:
                return {"payload": pickle.PickleBuffer(self.payload)}
            return {"payload": bytes(self.payload)}

    made = Proto(bytearray(b"x" * 300_000))
    assert bytes(ray.get(ray.put(made)).payload) == bytes(made.payload)


# --- processes and their surroundings --------------------------------------------------------------------------------------------


def test_variables_are_there_before_the_class_is_imported(session, tmp_path, monkeypatch):
    (tmp_path / "ranked.py").write_text(
        textwrap.dedent("""
            import os
            RANK = os.environ["RANK"]

            class Ranked:
                def look(self):
                    return RANK, os.environ["MASTER_ADDR"], os.getpid()
        """)
    )
    monkeypatch.setenv("RANK", "driver")
    monkeypatch.syspath_prepend(str(tmp_path))
    import ranked

    def environment(rank):
        variables = {"RANK": str(rank), "MASTER_ADDR": "here"}
        return {"env_vars": variables, "py_modules": [str(tmp_path / "ranked.py")]}

    made = [ray.remote(ranked.Ranked).options(runtime_env=environment(rank)).remote() for rank in range(3)]
    seen = ray.get([actor.look.remote() for actor in made])
    del sys.modules["ranked"]
    assert [rank for rank, _, _ in seen] == ["0", "1", "2"]
    assert {address for _, address, _ in seen} == {"here"} and len({pid for *_, pid in seen} | {os.getpid()}) == 4


def test_more_cpus_than_the_machine_has(session):
    assert ray.cluster_resources()["CPU"] == 100
    workers = [Remote.options(num_cpus=10).remote(rank) for rank in range(4)]
    assert len({ray.get(worker.pid.remote()) for worker in workers}) == 4


def test_resources_are_overridden_from_outside():
    program = """
import park as ray
ray.init()
print(ray.cluster_resources()["CPU"], ray.cluster_resources()["GPU"])
"""
    overridden = json.dumps({"CPU": 16, "GPU": 4})
    assert fresh_python(program, env={**os.environ, "RAY_OVERRIDE_RESOURCES": overridden}).split() == ["16.0", "4.0"]


def test_the_own_interpreter_may_be_named(session):
    @ray.remote(runtime_env={"py_executable": sys.executable})
    def interpreter():
        return sys.executable

    assert ray.get(interpreter.remote()) == sys.executable


@pytest.mark.park_only
@pytest.mark.process_only("workers that are threads have the driver's interpreter")
def test_actor_classes_with_interpreters_of_their_own(session, tmp_path):
    """As NeMo-RL: each worker of a group has the interpreter of its class and variables of its own."""
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)

    class Worker:
        def facts(self):
            return sys.executable, os.environ["RANK"]

    def start(rank):
        env = {"py_executable": python, "env_vars": {"RANK": str(rank)}}
        return ray.remote(Worker).options(runtime_env=env).remote()

    workers = [start(rank) for rank in range(2)]
    assert ray.get([worker.facts.remote() for worker in workers]) == [(python, "0"), (python, "1")]
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="/no/such/python"):
        ray.get(Remote.options(runtime_env={"py_executable": "/no/such/python"}).remote().pid.remote())


def test_gpus_are_shown_by_their_share_unless_that_is_turned_off(session):
    name = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
    share = Remote.options(num_gpus=0.2).remote()
    assert len(ray.get(share.env.remote("CUDA_VISIBLE_DEVICES"))[0].split(",")) == 1
    untouched = Remote.options(num_gpus=1, runtime_env={"env_vars": {name: "1"}}).remote()
    assert ray.get(untouched.env.remote("CUDA_VISIBLE_DEVICES")) in ([None], [os.environ.get("CUDA_VISIBLE_DEVICES")])


# --- placement -------------------------------------------------------------------------------------------------------------------


def test_workers_share_the_bundle_of_another(session):
    """A second actor beside the first: no CPU, a hundredth of its GPU."""
    group = ray.util.placement_group([{"CPU": 1, "GPU": 1, "custom": 1e-4}] * 1, strategy="STRICT_PACK")
    assert ray.get(group.ready(), timeout=30)
    assert group.bundle_count == 1 and group.bundle_specs[0]["GPU"] == 1
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    first = Remote.options(num_gpus=0.9, scheduling_strategy=strategy).remote()
    second = Remote.options(num_gpus=0.01, num_cpus=0, scheduling_strategy=strategy).remote()
    gpus = ray.get([worker.env.remote("CUDA_VISIBLE_DEVICES") for worker in (first, second)])
    assert gpus[0] == gpus[1] and gpus[0][0]
    table = ray.util.placement_group_table(group)
    assert table["bundles_to_node_id"][0] == ray.nodes()[0]["NodeID"]
    # The form of the option before strategies.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        third = Remote.options(
            num_gpus=0.01, num_cpus=0, placement_group=group, placement_group_bundle_index=0
        ).remote()
    assert ray.get(third.pid.remote())
    for worker in (first, second, third):
        ray.kill(worker)
    ray.util.remove_placement_group(group)


def test_nodes_and_contexts_say_what_programs_ask(session):
    (node,) = ray.nodes()
    for column in ("NodeID", "NodeManagerAddress", "Alive", "Resources", "ObjectStoreSocketName"):
        assert node[column]
    context = ray.get_runtime_context()
    assert context.get_node_id() == node["NodeID"] and context.get_job_id() and context.namespace == "rl"
    assert context.gcs_address
    assert ray.util.get_node_ip_address() == node["NodeManagerAddress"]

    @ray.remote(num_gpus=1)
    class Asks:
        def look(self):
            context = ray.get_runtime_context()
            assert context.current_actor == context.current_actor
            return context.get_accelerator_ids()["GPU"], context.get_actor_name(), ray.get_gpu_ids()

    asked, name, ids = ray.get(Asks.options(name="asks").remote().look.remote())
    assert name == "asks" and len(asked) == len(ids) == 1
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    assert ray.get(Remote.options(scheduling_strategy=strategy).remote().named.remote()) == "Worker"


# --- names -----------------------------------------------------------------------------------------------------------------------


def test_a_name_is_used_again_after_its_actor_died(session):
    for _ in range(5):
        worker = Remote.options(name="train/0", namespace="areal").remote()
        assert ray.get(worker.named.remote()) == "Worker"
        ray.kill(worker)
        wait_until(lambda: _is_free("train/0", "areal"))


def _is_free(name, namespace):
    try:
        ray.get_actor(name, namespace=namespace)
    except ValueError:
        return True
    return False


def test_a_balancer_takes_two_small_calls_a_request(session):
    @ray.remote(num_cpus=0)
    class Balancer:
        def __init__(self, number):
            self.loads, self.sticky = [0] * number, {}

        async def acquire(self, request):
            server = self.sticky.setdefault(request % 7, self.loads.index(min(self.loads)))
            self.loads[server] += 1
            return server

        async def release(self, server):
            self.loads[server] -= 1

        async def load(self):
            return self.loads

    balancer = Balancer.remote(3)

    @ray.remote(num_cpus=0)
    class Loop:
        async def turn(self, request):
            server = await balancer.acquire.remote(request)
            await balancer.release.remote(server)
            return server

    loop = Loop.options(max_concurrency=100).remote()
    servers = ray.get([loop.turn.remote(request) for request in range(100)])
    assert servers[:7] == servers[7:14] and ray.get(balancer.load.remote()) == [0, 0, 0]


# --- failures --------------------------------------------------------------------------------------------------------------------


@pytest.mark.process_only("kills its process")
def test_failures_are_told_apart(session):
    class Transient(ConnectionError):
        pass

    @ray.remote(num_cpus=0, max_restarts=0)
    class Environment:
        def step(self, how):
            if how == "raise":
                raise Transient("later")
            if how == "die":
                os._exit(1)
            return how

    environment = Environment.remote()
    with pytest.raises(Transient) as raised:
        ray.get(environment.step.remote("raise"))
    assert isinstance(raised.value, ray.exceptions.RayTaskError) and isinstance(raised.value.cause, Transient)
    assert ray.get(environment.step.remote("fine")) == "fine"
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(environment.step.remote("die"))

    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die.remote())
    system = ray.exceptions
    assert issubclass(system.ActorDiedError, system.RayActorError)
    assert issubclass(system.ActorUnavailableError, system.RayActorError)
    assert issubclass(system.OwnerDiedError, system.ObjectLostError)
    assert not issubclass(system.OutOfMemoryError, system.RayTaskError)
    assert issubclass(system.GetTimeoutError, TimeoutError) and issubclass(system.ObjectStoreFullError, system.RayError)


@pytest.mark.process_only("kills its process")
def test_calls_go_on_after_a_restart_without_end(session):
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Environment:
        def pid(self):
            return os.getpid()

    environment = Environment.remote()
    before = ray.get(environment.pid.remote())
    os.kill(before, 9)
    assert ray.get(environment.pid.remote()) != before


# --- sessions (these end the module's, so they stand last) -------------------------------------------------------------------------


def test_connecting_to_nothing_is_a_connection_error(fresh):
    ray.shutdown()
    with pytest.raises(ConnectionError):
        ray.init(address="auto")
    fresh(num_cpus=1, include_dashboard=False)
    assert ray.is_initialized()


def test_a_registry_in_a_named_actor_is_new_in_each_session(fresh):
    class Registry:
        def __init__(self):
            self.functions = {}

        def add(self, name, function):
            self.functions[name] = function

        def call(self, name, *args):
            return self.functions[name](*args)

        def names(self):
            return sorted(self.functions)

    for _ in range(2):
        fresh(num_cpus=2, namespace="registry")
        options = {"name": "registry", "get_if_exists": True, "num_cpus": 0}
        one = ray.remote(Registry).options(**options).remote()
        assert ray.get(one.names.remote()) == []
        ray.get(one.add.remote("double", lambda value: 2 * value))

        @ray.remote
        def use():
            return ray.get(ray.get_actor("registry").call.remote("double", 21))

        assert ray.get(use.remote()) == 42
        assert ray.remote(Registry).options(**options).remote() == one
        ray.shutdown()
