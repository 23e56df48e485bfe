"""The store: what is written comes back, whole or not at all, and nothing is lost on the way."""

import builtins
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.store import Shard, Store, atomic_path, prediction_table, write_json

SPEC = {"method": "m", "trials": 3, "classes": [1, 4], "sample_ids": [], "labels": []}


def names_in(folder):
    return [p.name for p in folder.iterdir()]


@pytest.fixture
def run(tmp_path):
    run = Store(tmp_path / "store").create().run("r")
    run.begin(SPEC)
    return run


@given(
    values=arrays(
        np.float32,
        st.tuples(st.integers(0, 5), st.just(3), st.just(2)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=False),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_shard_comes_back_bit_for_bit(run, values):
    ids = tuple(f"ü/{i}" for i in range(len(values)))
    shard = Shard(7, ids, tuple(range(len(values))), values, 1.25, {"bad": "why"})
    run.write_shard(shard)
    back = run.read_shard(7)
    assert back.values.tobytes() == values.tobytes()
    assert (back.sample_ids, back.labels, back.seconds, back.failures) == (
        shard.sample_ids,
        shard.labels,
        1.25,
        {"bad": "why"},
    )


def test_scores_are_in_shard_order_whatever_the_order_of_writing(run):
    for index in (2, 0, 1):
        values = np.full((1, 3, 2), index, np.float32)
        run.write_shard(Shard(index, (f"s{index}",), (1,), values, 0, {}))
    scores = run.scores()
    assert scores.sample_ids == ("s0", "s1", "s2")
    assert scores.values[:, 0, 0].tolist() == [0, 1, 2]


def test_interrupted_write_leaves_the_old_file_and_no_trace(tmp_path):
    target = tmp_path / "x.json"
    write_json(target, {"a": 1})

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text('{"a":')
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert json.loads(target.read_text()) == {"a": 1}
    assert names_in(tmp_path) == ["x.json"]


def test_full_disk_is_one_clear_line_and_keeps_finished_shards(plan_toy, monkeypatch):
    planned = plan_toy("a")
    real, written = os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) == 3:  # run.json, the first shard, and then the disk is full
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GcbenchError, match="the disk is full") as caught:
        execute(planned)
    assert "free some space" in caught.value.hint
    assert "finished shards are kept" in caught.value.hint
    assert planned.missing_shards == [1, 2]
    assert not list(planned.run.path.glob(".*.tmp"))
    execute(plan_toy("a"))
    assert plan_toy("a").status == "cached"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, code):
    def refuse(self, *args, **kwargs):
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(GcbenchError, match=r"cannot write .*results"):
        Store(tmp_path / "results").create()


def test_unknown_os_errors_are_not_disguised(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError(errno.EBADF, "i/o error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="i/o error"):
        write_json(tmp_path / "x.json", {})


def test_folder_of_another_schema_is_refused(tmp_path):
    write_json(tmp_path / "store.json", {"schema": 99})
    with pytest.raises(GcbenchError, match="holds results of schema 99"):
        Store(tmp_path)


def test_folder_with_other_things_is_not_taken_for_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(GcbenchError, match="not a results folder"):
        Store(tmp_path).create()
    assert names_in(tmp_path) == ["thesis.tex"]


def test_results_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(GcbenchError, match="cannot write"):
        Store(tmp_path / "file").create()


def test_damaged_shard_names_the_file_and_the_way_out(run):
    run.write_shard(Shard(0, ("s",), (1,), np.zeros((1, 3, 2), np.float32), 0, {}))
    file = run.shard_file(0)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(GcbenchError, match=r"scores-00000\.parquet is damaged") as caught:
        run.scores()
    assert "delete that file" in caught.value.hint


def test_damaged_json_is_named(run):
    (run.path / "summary.json").write_text("{")
    with pytest.raises(GcbenchError, match=r"summary\.json cannot be read as JSON"):
        assert run.summary


def test_prediction_table_holds_every_rule_and_trial_count(plan_toy):
    planned = plan_toy("a", trials=6)
    execute(planned)
    frame = planned.run.predictions()
    rules = ("mean", "log-mean-exp", "mean-posterior")
    expected = ["sample_id", "label", "mean@1"]
    expected += [f"{rule}@{k}" for k in (2, 5, 6) for rule in rules]
    assert list(frame.columns) == [*expected, "posterior"]
    scores = planned.run.scores()
    assert (frame["mean@5"] == scores.predictions("mean", 5)).all()
    np.testing.assert_allclose(np.stack(frame["posterior"]).sum(1), 1, rtol=1e-6)
    posterior = np.stack(prediction_table(scores)["posterior"])
    np.testing.assert_array_equal(posterior, np.stack(frame["posterior"]))


def test_reading_a_store_writes_nothing(plan_toy, tmp_path, monkeypatch):
    execute(plan_toy("a"))
    real = builtins.open

    def read_only(file, mode="r", *args, **kwargs):
        assert not set(mode) & set("wax+"), f"{file} opened for writing"
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", read_only)
    for stored in Store(tmp_path / "a").runs():
        assert len(stored.predictions()) == 80
        assert stored.summary["coverage"]["total"] == 80


def test_damaged_predictions_are_named(plan_toy):
    planned = plan_toy("a")
    execute(planned)
    file = planned.run.path / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(GcbenchError, match=r"predictions\.parquet cannot be read"):
        planned.run.predictions()
