"""What the decorators make of functions and classes: names, `@method`, and what a handle shows of itself."""

import park as ray
import pytest
from helpers import SOON

SESSION = {"num_cpus": 2, "namespace": "decorators"}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
class Sample:
    """A sample."""

    @ray.method(num_returns=2)
    def pair(self):
        return 1, 2

    @ray.method
    def plain(self, x, *, plus=1):
        return x + plus

    def stream(self):
        yield 1

    def look(self):
        context = ray.get_runtime_context()
        return context.get_node_id(), context.get_job_id(), context.get_worker_id(), context.namespace


@pytest.fixture(scope="module")
def sample(session):
    return Sample.remote()


def twice(invocation):
    """Calls with the first argument doubled; gives the keywords back without passing them on."""

    def invoke(args, kwargs):
        return invocation([args[0], args[0]], {}), kwargs

    return invoke


def test_a_decorated_method_wraps_the_making_of_its_calls():
    def adds(self, a, b):
        return a + b

    adds.__ray_invocation_decorator__ = twice
    decorated = ray.remote(type("Decorated", (), {"adds": adds, "plain": lambda self, a: a})).remote()
    ref, kwargs = decorated.adds.remote(3, kwarg=4)
    assert ray.get(ref, timeout=SOON) == 6 and kwargs == {"kwarg": 4}
    ref, _ = decorated.adds.options(name="chosen").remote(4)
    assert ray.get(ref, timeout=SOON) == 8
    assert ray.get(decorated.plain.remote(5), timeout=SOON) == 5

    @ray.remote
    def elsewhere(handle):
        ref, kwargs = handle.adds.remote(6, far=True)
        return ray.get(ref), kwargs

    assert ray.get(elsewhere.remote(decorated), timeout=SOON) == (12, {"far": True})


def test_a_decorated_function_wraps_the_making_of_its_calls():
    def adds(a, b):
        return a + b

    adds.__ray_invocation_decorator__ = twice
    ref, kwargs = ray.remote(adds).options(num_cpus=0).remote(3, kwarg=4)
    assert ray.get(ref, timeout=SOON) == 6 and kwargs == {"kwarg": 4}


@pytest.mark.park_only
def test_handles_of_one_class_share_what_they_know_of_it():
    first = Sample.remote()
    again = [ray.cloudpickle.loads(ray.cloudpickle.dumps(first)) for _ in range(3)]
    assert {id(handle._park_meta) for handle in (first, *again)} == {id(first._park_meta)}
    other = Sample.options(max_pending_calls=3).remote()
    assert other._park_meta is not first._park_meta and other._park_meta["max_pending_calls"] == 3


def test_method_says_how_many_results(sample):
    assert ray.get(sample.pair.remote(), timeout=SOON) == [1, 2]
    assert ray.get(sample.pair.options(num_returns=1).remote(), timeout=SOON) == (1, 2)
    assert ray.get(sample.plain.remote(1, plus=2), timeout=SOON) == 3


def test_method_refuses_what_it_does_not_know():
    with pytest.raises(AssertionError, match="Unexpected keyword argument to @ray.method: 'no_such'"):
        ray.method(no_such=1)
    with pytest.raises(
        AssertionError, match="The @ray.method decorator must be applied using no arguments or at least one"
    ):
        ray.method(3)
    with pytest.raises(ValueError, match="num_returns must be >= 0, but got -1"):
        ray.method(num_returns=-1)(lambda self: None)
    with pytest.raises(ValueError, match="num_returns='streaming' can only be used with generator functions"):
        ray.method(num_returns="streaming")(lambda self: None)


def test_a_call_refuses_options_it_does_not_know(sample):
    with pytest.raises(TypeError, match="unexpected keyword argument 'no_such'"):
        sample.plain.options(no_such=1).remote(1)
    with pytest.raises(ValueError, match="num_returns must be >= 0, but got -1"):
        sample.plain.options(num_returns=-1).remote(1)


def test_an_actor_class_has_no_subclasses():
    with pytest.raises(TypeError, match="Attempted to define subclass 'Derived' of actor class 'Sample'"):

        class Derived(Sample):
            pass


def test_a_coroutine_is_no_task():
    async def coroutine():
        pass

    with pytest.raises(ValueError, match="'async def' should not be used for remote tasks"):
        ray.remote(coroutine)


def test_handles_are_equal_if_they_name_the_same_actor(sample):
    (again,) = ray.get(ray.put([sample]))
    assert again == sample and hash(again) == hash(sample)
    assert Sample.remote() != sample


def test_a_handle_lists_its_methods(sample):
    assert {"pair", "plain", "stream", "look"} <= set(dir(sample))
    assert repr(sample).startswith("Actor(Sample, ")
    assert Sample.__ray_metadata__.class_name == "Sample"


def test_names_of_an_actor_and_its_namespace():
    with pytest.raises(ValueError, match="Actor name cannot be an empty string"):
        Sample.options(name="").remote()
    with pytest.raises(ValueError, match='"" is not a valid namespace'):
        Sample.options(name="x", namespace="").remote()
    with pytest.raises(ValueError, match='"" is not a valid namespace'):
        ray.get_actor("x", namespace="")


def test_where_an_actor_runs(sample):
    here = ray.get_runtime_context()
    node, job, worker, namespace = ray.get(sample.look.remote(), timeout=SOON)
    assert node == here.get_node_id() == ray.nodes()[0]["NodeID"]
    assert job == here.get_job_id()
    assert worker != here.get_worker_id()
    assert namespace == here.namespace == "decorators"


@pytest.mark.park_only
@pytest.mark.parametrize(
    "options",
    [{"_labels": {"a": "b"}}],
    ids=str,
)
def test_an_option_that_is_not_offered_is_named(options):
    (name,) = options
    with pytest.raises(NotImplementedError, match=name):
        ray.remote(**options)(type("Class", (), {}))


@pytest.mark.park_only
def test_variants_of_one_function_are_stored_once():
    @ray.remote
    def pair():
        return 1, 2

    ray.get(pair.remote(), timeout=SOON)
    before = ray.store_stats()["objects"]
    for _ in range(3):
        kept = [pair.options(num_cpus=cpus).remote() for cpus in (0, 1, 2)]
        ray.get(kept, timeout=SOON)
    assert ray.store_stats()["objects"] <= before + len(kept)


class Constants:
    LIMIT = 7

    @classmethod
    def made(cls, value):
        return cls(), value

    def method(self):
        return ray.remote(Constants)


def test_an_actor_class_shows_the_class_that_it_was_made_of():
    actor_class = ray.remote(num_cpus=0)(Constants)
    assert actor_class.LIMIT == 7 and actor_class.made(1)[1] == 1
    assert {"made", "method", "remote", "options", "bind"} <= set(dir(actor_class))
    assert type(actor_class).__name__ == "ActorClass(Constants)" and isinstance(actor_class, ray.actor.ActorClass)
    assert actor_class.__ray_metadata__.modified_class.__name__ == "Constants"
    assert actor_class._default_options == {"num_cpus": 0}
    with pytest.raises(AttributeError):
        actor_class.no_such_name


@pytest.mark.park_only
def test_graphs_are_refused():
    for made in (ray.remote(Constants), ray.remote(lambda: 1)):
        with pytest.raises(NotImplementedError, match="graphs"):
            made.bind()


def test_remote_with_arguments_in_a_list(session):
    def numbers(n, start=0):
        return list(range(start, start + n))

    function = ray.remote(numbers)
    assert ray.get(function._remote(args=[2], kwargs={"start": 5}, num_returns=2)) == [5, 6]
    assert function._remote([0], num_returns=0) is None
    actor = ray.remote(Constants)._remote(num_cpus=0)
    assert ray.get(actor.__ray_ready__.remote())


@pytest.mark.park_only
def test_a_definition_that_captures_too_much_is_refused(session, monkeypatch):
    from park import serialization

    monkeypatch.setattr(serialization, "_LARGEST_DEFINITION", 100_000)
    captured = bytearray(200_000)

    @ray.remote
    def function():
        return captured

    @ray.remote
    class Actor:
        def method(self):
            return captured

    with pytest.raises(ValueError, match="The remote function .*function is too large"):
        function.remote()
    with pytest.raises(ValueError, match="The actor Actor is too large"):
        Actor.remote()


def test_a_method_of_an_actor_can_be_passed_and_called_with_arguments_in_a_list(session):
    @ray.remote
    class Adder:
        def add(self, a, b=0):
            return a + b

    @ray.remote
    def call(method):
        return ray.get(method.remote(1, b=2))

    adder = Adder.remote()
    assert ray.get(call.remote(adder.add)) == 3
    assert ray.get(adder.add._remote([1], {"b": 4})) == 5
