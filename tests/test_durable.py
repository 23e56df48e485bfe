"""Whatever ends a run, it loses at most the shard at hand, and the next one gives the same bits."""

import errno
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

from gcbench.engine import run as engine
from gcbench.engine.interrupt import Interrupted, stop_on_signals
from gcbench.engine.locks import exclusive
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.plan import SHARD_SIZE
from gcbench.store import Store

RUN = ("run", "--method", "grey-level", "--bench", "greys")


@pytest.fixture
def whole(plan_toy):
    """An uninterrupted run."""
    planned = plan_toy("whole")
    execute(planned)
    return planned.run


def assert_same(run, whole):
    assert run.summary["scores_digest"] == whole.summary["scores_digest"]
    predictions = [(one.path / "predictions.parquet").read_bytes() for one in (run, whole)]
    assert predictions[0] == predictions[1]
    assert run.scores().sample_ids == whole.scores().sample_ids
    assert not list(run.path.glob("*.tmp"))


# Killed


def test_run_killed_at_fifty_random_moments_ends_with_the_same_bits(tmp_path):
    """Nothing lost: no shard that was there goes. Nothing doubled: ids and order are the same."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_runs.py"), tmp_path, "50", "7"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] == 50
    assert told["operations"] > 50
    (whole,) = Store(tmp_path / "whole").runs()
    for number in range(told["stores"]):
        (run,) = Store(tmp_path / f"cut-{number}").runs()
        assert_same(run, whole)
        progress = [set(shards) for store, shards in told["seen"] if store == number]
        assert all(a <= b for a, b in pairwise(progress))


# Asked to stop


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_first_signal_finishes_the_shard_and_says_how_to_resume(
    gcbench_process, gcbench, plan_toy, whole, tmp_path, signal, code
):
    command = (*RUN, "--results", tmp_path / "cut")
    stopped = gcbench_process(*command, TOY_SIGNALS=f"40:{signal}")
    assert stopped.returncode == code
    assert "finishing the shard at hand" in stopped.stderr
    assert "grey-level on greys stopped with 2 of 3 shards stored" in stopped.stderr
    assert stopped.stderr.endswith(f"run {' '.join(map(str, command[1:]))}\n")
    assert "resume with: gcbench --plugins " in stopped.stderr
    assert plan_toy("cut").missing_shards == [2]
    assert gcbench(*command).exit_code == 0
    assert_same(plan_toy("cut").run, whole)


def test_second_signal_stops_at_once(gcbench_process, plan_toy, tmp_path):
    command = (*RUN, "--results", tmp_path / "cut")
    stopped = gcbench_process(*command, TOY_SIGNALS="40:SIGINT,41:SIGINT")
    assert stopped.returncode == 130
    assert "interrupted at once; the shard at hand is lost" in stopped.stderr
    assert "resume with: gcbench" in stopped.stderr
    assert plan_toy("cut").missing_shards == [1, 2]
    assert not list(plan_toy("cut").run.path.glob("*.tmp"))


def test_signal_after_the_last_shard_lets_the_run_end(gcbench_process, tmp_path):
    done = gcbench_process(*RUN, "--results", tmp_path, TOY_SIGNALS="80:SIGINT")
    assert done.returncode == 0
    assert "80 images" in done.stdout


def test_handlers_are_put_back():
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals(print) as stop:
        assert stop() is None
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_stop_between_runs_leaves_the_next_one_untouched(plan_toy):
    planned = plan_toy("a")
    with pytest.raises(Interrupted, match="stopped with 0 of 3 shards") as stopped:
        execute(planned, stop=lambda: 15)
    assert stopped.value.exit_code == 143


# Drives


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EIO, "the drive fails"),
        (errno.ESTALE, "the network drive went away"),
        (errno.ENOENT, "a part of the path is missing"),
        (errno.EROFS, "the file system is read-only"),
    ],
)
@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_failed_write_is_one_line_and_costs_one_shard(
    plan_toy, whole, monkeypatch, number, reason, operation
):
    planned, calls = plan_toy("cut"), []
    owner = os if operation == "fsync" else Path
    working = getattr(owner, operation)

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # the record of the run, the first shard, the second
            raise OSError(number, os.strerror(number))
        return working(*arguments)

    monkeypatch.setattr(owner, operation, fail)
    with pytest.raises(GcbenchError, match=f"cannot write .*scores-00001.*: {reason}") as failed:
        execute(planned)
    assert "finished shards are kept" in failed.value.hint
    assert planned.missing_shards == [1, 2]
    assert not list(planned.run.path.glob("*.tmp"))
    execute(plan_toy("cut"))
    assert_same(plan_toy("cut").run, whole)


def test_drive_that_vanished_is_not_written_anew_on_the_disk_below_it(plan_toy, tmp_path):
    planned = plan_toy("cut")
    planned.run.begin(planned.record())

    def vanish(shard):
        (tmp_path / "cut").rename(tmp_path / "gone")

    with pytest.raises(GcbenchError, match="a part of the path is missing") as failed:
        execute(planned, on_shard=vanish)
    assert "is the drive there?" in failed.value.hint
    assert not (tmp_path / "cut").exists()


def test_drive_without_locks_costs_no_result(plan_toy, whole, monkeypatch):
    def unsupported(handle, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    execute(plan_toy("b"))
    assert_same(plan_toy("b").run, whole)


def test_failing_lock_is_not_taken_for_a_held_one(tmp_path, monkeypatch):
    def fail(handle, operation):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("fcntl.flock", fail)
    with (
        pytest.raises(GcbenchError, match="the drive fails"),
        exclusive(tmp_path / "locks" / "x", wait=False),
    ):
        pass


def test_leftovers_of_a_killed_writer_are_removed(plan_toy, whole):
    planned = plan_toy("b")
    planned.run.begin(planned.record())
    for name in ("scores-00001.parquet", "summary.json"):
        (planned.run.path / f".{name}.abc.tmp").write_bytes(b"half")
    execute(planned)
    assert_same(planned.run, whole)


# Poisoned images


@pytest.mark.parametrize(
    ("bench", "failures"),
    [
        ("greys:odd", {"grey-003": "ZeroDivisionError: no such codec"}),
        (
            "greys:poison",
            {
                "grey-003": "ZeroDivisionError: poison (toy)",
                "grey-040": "grey-level gave a score that is not finite for sample 'grey-040'",
            },
        ),
    ],
)
def test_poisoned_image_costs_itself_alone(plan_toy, whole, bench, failures):
    planned = plan_toy("b", bench=bench)
    execute(planned)
    assert planned.run.summary["coverage"]["failures"] == failures
    kept, expected = planned.run.scores(), whole.scores()
    rows = [i for i, id in enumerate(expected.sample_ids) if id not in failures]
    assert kept.sample_ids == tuple(expected.sample_ids[i] for i in rows)
    np.testing.assert_array_equal(kept.values, expected.values[rows])


def test_poisoned_images_make_a_partial_result(gcbench, tmp_path):
    result = gcbench(
        "run", "--method", "grey-level", "--bench", "greys:poison", "--results", tmp_path
    )
    assert result.exit_code == 3
    assert "PARTIAL: 2 " in result.output


def test_fault_of_the_method_is_not_blamed_on_the_images(plan_toy, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(engine, "score_images", broken)
    planned = plan_toy("b")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        execute(planned)
    assert planned.missing_shards == [0, 1, 2]


# Shared


def test_run_held_by_another_is_waited_for_and_shown(plan_toy, whole, monkeypatch):
    """Another process is at the second shard, finishes it and lets go while this one waits."""
    planned = plan_toy("b")
    planned.run.begin(planned.record())
    held = exclusive(planned.run.path / "locks" / "00001", wait=False)
    assert held.__enter__() is True
    shown = []

    def let_go(seconds):
        planned.run.write_shard(whole.read_shard(1))
        held.__exit__(None, None, None)

    monkeypatch.setattr("time.sleep", let_go)
    execute(planned, on_shard=lambda shard: shown.append(shard.index))
    assert shown == [0, 2, 1]
    assert_same(planned.run, whole)


def test_shard_of_a_process_that_died_is_done_by_the_one_that_waits(plan_toy, whole, monkeypatch):
    planned = plan_toy("b")
    planned.run.begin(planned.record())
    held = exclusive(planned.run.path / "locks" / "00001", wait=False)
    held.__enter__()
    monkeypatch.setattr("time.sleep", lambda seconds: held.__exit__(None, None, None))
    execute(planned)
    assert_same(planned.run, whole)


def test_shards_of_others_are_shown_as_they_come(plan_toy, whole):
    planned, shown = plan_toy("b"), []
    planned.run.begin(planned.record())

    def show(shard):
        if not shown:
            planned.run.write_shard(whole.read_shard(2))
        shown.append(shard.index)

    execute(planned, on_shard=show)
    assert shown == [0, 2, 1]


def test_parts_make_the_whole_and_the_last_one_writes_the_summary(plan_toy, whole):
    shards = {}
    for index in (3, 1, 2):
        planned = plan_toy("b")
        complete = execute(planned, part=(index, 3), wait=False)
        shards[index] = len(planned.run.present())
        assert complete == (index == 2)
        assert (planned.run.summary is not None) == complete
    assert shards == {3: 1, 1: 2, 2: 3}
    assert_same(planned.run, whole)


def test_part_of_the_command_line_says_what_is_there(gcbench, tmp_path):
    first = gcbench(*RUN, "--results", tmp_path, "--shard", "1/2")
    assert first.exit_code == 0
    assert "2 of 3 shards are there" in first.output
    second = gcbench(*RUN, "--results", tmp_path, "--shard", "2/2")
    assert second.exit_code == 0
    assert f"{2 * SHARD_SIZE + 16} images" in second.output


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_impossible_part_is_refused(gcbench, tmp_path, shard):
    result = gcbench(*RUN, "--results", tmp_path, "--shard", shard)
    assert result.exit_code == 2
    assert "expected i/n" in result.stderr
