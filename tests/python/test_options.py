"""Options of `@remote` and `.options()`: what is refused, and in Ray's words (programs match them)."""

import re

import park as ray
import pytest
from helpers import SOON
from park.exceptions import RayError

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")

COUNT = "only accepts None, 0, -1 or a positive integer, where -1 represents infinity."
BOTH = [
    ({"num_cpus": -1}, ValueError, "The quantity of resource num_cpus cannot be negative"),
    ({"num_cpus": "1"}, TypeError, "The type of keyword 'num_cpus' must be"),
    ({"num_cpus": 0.00001}, ValueError, "The precision of the fractional quantity of resource num_cpus cannot go beyond 0.0001"),
    ({"num_gpus": -0.5}, ValueError, "The quantity of resource num_gpus cannot be negative"),
    ({"memory": -1}, ValueError, "The quantity of resource memory cannot be negative"),
    ({"resources": ["a"]}, TypeError, "The type of keyword 'resources' must be"),
    ({"resources": {"CPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"),
    ({"resources": {"GPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead"),
    ({"resources": {"a": -1}}, ValueError, "The quantity of resource a cannot be negative"),
    ({"resources": {"a": 0.00001}}, ValueError, "The precision of the fractional quantity of resource a"),
    ({"name": 1}, TypeError, "The type of keyword 'name' must be"),
    ({"runtime_env": "x"}, TypeError, "The type of keyword 'runtime_env' must be"),
    ({"scheduling_strategy": 1}, TypeError, "The type of keyword 'scheduling_strategy' must be"),
]  # fmt: skip
TASK = BOTH + [
    ({"max_retries": -2}, ValueError, f"The keyword 'max_retries' {COUNT}"),
    ({"max_retries": 1.5}, TypeError, "The type of keyword 'max_retries' must be .* but received type <class 'float'>"),
    ({"num_returns": -1}, ValueError, "Default None. When None is passed|num_returns must be >= 0"),
    ({"num_returns": 1.5}, TypeError, "The type of keyword 'num_returns' must be"),
    ({"max_calls": -1}, ValueError, "The keyword 'max_calls' only accepts None, 0 or a positive integer."),
    ({"retry_exceptions": "ValueError"}, TypeError, "The type of keyword 'retry_exceptions' must be"),
    ({"retry_exceptions": [1]}, ValueError, "retry_exceptions must be either a boolean or a list of exceptions"),
    ({"object_store_memory": 1}, ValueError, "Setting 'object_store_memory' is not implemented for tasks"),
    ({"max_restarts": 1}, ValueError, "Invalid option keyword max_restarts for remote functions. Valid ones are"),
    ({"no_such_option": 1}, ValueError, "Invalid option keyword no_such_option for remote functions. Valid ones are"),
]  # fmt: skip
ACTOR = BOTH + [
    ({"max_restarts": -2}, ValueError, f"The keyword 'max_restarts' {COUNT}"),
    ({"max_task_retries": -2}, ValueError, f"The keyword 'max_task_retries' {COUNT}"),
    ({"max_pending_calls": "1"}, TypeError, "The type of keyword 'max_pending_calls' must be"),
    ({"max_concurrency": -1}, ValueError, "The keyword 'max_concurrency' only accepts None, 0 or a positive integer."),
    ({"lifetime": "long"}, ValueError, "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."),
    ({"namespace": 1}, TypeError, "The type of keyword 'namespace' must be"),
    ({"get_if_exists": 1}, TypeError, "The type of keyword 'get_if_exists' must be"),
    ({"get_if_exists": True}, ValueError, "The actor name must be specified to use `get_if_exists`."),
    ({"max_retries": 1}, ValueError, "Invalid option keyword max_retries for actors. Valid ones are"),
    ({"num_returns": 1}, ValueError, "Invalid option keyword num_returns for actors. Valid ones are"),
    ({"no_such_option": 1}, ValueError, "Invalid option keyword no_such_option for actors. Valid ones are"),
]  # fmt: skip


def function():
    return 1


class Class:
    def method(self):
        return 1


def pattern(text):
    """The texts are plain but for the few that are marked as patterns."""
    return text if re.search(r"\(\?i\)|\.\*|\|", text) else re.escape(text)


@pytest.mark.parametrize(("options", "error", "text"), TASK, ids=lambda value: str(value)[:40])
def test_bad_options_of_a_task(options, error, text):
    with pytest.raises(error, match=pattern(text)):
        ray.remote(**options)(function)
    with pytest.raises(error, match=pattern(text)):
        ray.remote(function).options(**options).remote()


@pytest.mark.parametrize(("options", "error", "text"), ACTOR, ids=lambda value: str(value)[:40])
def test_bad_options_of_an_actor(options, error, text):
    with pytest.raises(error, match=pattern(text)):
        ray.remote(**options)(Class)
    with pytest.raises(error, match=pattern(text)):
        ray.remote(Class).options(**options).remote()


def test_max_calls_is_not_for_options():
    with pytest.raises(ValueError, match="Setting 'max_calls' is not supported in '.options\\(\\)'."):
        ray.remote(function).options(max_calls=1)


def test_concurrency_groups_are_not_for_options():
    with pytest.raises(ValueError, match="Setting 'concurrency_groups' is not supported in '.options\\(\\)'."):
        ray.remote(Class).options(concurrency_groups={"io": 1}).remote()


@pytest.mark.parametrize("options", [{"num_cpus": None}, {"num_cpus": 1, "num_gpus": 0}, {"num_cpus": 0.0001}, {"max_retries": -1},
                                     {"num_returns": None}, {"name": "a name"}, {"resources": {}}, {"memory": 1},
                                     {"scheduling_strategy": "DEFAULT"}, {"scheduling_strategy": "SPREAD"}, {"enable_task_events": False}],
                         ids=str)  # fmt: skip
def test_options_that_are_accepted(options):
    assert ray.get(ray.remote(**options)(function).remote(), timeout=SOON) == 1
    assert ray.get(ray.remote(function).options(**options).remote(), timeout=SOON) == 1


@pytest.mark.parametrize("options", [{"max_restarts": -1}, {"max_restarts": 0, "max_task_retries": -1}, {"lifetime": "non_detached"},
                                     {"lifetime": None}, {"max_concurrency": 1}, {"num_cpus": 0}, {"num_cpus": 0.5}, {"max_pending_calls": -1}],
                         ids=str)  # fmt: skip
def test_options_of_actors_that_are_accepted(options):
    actor = ray.remote(**options)(Class).remote()
    assert ray.get(actor.method.remote(), timeout=SOON) == 1


def test_remote_wants_keywords():
    # Ray asserts where others raise TypeError.
    wrong_call = (TypeError, AssertionError)
    with pytest.raises(wrong_call, match="The @ray.remote decorator must be applied either with no arguments"):
        ray.remote(3, 4)(function)
    with pytest.raises(wrong_call, match="The @ray.remote decorator must be applied either with no arguments"):
        ray.remote()(function)


@pytest.mark.park_only
def test_remote_wants_a_function_or_a_class():
    """Ray's text, for cases in which Ray itself trips over a missing `__module__` first."""
    for wrong in ("no function", 3, None):
        with pytest.raises(
            TypeError, match="The @ray.remote decorator must be applied to either a function or a class."
        ):
            ray.remote(num_cpus=1)(wrong)


@pytest.mark.park_only
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ray.remote(runtime_env={"pip": ["a"]})(function).remote(), "runtime_env"),
    ],
    ids=["runtime_env"],
)
def test_what_is_not_offered_yet_says_so(make, what):
    """Never accepted and then ignored."""
    with pytest.raises((NotImplementedError, ValueError, RayError), match=f"(?i){what}"):
        ray.get(make(), timeout=SOON)
    assert ray.get(ray.remote(function).remote(), timeout=SOON) == 1
