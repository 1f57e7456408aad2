"""`get_runtime_context()` in drivers, tasks and actors."""

import os

import park as ray
import pytest

SESSION = {"num_cpus": 2, "namespace": "context"}


def facts():
    context = ray.get_runtime_context()
    return {
        "job": context.get_job_id(),
        "node": context.get_node_id(),
        "worker": context.get_worker_id(),
        "task": context.get_task_id(),
        "task_name": context.get_task_name(),
        "function": context.get_task_function_name(),
        "actor": context.get_actor_id(),
        "actor_name": context.get_actor_name(),
        "namespace": context.namespace,
        "session": context.get_session_name(),
        "ids": context.get(),
    }


@ray.remote
class Actor:
    def facts(self):
        return facts()

    def me(self):
        return ray.get_runtime_context().current_actor

    def answer(self):
        return 42


def test_a_driver_is_no_task_and_no_actor(session):
    mine = facts()
    assert {mine[name] for name in ("task", "task_name", "function", "actor", "actor_name")} == {None}
    assert mine["namespace"] == "context"
    assert mine["node"] == ray.nodes()[0]["NodeID"]
    assert set(mine["ids"]) == {"job_id", "node_id", "namespace"}
    with pytest.raises(RuntimeError):
        ray.get_runtime_context().current_actor


def test_a_task_knows_what_it_is(session):
    mine, its = facts(), ray.get(ray.remote(facts).remote())
    for name in ("job", "node", "namespace", "session"):
        assert its[name] == mine[name]
    assert its["worker"] != mine["worker"]
    assert its["task_name"] == "facts" and its["function"] == f"{__name__}.facts"
    assert its["actor"] is None and its["actor_name"] is None
    assert its["ids"]["task_id"].hex() == its["task"] and its["ids"]["job_id"].hex() == mine["job"]
    assert "actor_id" not in its["ids"]


def test_each_task_has_an_id_and_a_name_of_its_own(session):
    task = ray.remote(facts)
    first, second = ray.get([task.options(name="one").remote(), task.options(name="two").remote()])
    assert (first["task_name"], second["task_name"]) == ("one", "two")
    assert first["task"] != second["task"] and len(first["task"]) == 48


def test_an_actor_knows_what_it_is(session):
    named, unnamed = Actor.options(name="somebody").remote(), Actor.remote()
    its, other = ray.get([named.facts.remote(), unnamed.facts.remote()])
    assert its["actor"] == named._actor_id.hex() and its["ids"]["actor_id"] == named._actor_id
    assert (its["actor_name"], other["actor_name"]) == ("somebody", "")
    assert its["task_name"] == "Actor.facts" and its["function"] == f"{__name__}.Actor.facts"
    assert its["task"] is not None and its["task"] != other["task"]


def test_a_call_has_the_name_that_was_chosen_for_it(session):
    facts = ray.get(Actor.remote().facts.options(name="chosen").remote())
    assert facts["task_name"] == "chosen" and facts["function"] == f"{__name__}.Actor.facts"


def test_an_actor_can_give_a_handle_of_itself_away(session):
    actor = Actor.remote()
    again = ray.get(actor.me.remote())
    assert again == actor and ray.get(again.answer.remote()) == 42


def test_the_old_properties_warn(session):
    context = ray.get_runtime_context()
    for name in ("job_id", "node_id"):
        with pytest.warns(DeprecationWarning, match=f"Use get_{name}"):
            assert getattr(context, name).hex() == getattr(context, f"get_{name}")()


@pytest.mark.park_only
def test_labels_and_address(session):
    context = ray.get_runtime_context()
    assert context.get_node_labels()["ray.io/node-id"] == context.get_node_id()
    assert context.gcs_address == session.address_info["address"]
    assert os.path.isdir(context.get_temp_dir())


def test_async_calls_know_themselves(session):
    @ray.remote
    class Async:
        async def facts(self, seconds):
            import asyncio

            before = ray.get_runtime_context().get_task_id()
            await asyncio.sleep(seconds)
            context = ray.get_runtime_context()
            return before == context.get_task_id(), context.get_task_id(), context.get_task_name()

    actor = Async.remote()
    answers = ray.get([actor.facts.remote(seconds) for seconds in (0.2, 0.1, 0.0)])
    assert all(same for same, _, _ in answers) and len({task for _, task, _ in answers}) == 3
    assert {name for _, _, name in answers} == {"Async.facts"}
