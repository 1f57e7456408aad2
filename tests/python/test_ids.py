"""Ids: bytes of a fixed length with a class."""

import pickle

import park as ray
import pytest

CLASSES = {
    "ActorID": 16, "JobID": 4, "TaskID": 24, "UniqueID": 28, "NodeID": 28, "WorkerID": 28, "FunctionID": 28,
    "ActorClassID": 28, "PlacementGroupID": 18,
}  # fmt: skip


@pytest.mark.parametrize(("name", "size"), CLASSES.items())
def test_an_id_is_its_bytes(name, size):
    kind = getattr(ray, name)
    assert kind.size() == size
    one, other = kind.from_random(), kind.from_random()
    assert one != other and one == kind(one.binary()) and hash(one) == hash(kind(one.binary()))
    assert len(one.binary()) == size and one.hex() == one.binary().hex()
    assert repr(one) == f"{name}({one.hex()})"
    assert kind.from_hex(one.hex()) == kind.from_binary(one.binary()) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert {one: 1}[kind(one.binary())] == 1


@pytest.mark.parametrize("name", CLASSES)
def test_the_id_of_nothing(name):
    kind = getattr(ray, name)
    assert kind.nil().is_nil() and not kind.from_random().is_nil()
    assert kind.nil() == kind.nil()


def test_ids_of_two_classes_are_never_equal():
    assert ray.NodeID.nil() != ray.WorkerID.nil()
    assert ray.NodeID.nil() != ray.NodeID.nil().binary()


@pytest.mark.parametrize("wrong", [b"short", b"x" * 29, "ff" * 28, None])
def test_what_is_no_id_is_refused(wrong):
    with pytest.raises((TypeError, ValueError)):
        ray.NodeID(wrong)


def test_job_ids_are_numbers_too():
    assert ray.JobID.from_int(7).int() == 7


def test_a_handle_has_its_actors_id(session):
    @ray.remote
    class Actor:
        def my_id(self):
            return ray.get_runtime_context().get_actor_id()

    actor = Actor.remote()
    assert isinstance(actor._actor_id, ray.ActorID)
    assert ray.get(actor.my_id.remote()) == actor._actor_id.hex()


@pytest.mark.park_only
def test_a_reference_knows_its_task_and_job(session):
    ref = ray.remote(lambda: 1).remote()
    assert ref.size() == len(ref.binary()) and ref.call_site() == ""
    assert isinstance(ref.task_id(), ray.TaskID) and not ref.task_id().is_nil()
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()
