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
def test_a_generator_method_is_not_offered_yet(sample):
    with pytest.raises(NotImplementedError, match="stream"):
        sample.stream.remote()


@pytest.mark.park_only
@pytest.mark.parametrize(
    "options",
    [{"max_concurrency": 16}, {"lifetime": "detached"}, {"concurrency_groups": {"io": 2}}, {"max_pending_calls": 5}, {"runtime_env": {"pip": ["x"]}}],
    ids=str,
)  # fmt: skip
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
