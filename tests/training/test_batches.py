"""What a step sees follows from the recipe and the step alone."""

import pytest
import torch

from gcbench.training.batches import Batches, readers_for
from gcbench.training.recipe import adapted, read_recipe

SIZE = 20


class Draws:
    """A task whose batches are rows and a draw for each."""

    def batch(self, rows, generator):
        return rows, torch.rand(len(rows), generator=generator)


@pytest.fixture
def batches(recipe_file):
    recipe = adapted(read_recipe(str(recipe_file("classifier"))), accumulate=4)

    def build(share=range(4), readers=0, accumulate=4):
        return Batches(adapted(recipe, accumulate=accumulate), Draws(), SIZE, share, readers)

    return build


def values(drawn):
    return [[tensor.tolist() for tensor in batch] for batch, _ in drawn]


def test_an_epoch_is_a_permutation_cut_into_full_batches(batches):
    first, second, third = (batches().rows(step).tolist() for step in range(3))
    assert len({*first, *second}) == 16
    assert set(first) | set(second) < set(range(SIZE))
    assert third != first
    assert batches().rows(0).tolist() == first


@pytest.mark.parametrize("readers", [0, 3])
def test_two_shares_make_up_the_whole(batches, readers):
    whole = values(batches().since(0))
    left, right = (values(batches(share, readers).since(0)) for share in (range(2), range(2, 4)))
    together = [part for i in range(0, len(left), 2) for part in left[i : i + 2] + right[i : i + 2]]
    assert together == whole
    assert len(whole) == 5 * 4


def test_threads_change_neither_what_is_drawn_nor_its_order(batches):
    assert values(batches(readers=3).since(2)) == values(batches().since(0))[2 * 4 :]


def test_micro_batches_hold_the_rows_of_the_whole_batch(batches):
    cut, whole = batches(), batches(accumulate=1, share=range(1))
    rows = [row for (rows, _), _ in cut.since(4) for row in rows.tolist()]
    ((given, _),) = (batch for batch, _ in whole.since(4))
    assert rows == given.tolist()


def test_error_of_a_thread_is_that_of_the_training(batches):
    broken = batches(readers=2)
    broken.task.batch = None
    with pytest.raises(TypeError):
        next(broken.since(0))


def test_readers_work_beside_a_gpu_only(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 32)
    assert readers_for(torch.device("cpu")) == 0
    assert readers_for(torch.device("cuda")) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert readers_for(torch.device("cuda")) == 3
