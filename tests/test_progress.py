"""What is shown while runs go on."""

import io

import numpy as np
import pytest

from gcbench.engine.run import execute
from gcbench.progress import Tally, shown
from gcbench.store import Shard


def shard(index, correct, wrong, worker, failures=0):
    """A shard of the toy benchmark with so many hits, misses and failures."""
    values = np.zeros((correct + wrong, 1, 5), np.float32)
    values[:, 0, 1] = 1
    labels = (1,) * correct + (2,) * wrong
    ids = tuple(f"s{index}-{i}" for i in range(len(labels)))
    lost = {f"f{index}-{i}": "broken" for i in range(failures)}
    return Shard(index, ids, labels, values, 1.0, lost, worker)


def decide(shard):
    return shard.values.mean(axis=1).argmax(axis=-1)


@pytest.fixture
def seconds():
    return [0.0]


def test_tally_counts_hits_speed_and_workers(plan_toy, seconds):
    tally = Tally(plan_toy("a"), decide, lambda: seconds[0])
    assert (tally.accuracy, tally.speed, tally.shares()) == ("", "", [])
    seconds[0] = 4.0
    tally.add(shard(0, 3, 1, "node1:7 cuda:0"))
    assert (tally.accuracy, tally.speed) == ("accuracy 0.750", "1.00 images/s")
    assert tally.shares() == []
    tally.add(shard(1, 1, 2, "node2:9 cuda:0", failures=1))
    assert tally.settled == 8
    assert (tally.accuracy, tally.speed) == ("accuracy 0.571", "2.00 images/s")
    assert tally.shares() == [
        "node1:7 cuda:0: 4 images, 1.00/s",
        "node2:9 cuda:0: 4 images, 1.00/s",
    ]


def test_what_was_there_before_counts_as_done_but_not_as_speed(plan_toy, seconds):
    planned = plan_toy("a")
    execute(planned)
    tally = Tally(plan_toy("a"), decide, lambda: seconds[0])
    seconds[0] = 1.0
    for index in range(3):
        tally.add(planned.run.read_shard(index))
    assert tally.settled == 80
    assert tally.speed == ""
    assert tally.shares() == []


def test_display_shows_every_worker(plan_toy):
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with shown(plan_toy("a"), console, decide) as show:
        show(shard(0, 3, 1, "node1:7 cuda:0"))
        show(shard(1, 4, 0, "node2:9 cuda:0"))
    text = out.getvalue()
    for part in (
        "8/80",
        "accuracy 0.875",
        "images/s",
        "ETA",
        "node1:7 cuda:0: 4 images",
        "node2:9",
    ):
        assert part in text


def test_log_gets_a_line_for_every_tenth_that_is_not_the_last(plan_toy):
    from rich.console import Console

    out = io.StringIO()
    with shown(plan_toy("a"), Console(file=out, width=200), decide) as show:
        show(shard(0, 5, 0, "one"))
        show(shard(1, 30, 5, "one"))
        show(shard(2, 40, 0, "one"))
    lines = [line for line in out.getvalue().splitlines() if line.strip()]
    assert [line.split(" images")[0] for line in lines] == ["grey-level · greys · 40/80"]
    assert "accuracy 0.875" in lines[0]
