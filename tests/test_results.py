"""Committed measurements: complete, consistent, and the tables regenerate from them exactly."""

import re

import pytest
from checkout import ROOT
from committed_runs import MINI, RUNS, measured, share

from gcbench.analysis import Analyses
from gcbench.report.committed import regenerate
from gcbench.report.slots import WEIGHTINGS
from gcbench.store import Store
from tools.pages import pages, with_tables

ANALYSES = Analyses(MINI).runs()
BENCHMARKS = ("mini-val", "mini-r", "mini-s", "mini-a", "mini-c-gauss", "mini-c-jpeg")


def test_committed_tables_regenerate_exactly():
    texts = regenerate(RUNS, Store(MINI).tokenizers())
    committed = {p.name: p.read_text() for p in (MINI / "tables").glob("table*")}
    assert committed == texts


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_show_the_committed_tables(page):
    assert page.read_text() == with_tables(page.read_text())


def test_readme_shows_the_families_of_classifiers_and_what_they_cost():
    readme = (ROOT / "README.md").read_text()
    assert "<!-- table 2 -->" in readme
    assert "(docs/accuracy-cost.png)" in readme


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize(
    ("method", "variant", "trials"),
    [
        ("randar", "mini", 20),
        ("randar", "mini-noise", 20),
        ("randar", "mini-maskgit", 20),
        ("randar-raster", "mini", 1),
        ("llamagen", "mini", 1),
        ("var", "mini", 1),
        ("avarc", "mini", 3),
        ("vit", "mini", 1),
        ("resnet", "mini-18", 1),
        ("resnet", "mini-34", 1),
        ("resnet", "mini-50", 1),
        ("dinov2", "mini", 1),
        ("dat", "mini", 1),
    ],
)
def test_every_cell_of_the_mini_suite_is_measured_in_full(method, variant, trials, benchmark):
    check_measured_in_full(method, variant, trials, benchmark)


@pytest.mark.parametrize("benchmark", ["mini-val", "mini-r", "mini-s", "mini-a"])
@pytest.mark.parametrize("method", ["dit", "sit", "sit-repa", "sit-irepa", "sit-reg"])
def test_every_diffusion_classifier_is_measured_in_full(method, benchmark):
    check_measured_in_full(method, "mini", 100, benchmark)


@pytest.mark.parametrize(
    "protocol", ["independent", "independent, 50 timesteps", "independent, 100 timesteps"]
)
def test_timesteps_are_measured_against_noises(protocol):
    check_measured_in_full("dit", "mini", 200, "mini-val", protocol)


def test_randar_is_measured_at_the_smallest_cost_of_table_7():
    check_measured_in_full("randar", "mini", 4, "mini-val")


@pytest.mark.parametrize("benchmark", ["mini-c-gauss", "mini-c-jpeg"])
@pytest.mark.parametrize("method", ["dit", "sit", "sit-repa", "sit-irepa", "sit-reg"])
def test_diffusion_classifiers_are_measured_on_corruptions_by_the_coarser_grid(method, benchmark):
    check_measured_in_full(method, "mini", 20, benchmark)


def check_measured_in_full(*described):
    run = measured(*described)
    assert run.summary is not None
    assert run.summary["coverage"]["failures"] == {}
    assert run.summary["coverage"]["scored"] == len(run.spec["sample_ids"])


def test_first_round_of_noises_is_the_run_of_one_noise():
    once = measured("dit", "mini", 100, "mini-val")
    twice = measured("dit", "mini", 200, "mini-val", "independent, 100 timesteps")
    for rule in WEIGHTINGS.values():
        at = f"{rule}@100"
        assert once.summary["accuracy"][at] == twice.summary["accuracy"][at]


def test_page_tells_what_the_published_time_costs_sit():
    runs = (measured("sit", "mini", 100, "mini-val", p) for p in ("independent", "published"))
    true, published = (run.predictions().set_index("sample_id") for run in runs)
    right = [(frame["mean@100"] == frame["label"]) for frame in (true, published)]
    page = (ROOT / "docs" / "diffusion.md").read_text()
    for what, found in zip(("the true one", "0, as published"), right, strict=True):
        assert f"| {what} | {found.mean():.3f} |" in page
    only = [int((a & ~b).sum()) for a, b in (right, right[::-1])]
    assert f"{only[0]} images are right with the true time alone, {only[1]} with" in page


def test_page_tells_what_weightings_do_under_noise():
    page = (ROOT / "docs" / "diffusion.md").read_text()
    told = re.findall(r"<!-- gauss (\S+) (\S+) -->(0\.\d{3})", page)
    assert {(method, rule) for method, rule, _ in told} == {
        (method, rule) for method in ("sit", "dit") for rule in ("mean", "fm-ot")
    }
    for method, rule, number in told:
        assert f"{share(measured(method, 'mini', 20, 'mini-c-gauss'), rule, 20):.3f}" == number


@pytest.mark.parametrize("method", ["dit", "sit", "sit-repa", "sit-irepa", "sit-reg"])
@pytest.mark.parametrize(
    ("benchmark", "trials", "best"), [("mini-val", 100, "mean"), ("mini-c-gauss", 20, "fm-ot")]
)
def test_best_weighting_is_the_one_that_the_page_names(method, benchmark, trials, best):
    run = measured(method, "mini", trials, benchmark)
    by_rule = {rule: share(run, rule, trials) for rule in WEIGHTINGS.values()}
    assert max(by_rule, key=by_rule.__getitem__) == best


@pytest.mark.parametrize("method", ["dit", "sit", "sit-repa", "sit-irepa", "sit-reg"])
def test_lowest_weightings_on_hard_images_are_those_that_the_page_names(method):
    run = measured(method, "mini", 100, "mini-a")
    by_rule = {rule: share(run, rule, 100) for rule in WEIGHTINGS.values()}
    assert set(sorted(by_rule, key=by_rule.__getitem__)[:2]) == {"fm-ot", "inverse-snr"}


@pytest.mark.parametrize(
    ("shift", "benchmarks", "seeded"),
    [
        ("camelyon", ("mini-camelyon-id", "mini-camelyon-ood"), ("erm", "rwy", "stitching")),
        ("celeba", ("mini-celeba",), ("erm", "rwy", "stitching")),
        ("fmow", ("mini-fmow-id", "mini-fmow-ood"), ("erm", "rwy")),
    ],
)
def test_every_classifier_trained_on_a_shift_is_measured_on_it(shift, benchmarks, seeded):
    wanted = {(method, f"mini-{shift}-seed{seed}") for method in seeded for seed in (1, 2, 3)}
    wanted |= {("dit", f"mini-{shift}"), ("randar", f"mini-{shift}")}
    for benchmark in benchmarks:
        runs = [run for run in RUNS if run.spec["benchmark"] == benchmark]
        found = {(run.spec["method"], run.spec["variant"]) for run in runs}
        assert found == wanted
        for run in runs:
            assert run.spec["subset"] == "full"
            assert run.summary["coverage"]["scored"] == len(run.spec["sample_ids"])


@pytest.mark.parametrize("run", RUNS + ANALYSES, ids=lambda run: run.name)
def test_summary_agrees_with_the_predictions_beside_it(run):
    frame = run.predictions()
    assert list(frame["sample_id"]) == run.spec["sample_ids"]
    assert list(frame["label"]) == run.spec["labels"]
    for name, counts in run.summary["accuracy"].items():
        assert counts["correct"] == int((frame[name] == frame["label"]).sum())
        assert counts["total"] == len(frame)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda run: run.name)
def test_all_tokens_together_are_as_often_right_as_the_run(analysis):
    tokens, accuracy = analysis.tokens, analysis.summary["accuracy"]
    for at, trials in enumerate(tokens.trials):
        assert tokens.first_right[at, -1] == accuracy[f"mean@{trials}"]["correct"]
        assert tokens.last_right[at, -1] == tokens.first_right[at, -1]
    assert tokens.total == len(analysis.spec["sample_ids"])
    assert (analysis.path / "tokens.npz").stat().st_size < 300_000


@pytest.mark.parametrize("run", RUNS + ANALYSES, ids=lambda run: run.name)
def test_run_is_of_the_shipped_weights_and_data(run, registry):
    from gcbench.method import Runtime

    spec = run.spec
    cls = registry.method(spec["method"])
    method = cls(cls.variant_named(spec["variant"]), Runtime())
    assert spec["weights"] == method.weights()
    assert spec["scoring_version"] == method.scoring_version
    assert spec["preprocessing"] == method.preprocessing
    benchmark = registry.benchmark(spec["benchmark"]).choose(spec["subset"])
    assert spec["benchmark_digest"] == benchmark.digest
    assert spec["samples_digest"] == benchmark.samples_digest


@pytest.mark.parametrize("run", RUNS + ANALYSES, ids=lambda run: run.name)
def test_provenance_names_the_commit_it_was_measured_at(run):
    origin = run.summary["provenance"]
    assert re.fullmatch(r"[0-9a-f]{40}", origin["commit"])
    assert origin["dirty"] is False
