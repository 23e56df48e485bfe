"""The loop: independent of batch size, order, interruption and company; nothing lost, ever."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checkout import PLUGINS, ROOT

from gcbench.engine.grid import full_grid
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.plan import SHARD_SIZE


def finished(planned, **options):
    execute(planned, **options)
    return planned.run


def test_every_evaluation_of_the_grid_comes_once_and_in_order():
    import torch

    for size in (1, 2, 3, 5, 6, 7, 100):
        seen = []
        for work in full_grid((2, 3), torch.tensor([4, 5, 9]), size):
            assert len(work.classes) <= max(size, 3)
            pair = work.pair_of_evaluation()
            seen += zip(
                work.image[pair].tolist(),
                work.trial[pair].tolist(),
                work.classes.tolist(),
                strict=True,
            )
        assert seen == [(i, k, c) for i in range(2) for k in range(3) for c in (4, 5, 9)]


@pytest.mark.parametrize("size", [1, 3, 4, 7, 10000])
def test_batch_size_does_not_move_a_score(plan_toy, size):
    expected = finished(plan_toy("a")).scores()
    got = finished(plan_toy("b"), batch_size=size).scores()
    np.testing.assert_array_equal(got.values, expected.values)
    assert got.sample_ids == expected.sample_ids


def test_image_order_does_not_move_a_score(plan_toy, registry):
    benchmark = registry.benchmark("greys")
    backwards = replace(benchmark, samples=benchmark.samples[::-1])
    expected = finished(plan_toy("a")).scores()
    got = finished(plan_toy("b", benchmark=backwards)).scores()
    np.testing.assert_array_equal(got.values[::-1], expected.values)


def test_first_trials_equal_a_run_with_fewer_trials(plan_toy):
    long = finished(plan_toy("a", trials=9)).scores()
    short = finished(plan_toy("a", trials=4)).scores()
    np.testing.assert_array_equal(long.values[:, :4], short.values)


def test_another_seed_draws_other_trials(plan_toy):
    one = finished(plan_toy("a", seed=0)).scores()
    other = finished(plan_toy("a", seed=1)).scores()
    assert (one.values != other.values).any()


def test_published_protocol_depends_on_position_and_is_another_run(plan_toy):
    independent, published = plan_toy("a"), plan_toy("a", protocol="published")
    assert independent.spec.key != published.spec.key
    a, b = finished(independent).scores(), finished(published).scores()
    assert (a.values != b.values).any()


def test_finished_run_is_not_computed_again(plan_toy):
    finished(plan_toy("a"))
    again = plan_toy("a")
    assert again.status == "cached"

    def refuse():
        raise AssertionError("a cached run must not load its networks")

    again.method.load = refuse
    execute(again)


def test_rerun_all_replaces_every_shard_with_the_same_bits(plan_toy):
    planned = plan_toy("a")
    before = finished(planned).summary["scores_digest"]
    stamps = {p: p.stat().st_mtime_ns for p in planned.run.path.glob("scores-*")}
    after = finished(plan_toy("a"), rerun="all").summary["scores_digest"]
    assert after == before
    assert all(p.stat().st_mtime_ns > stamp for p, stamp in stamps.items())


def test_out_of_memory_halves_the_batch_and_keeps_the_scores(plan_toy, monkeypatch):
    expected = finished(plan_toy("a")).scores()
    monkeypatch.setenv("TOY_MEMORY", "40")
    run = finished(plan_toy("b"), batch_size=256)
    assert run.summary["batch_size"] == 32
    assert run.summary["batch_size_backed_off"] is True
    np.testing.assert_array_equal(run.scores().values, expected.values)


def test_out_of_memory_with_one_evaluation_is_a_clear_error(plan_toy, monkeypatch):
    monkeypatch.setenv("TOY_MEMORY", "0")
    with pytest.raises(GcbenchError, match="out of memory with a single evaluation"):
        execute(plan_toy("a"))


def test_unreadable_sample_is_recorded_and_the_rest_is_scored(plan_toy):
    run = finished(plan_toy("a", bench="greys:broken"))
    assert run.summary["coverage"] == {
        "scored": 79,
        "total": 80,
        "failures": {"grey-003": "truncated image"},
    }
    assert len(run.predictions()) == 79


def test_rerun_failed_scores_what_has_become_readable(plan_toy, registry):
    broken = registry.benchmark("greys:broken")
    finished(plan_toy("a", benchmark=broken))
    healed = replace(broken, samples=registry.benchmark("greys").samples)
    run = finished(plan_toy("a", benchmark=healed), rerun="failed")
    assert run.summary["coverage"]["failures"] == {}
    assert run.scores().sample_ids == tuple(s.id for s in healed.samples)


# 5 is inside the first shard, 33 the first image of the second, 80 the last image of all.
@pytest.mark.parametrize("image", [1, 5, SHARD_SIZE, SHARD_SIZE + 1, 50, 80])
def test_killed_and_resumed_run_equals_uninterrupted_run(
    plan_toy, gcbench_process, tmp_path, image
):
    whole = finished(plan_toy("whole"))
    command = ("run", "--method", "grey-level", "--bench", "greys", "--results", tmp_path / "cut")
    killed = gcbench_process(*command, TOY_SIGNALS=f"{image}:SIGKILL")
    assert killed.returncode == -9
    cut = plan_toy("cut")
    assert SHARD_SIZE * (cut.shard_count - len(cut.missing_shards)) >= image - SHARD_SIZE
    resumed = gcbench_process(*command)
    assert resumed.returncode == 0, resumed.stderr
    run = plan_toy("cut").run
    assert run.summary["scores_digest"] == whole.summary["scores_digest"]
    for name in ("predictions.parquet",):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not list(run.path.glob("*.tmp"))


def test_two_processes_on_one_store_give_the_bits_of_one(plan_toy, tmp_path):
    whole = finished(plan_toy("whole"))
    command = [sys.executable, "-m", "gcbench.cli", "--plugins", str(PLUGINS), "run"]
    command += ["--method", "grey-level", "--bench", "greys", "--results", str(tmp_path / "both")]
    pair = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    assert [p.wait() for p in pair] == [0, 0]
    for process in pair:
        process.stdout.close()
    run = plan_toy("both").run
    assert run.summary["scores_digest"] == whole.summary["scores_digest"]
    assert run.scores().sample_ids == whole.scores().sample_ids


def test_images_of_the_next_shard_are_loaded_meanwhile_and_give_the_same_bits(plan_toy):
    from gcbench.engine.run import ShardScorer

    planned = plan_toy("ahead")
    plain, ahead = ShardScorer(planned, None), ShardScorer(planned, None)
    expected = [plain(index) for index in range(planned.shard_count)]
    ahead.look_ahead(1)
    first, second = ahead(0), ahead(1)
    assert not ahead.ahead
    ahead.close()
    for got, wanted in zip((first, second), expected, strict=False):
        assert got.sample_ids == wanted.sample_ids
        assert (got.values == wanted.values).all()
