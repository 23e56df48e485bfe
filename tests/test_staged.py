"""Classification in stages end to end, on a toy method that sees an image row by row."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.method import Runtime
from gcbench.plan import plan
from gcbench.scales import CoarseToFineMethod
from gcbench.stages import Stage, new_evaluations, parse_stages
from gcbench.store import Store
from gcbench.strategy import strategy_named

THREE = "4:1:1,2:2:4,1:3:4"
CLASSES = 5


@pytest.fixture(scope="session")
def rows_method(registry):
    class GreyRows(registry.method("grey-level"), CoarseToFineMethod):
        """The distance of the first rows' mean, a pixel of each trial left out."""

        name = "grey-rows"
        scale_count = 4
        token_sides = (4,)
        stage_presets = {"two": (Stage(3, 1, 1), Stage(1, 2, 4))}  # noqa: RUF012
        calls: list[tuple[int, int]] = []  # noqa: RUF012

        def token_scores(self, latent, trials, work):
            raise AssertionError("stages need whole scores only")

        def score(self, latent, trials, work):
            return self.score_scales(latent, trials, work, self.scale_count)

        def score_scales(self, latent, trials, work, scales):
            type(self).calls.append((scales, len(work.classes)))
            pair = work.pair_of_evaluation()
            seen = latent[work.image].clone()  # [P, 16]
            pixel = trials.draws["pixel"][work.image, work.trial]
            seen[torch.arange(len(seen)), pixel] = 0.5
            mean = seen.unflatten(1, (4, 4))[:, :scales].mean(dim=(1, 2))
            return -((mean[pair] - work.classes / 4) ** 2)

        def flops_per_evaluation(self):
            return self.flops_of_scales(self.scale_count)

        def flops_of_scales(self, scales):
            return 100.0 * scales

    return GreyRows


@pytest.fixture
def planned(registry, rows_method, tmp_path):
    def call(folder="store", stages=THREE, trials=None, strategy="staged", **changes):
        how = strategy_named(strategy, stages=stages)
        cls = changes.pop("method", rows_method)
        method = cls(cls.variants[0], Runtime(**changes))
        store = Store(tmp_path / folder).create()
        benchmark = registry.benchmark("greys")
        return plan([method], [benchmark], store, trials=trials, seed=0, strategy=how)[0]

    return call


@pytest.fixture
def staged(planned):
    def call(folder="store", *, batch_size=None, **options):
        one = planned(folder, **options)
        execute(one, batch_size=batch_size)
        return one

    return call


def grid(planned, folder, scales, trials):
    """Scores of all classes on so many scales, by a method that knows no more of them."""
    one = planned(folder, strategy="exhaustive", stages=None, trials=trials)
    one.method.scale_count = scales
    execute(one)
    return one.run.scores().values


def test_stored_are_the_scores_of_the_last_stage_and_nothing_of_those_before(planned, staged):
    values = staged().run.scores().values  # [N, 3, C]
    made = np.isfinite(values)
    assert (made.sum(axis=(1, 2)) == 2 * 3).all()
    whole = grid(planned, "whole", scales=4, trials=3)
    np.testing.assert_array_equal(values[made], whole[made])


def test_every_stage_keeps_its_best_by_its_own_scales_and_trials(planned, staged):
    decided = staged().run.scores().decisions()
    coarse = grid(planned, "coarse", scales=1, trials=1)
    whole = grid(planned, "whole", scales=4, trials=3)
    for row, decision in enumerate(decided):
        left = np.argsort(-coarse[row, 0], kind="stable")[:4]
        for trials, keep in ((2, 2), (3, 1)):
            means = whole[row, :trials, left].astype(np.float64).mean(axis=1)
            left = left[np.argsort(-means, kind="stable")[:keep]]
        assert decision == left[0]


def test_evaluations_of_all_stages_are_made_once_and_counted(rows_method, staged):
    rows_method.calls.clear()
    one = staged()
    images = 80
    expected = [5, 4 * 2, 2 * 1]  # the last stage has two of its three trials from the one before
    assert one.stage_evaluations == expected
    assert sum(count for _, count in rows_method.calls) == images * sum(expected)
    assert sum(count for scales, count in rows_method.calls if scales == 1) == images * 5
    summary = one.run.summary
    assert summary["evaluations_per_image"] == sum(expected)
    assert summary["strategy"]["evaluations_per_image"] == {
        "stage 1": 5.0,
        "stage 2": 8.0,
        "stage 3": 2.0,
    }
    assert summary["strategy"]["gain"] == round(3 * CLASSES / sum(expected), 3)
    assert (one.run.predictions()["evaluations"] == sum(expected)).all()


def test_operations_count_the_scales(planned):
    one = planned()
    assert one.most_flops == 5 * 100 + 10 * 400
    assert planned("b", strategy="exhaustive", stages=None, trials=3).most_flops == 15 * 400


def test_gain_in_operations_is_above_that_in_evaluations_where_scales_are_left_out(staged):
    how = staged().run.summary["strategy"]
    assert how["gain_in_operations"] == round(15 * 400 / 4500, 3) > how["gain"]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_batch_size_moves_no_bit(staged, size):
    expected = staged("a").run.scores().values
    np.testing.assert_array_equal(staged("b", batch_size=size).run.scores().values, expected)


def test_resumed_run_equals_an_uninterrupted_one(planned, staged):
    whole = staged("whole").run

    def stop(shard):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(planned("cut"), on_shard=stop)
    again = planned("cut")
    assert 0 < len(again.missing_shards) < again.shard_count
    execute(again)
    assert again.run.summary["scores_digest"] == whole.summary["scores_digest"]


def test_a_part_has_the_bits_of_the_whole(planned, staged):
    whole = staged("whole").run
    for part in (2, 1):
        execute(planned("parts"), part=(part, 2))
    assert planned("parts").run.summary["scores_digest"] == whole.summary["scores_digest"]


def test_named_stages_are_written_out_in_the_key(planned):
    named, spelt = planned(stages="two"), planned(stages="3:1:1,1:2:4")
    assert named.spec.strategy == "staged stages=3:1:1,1:2:4"
    assert named.spec.key == spelt.spec.key
    assert named.spec.trials == 2


def test_no_rule_applies_to_the_scores(staged):
    one = staged()
    with pytest.raises(GcbenchError, match="did not evaluate every class"):
        one.run.scores().predictions("mean")
    assert list(one.run.summary["accuracy"]) == ["decision"]


def test_score_that_is_not_finite_in_an_early_stage_is_refused(rows_method, planned, monkeypatch):
    scored = rows_method.score_scales

    def broken(self, latent, trials, work, scales):
        values = scored(self, latent, trials, work, scales)
        return values * float("nan") if scales == 1 else values

    monkeypatch.setattr(rows_method, "score_scales", broken)
    one = planned()
    with pytest.raises(GcbenchError, match="gave a score that is not finite"):
        execute(one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": "6:1:1,1:1:4"}, "stage 1 keeps 6 classes, but only 5 are left"),
        ({"stages": "2:1:1,3:1:4"}, "stage 2 keeps 3 classes, but only 2 are left"),
        ({"stages": "2:1:1,1:1:5"}, "stage 2 covers 5 scales, the network has 4"),
        ({"stages": "3:1:1,2:1:4"}, "the last of 2 stages keeps 2 classes"),
        ({"stages": "readme"}, "unknown stages of grey-rows 'readme' .known: two"),
        ({"stages": "3:1"}, "--stages 3:1: expected CLASSES:TRIALS:SCALES"),
        ({"stages": None}, "--strategy staged needs --stages"),
        ({"trials": 5}, "--trials 5: the stages take 3"),
        ({"precision": "bf16"}, "near ties of the stages would not be settled"),
    ],
)
def test_stages_that_cannot_be_are_refused_in_one_line(planned, options, message):
    with pytest.raises(GcbenchError, match=message) as caught:
        planned(**options)
    assert "\n" not in caught.value.message


def test_method_without_scales_is_refused(planned, registry):
    with pytest.raises(GcbenchError, match="grey-level has no scales to classify by in stages"):
        planned(method=registry.method("grey-level"))


def test_name_of_stages_is_refused_where_the_method_has_none(planned, rows_method, monkeypatch):
    monkeypatch.setattr(rows_method, "stage_presets", {})
    with pytest.raises(GcbenchError, match="grey-rows has no stages by name, got --stages two"):
        planned(stages="two")


def test_method_with_a_single_trial_is_refused_more(planned, rows_method, monkeypatch):
    monkeypatch.setattr(rows_method, "max_trials", 1)
    assert planned(stages="3:1:1,1:1:4").spec.trials == 1
    with pytest.raises(GcbenchError, match="a stage takes 3 trials, grey-rows has only 1"):
        planned()


def test_command_refuses_a_method_without_scales(gcbench, tmp_path):
    command = ("run", "--method", "grey-level", "--bench", "greys", "--results", tmp_path / "r")
    done = gcbench(*command, "--strategy", "staged", "--stages", "1:1:1")
    assert done.exit_code != 0
    assert "grey-level has no scales" in done.output


def test_stages_are_read_as_they_are_written():
    stages = parse_stages(THREE)
    assert stages[1] == Stage(survivors=2, trials=2, scales=4)
    assert ",".join(map(str, stages)) == THREE


def test_trials_on_fewer_scales_are_not_taken_over():
    assert new_evaluations(parse_stages("10:1:6,3:1:10,1:3:10"), 1000) == [1000, 10, 6]
    assert new_evaluations(parse_stages("5:4:3,1:2:3"), 10) == [40, 0]


def test_a_stage_may_add_no_evaluation(staged):
    values = staged(stages="3:2:4,1:1:4").run.scores().values
    assert (np.isfinite(values).sum(axis=(1, 2)) == 3).all()


def test_survivors_of_a_single_class_end_in_it(staged):
    one = staged(stages="1:1:1,1:1:4")
    assert (one.run.predictions()["evaluations"] == CLASSES + 1).all()
    assert (np.isfinite(one.run.scores().values).sum(axis=(1, 2)) == 1).all()


def test_image_is_staged_alike_in_any_company(planned, staged):
    expected = staged("a").run.scores().values
    one = planned("b")
    backwards = replace(one.benchmark, samples=one.benchmark.samples[::-1])
    (turned,) = plan(
        [one.method], [backwards], Store(one.run.path.parent), trials=None, seed=0,
        strategy=one.strategy,
    )  # fmt: skip
    execute(turned)
    np.testing.assert_array_equal(turned.run.scores().values[::-1], expected)
