"""`park.util.collective` between actors, over gloo."""

import park as ray
import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.park_only, pytest.mark.process_only("torch has one group of each kind in a process")]
numpy = pytest.importorskip("numpy")

SESSION = {"num_cpus": 4, "preload": ["torch.distributed"]}
SIZE = 3


@ray.remote(num_cpus=0)
class Member:
    def join(self, rank, group="default", size=SIZE):
        from park.util import collective

        collective.init_collective_group(size, rank, "gloo", group)
        return collective.get_rank(group), collective.get_collective_group_size(group)

    def run(self, function, *arguments):
        from park.util import collective

        return function(collective, *arguments)


@pytest.fixture(scope="module")
def members(session):
    made = [Member.remote() for _ in range(SIZE)]
    assert ray.get([one.join.remote(rank) for rank, one in enumerate(made)]) == [(rank, SIZE) for rank in range(SIZE)]
    return made


def everywhere(members, function):
    return ray.get([one.run.remote(function, rank) for rank, one in enumerate(members)])


def test_reductions_change_the_tensor_in_place(members):
    def total(collective, rank):
        tensor, array = torch.full((2,), float(rank + 1)), numpy.full(2, rank + 1)
        collective.allreduce(tensor)
        collective.allreduce(array, op=collective.ReduceOp.MAX)
        only = torch.ones(1) * (rank + 1)
        collective.reduce(only, dst_rank=1)
        return tensor.tolist(), array.tolist(), only.tolist()

    results = everywhere(members, total)
    assert [one[:2] for one in results] == [([6.0, 6.0], [3, 3])] * SIZE
    assert [one[2] for one in results] == [[1.0], [6.0], [3.0]]


def test_tensors_go_round(members):
    def move(collective, rank):
        copied = torch.tensor([rank])
        collective.broadcast(copied, src_rank=2)
        gathered = [torch.zeros(1, dtype=torch.int64) for _ in range(SIZE)]
        collective.allgather(gathered, torch.tensor([rank * 10]))
        part = torch.zeros(1)
        collective.reducescatter(part, [torch.tensor([float(index)]) for index in range(SIZE)])
        collective.barrier()
        return copied.item(), [one.item() for one in gathered], part.item()

    assert everywhere(members, move) == [(2, [0, 10, 20], 3.0 * rank) for rank in range(SIZE)]


def test_one_sends_to_one(members):
    def pass_on(collective, rank):
        value = numpy.array([rank])
        if rank == 0:
            collective.send(value, 1)
        elif rank == 1:
            collective.recv(value, 0)
        return value.tolist()

    assert everywhere(members, pass_on) == [[0], [0], [2]]


def test_a_group_is_made_from_outside_left_and_made_again(session):
    from park.util import collective

    actors = [Member.remote() for _ in range(2)]

    def total(collective, group):
        tensor = torch.ones(1)
        collective.allreduce(tensor, group)
        collective.barrier(group)
        collective.destroy_collective_group(group)
        return tensor.item(), collective.is_group_initialized(group), collective.get_rank(group)

    for _ in range(2):
        collective.create_collective_group(actors, 2, [1, 0], backend="gloo", group_name="outside")
        assert ray.get([one.run.remote(total, "outside") for one in actors]) == [(2.0, False, -1)] * 2


def test_what_is_wrong_is_said(members):
    def wrong(collective, rank):
        texts = []
        for call in (
            lambda: collective.init_collective_group(SIZE, rank, "gloo"),
            lambda: collective.init_collective_group(2, 2, "gloo", "other"),
            lambda: collective.init_collective_group(2, 0, "smoke", "other"),
            lambda: collective.allreduce([1, 2]),
            lambda: collective.allreduce(torch.ones(1), "nowhere"),
            lambda: collective.send(torch.ones(1), rank),
            lambda: collective.broadcast(torch.ones(1), 9),
        ):
            try:
                call()
            except (RuntimeError, ValueError) as error:
                texts.append(str(error))
        return texts

    for texts in everywhere(members, wrong):
        assert len(texts) == 7 and "twice" in texts[0] and "nowhere" in texts[4] and "self" in texts[5]
    from park.util import collective

    for ranks in ([0], [0, 0], [1, 2]):
        with pytest.raises(RuntimeError):
            collective.create_collective_group(members[:2], 2, ranks, "gloo")
