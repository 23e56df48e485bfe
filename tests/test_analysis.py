"""An analysis is a run that keeps what single tokens say: exact, resumable, whoever computes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gcbench.analysis import Analyses
from gcbench.engine.grid import encode_images, full_grid, load_images
from gcbench.engine.interrupt import Interrupted
from gcbench.engine.run import execute
from gcbench.engine.tokens import PICTURE_SIDE, false_column, picture, score_tokens
from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey
from gcbench.plan import plan
from gcbench.store import Store
from gcbench.tokens import TokenSums

ANALYZE = ("analyze", "--method", "grey-tokens", "--bench", "greys")


@pytest.fixture
def plan_tokens(registry, tmp_path):
    """Plans an analysis of the toy method, or of another, in a store of its own."""

    def call(folder="store", method="grey-tokens", bench="greys", subset="full", trials=5):
        cls = registry.method(method)
        made = cls(cls.variant_named(None), Runtime())
        benchmark = registry.benchmark(bench).choose(subset)
        store = Analyses(tmp_path / folder).create()
        return plan([made], [benchmark], store, trials=trials, seed=0)[0]

    return call


@pytest.fixture
def whole(plan_tokens):
    """An uninterrupted analysis."""
    planned = plan_tokens("whole")
    execute(planned)
    return planned.run


def assert_same(analysis, whole):
    assert analysis.summary["scores_digest"] == whole.summary["scores_digest"]
    for name in ("tokens.npz", *(f"tokens-{i:05d}.npz" for i in range(3))):
        assert (analysis.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not list(analysis.path.glob(".*.tmp"))


def test_scores_of_an_analysis_are_those_of_the_run(plan_tokens, whole, tmp_path):
    store = Store(tmp_path / "runs").create()
    planned = plan_tokens()
    planned = replace(planned, run=store.run(planned.spec.run_name))
    execute(planned)
    assert planned.run.summary["scores_digest"] == whole.summary["scores_digest"]
    tokens = whole.tokens
    assert tokens.total == 80
    for at, trials in enumerate(tokens.trials):
        correct = whole.summary["accuracy"][f"mean@{trials}"]["correct"]
        assert tokens.first_right[at, -1] == tokens.last_right[at, -1] == correct


@pytest.mark.parametrize("size", [1, 3, 4, 7, 10000])
def test_batch_size_does_not_move_a_bit(plan_tokens, whole, size):
    planned = plan_tokens()
    execute(planned, batch_size=size)
    assert_same(planned.run, whole)


def test_resumed_analysis_equals_an_uninterrupted_one(plan_tokens, whole):
    planned = plan_tokens()
    asked = iter([None, 2])
    with pytest.raises(Interrupted, match="1 of 3 shards"):
        execute(planned, stop=lambda: next(asked))
    assert planned.run.tokens is None
    execute(planned)
    assert_same(planned.run, whole)


def test_parts_by_two_processes_equal_the_analysis_of_one(plan_tokens, whole):
    first, second = plan_tokens(), plan_tokens()
    assert not execute(first, part=(1, 2), wait=False)
    assert execute(second, part=(2, 2), wait=False)
    assert_same(second.run, whole)


def test_killed_analysis_goes_on_and_ends_with_the_same_bits(gcbench_process, whole, tmp_path):
    command = (*ANALYZE, "--trials", 5, "--results", tmp_path / "cut", "--path", "reference")
    assert gcbench_process(*command, TOY_SIGNALS="50:SIGKILL").returncode == -9
    (cut,) = Analyses(tmp_path / "cut").runs()
    assert cut.present() == {0}
    done = gcbench_process(*command)
    assert done.returncode == 0, done.stderr
    assert_same(cut, whole)
    assert Store(tmp_path / "cut").runs() == []


def test_memory_that_runs_out_halves_the_batch_and_moves_no_bit(plan_tokens, whole, monkeypatch):
    planned = plan_tokens()
    score = type(planned.method).token_scores

    def hungry(self, latent, trials, work):
        if len(work.classes) > 10:
            raise RuntimeError("out of memory (test)")
        return score(self, latent, trials, work)

    monkeypatch.setattr(type(planned.method), "token_scores", hungry)
    execute(planned)
    assert planned.run.summary["batch_size_backed_off"]
    assert_same(planned.run, whole)


@pytest.mark.parametrize(("bench", "lost"), [("greys:broken", 1), ("greys:poison", 2)])
def test_image_that_cannot_be_scored_is_left_out(plan_tokens, whole, bench, lost):
    planned = plan_tokens(bench=bench)
    execute(planned)
    assert len(planned.run.summary["coverage"]["failures"]) == lost
    tokens = planned.run.tokens
    assert tokens.total == 80 - lost
    assert "grey-003" not in tokens.sample_ids
    # The first image of class 3 is now the second one, the others are the same.
    others = [i for i, id in enumerate(tokens.sample_ids) if id in whole.tokens.sample_ids]
    there = [list(whole.tokens.sample_ids).index(tokens.sample_ids[i]) for i in others]
    np.testing.assert_array_equal(tokens.against_rival[others], whole.tokens.against_rival[there])


@pytest.mark.parametrize("method", ["randar", "randar-raster"])
def test_network_gives_the_results_of_all_its_log_likelihoods_at_once(plan_tokens, method):
    trials = 3 if method == "randar" else 1
    planned = plan_tokens(method=method, bench="mini-val", subset="first-1", trials=trials)
    samples = planned.benchmark.samples[:3]
    keys = [SampleKey(s.id, i) for i, s in enumerate(samples)]
    labels = [s.label for s in samples]
    made = planned.method
    made.load()
    loaded, _ = load_images(made, samples, keys, trials, 0)
    images = list(loaded.values())
    with torch.inference_mode():
        latent, drawn = encode_images(made, images), made.trials(trials, keys, 0)
        (work,) = full_grid((3, trials), torch.tensor(planned.spec.classes), 1000)
        every = made.token_scores(latent, drawn, work)
        values, found = score_tokens(planned, images, keys, labels, 1000)
        for size in (4, 13):  # parts of a pair; a pair at a time
            again, other = score_tokens(planned, images, keys, labels, size)
            np.testing.assert_allclose(again, values, rtol=1e-5)
            np.testing.assert_allclose(other.against_false, found.against_false, atol=2e-2)
    tokens = every.log_likelihood.unflatten(0, (3, trials, -1)).numpy()  # [B, K, C, N]
    position = every.position.unflatten(0, (3, trials)).numpy()  # [B, K, N]
    np.testing.assert_allclose(values, tokens.sum(-1), rtol=1e-5)
    for image, label in enumerate(labels):
        sums = TokenSums(*tokens.shape[2:])
        for trial in range(trials):
            sums.add(tokens[image, trial], position[image, trial])
        true = planned.spec.classes.index(label)
        false = planned.spec.classes.index(found.false_class[image])
        for name, value in sums.results(true, false).items():
            got = getattr(found, name)[image, -1]
            wanted = planned.spec.classes[value] if name == "rival" else value
            np.testing.assert_array_equal(got, wanted, err_msg=name)


def test_false_class_is_any_wrong_one_and_depends_on_seed_and_id_alone():
    drawn = [false_column(2, 4, 0, f"image-{i}") for i in range(100)]
    assert set(drawn) == {0, 1, 3}
    assert drawn == [false_column(2, 4, 0, f"image-{i}") for i in range(100)]
    assert drawn != [false_column(2, 4, 1, f"image-{i}") for i in range(100)]


def test_picture_shows_the_pixels_that_the_network_saw():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    view = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    np.testing.assert_array_equal(picture(view), pixels)
    large = np.asarray(Image.fromarray(pixels).resize((256, 256), Image.Resampling.NEAREST))
    view = torch.from_numpy(large.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    assert picture(view).shape == (PICTURE_SIDE, PICTURE_SIDE, 3)


def test_methods_without_tokens_are_refused_in_one_line(gcbench):
    result = gcbench("analyze", "--method", "dit", "--bench", "mini-val")
    assert result.exit_code == 2
    assert "error: dit does not score token by token" in result.stderr
    assert "randar-raster" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_single_class_is_refused(registry):
    from gcbench.engine.tokens import check_analysis

    benchmark = replace(registry.benchmark("greys"), classes=(0,), samples=())
    with pytest.raises(GcbenchError, match="greys has one class"):
        check_analysis([], [benchmark], registry.methods)


def test_command_shows_the_accuracy_and_keeps_analyses_apart_from_runs(gcbench, tmp_path):
    result = gcbench(*ANALYZE, "--subset", "first-2", "--results", tmp_path / "r")
    assert result.exit_code == 0, result.output
    assert "grey-tokens tiny · greys (first-2): accuracy" in result.output
    (analysis,) = Analyses(tmp_path / "r").runs()
    assert analysis.tokens.total == 10
    assert Store(tmp_path / "r").runs() == []


def test_damaged_file_is_named(whole):
    file = whole.path / "tokens.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(GcbenchError, match=r"tokens\.npz cannot be read"):
        _ = whole.tokens
