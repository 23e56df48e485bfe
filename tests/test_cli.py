"""The command line as a person meets it: clear errors, exit codes, nothing half-written."""

import json
import re

import pytest
from checkout import ROOT

from gcbench.store import Store

RUN = ("run", "--method", "grey-level", "--bench", "greys")


def run(method="grey-level", bench="greys"):
    return ("run", "--method", method, "--bench", bench)


# Each mistake with what its line must say: what was got, what was expected, what to do.
MISTAKES = {
    "unknown method": (run(method="grey-leval"), "unknown method 'grey-leval'", "'grey-level'"),
    "unknown benchmark": (run(bench="gray"), "unknown benchmark 'gray'", "'greys'"),
    "unknown suite": (run(bench="suite:maxi"), "unknown suite 'maxi'", "known: "),
    "unknown variant": ((*RUN, "--variant", "tinny"), "unknown variant", "'tiny'"),
    "unknown rule": ((*RUN, "--rule", "mean-log"), "unknown rule 'mean-log'", "known: "),
    "unknown precision": ((*RUN, "--precision", "fp23"), "unknown precision", "'fp32'"),
    "unknown protocol": ((*RUN, "--protocol", "pub"), "unknown protocol", "'published'"),
    "unknown subset": ((*RUN, "--subset", "last-3"), "unknown subset", "first-N"),
    "unknown device": ((*RUN, "--device", "abacus"), "device 'abacus'", "--device auto"),
    "no trials": ((*RUN, "--trials", "0"), "got 0 trials, expected at least 1", "--trials"),
    "no samples": ((*RUN, "--limit-per-class", "0"), "expected at least 1", "all samples"),
    "no batch": ((*RUN, "--batch-size", "0"), "expected a positive number or 'auto'", "auto"),
    "two subsets": (
        (*RUN, "--limit-per-class", "2", "--subset", "full"),
        "both choose samples",
        "one of them",
    ),
    "label spaces": (
        (*RUN, "--variant", "other"),
        "knows the classes of 'animals', greys asks for 'grey-5'",
        "same label space",
    ),
    "role": ((*RUN, "--checkpoint", "vae=x.pt"), "has no network 'vae'", "its networks"),
    "unknown table": (("report", "--table", "99"), "unknown table 99", "known: 1 to 10"),
    "no results": (
        ("report", "--table", "1", "--results", "nowhere"),
        "no results folder",
        "run something",
    ),
    "no plugins": (("--plugins", "nowhere", "list"), "no such folder", ""),
    "unknown recipe": (("train", "mini-rondar"), "unknown recipe 'mini-rondar'", "known: "),
    "unknown data": (
        ("fetch", "fashion-mnis"),
        "unknown data set, method or checkpoint",
        "fashion-mnist",
    ),
    "no fixture": (("parity", "nowhere"), "nowhere", ""),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_clear_line_with_exit_code_2(gcbench, tmp_path, monkeypatch, name):
    arguments, got, hint = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    result = gcbench(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert got in lines[0]
    assert hint in result.stderr
    assert len(lines) <= 2
    assert not list(tmp_path.rglob("*.parquet"))


def test_results_folder_of_another_version_is_left_alone(gcbench, tmp_path):
    (tmp_path / "store.json").write_text('{"schema": 0}')
    result = gcbench(*RUN, "--results", tmp_path)
    assert result.exit_code == 2
    assert "holds results of schema 0" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["store.json"]


def test_results_path_that_is_a_file_is_refused(gcbench, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = gcbench(*RUN, "--results", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_run_prints_accuracy_interval_images_evaluations_and_seconds(gcbench, tmp_path):
    result = gcbench(*RUN, "--trials", "4", "--limit-per-class", "6", "--results", tmp_path)
    assert result.exit_code == 0, result.output
    number = r"\d\.\d{3}"
    assert re.search(
        rf"grey-level tiny · greys \(first-6\): accuracy {number} \[{number}, {number}\] "
        rf"\(mean, K=4\) · 30 images · 20 evaluations/image · {number} s/image",
        result.output,
    ), result.output


def test_partial_result_names_the_sample_and_exits_with_3(gcbench, tmp_path):
    result = gcbench(*run(bench="greys:broken"), "--results", tmp_path)
    assert result.exit_code == 3
    assert "PARTIAL: 1 unreadable, first grey-003" in result.output
    assert "79 images" in result.output


def test_dry_run_prints_the_bill_and_writes_nothing(gcbench, tmp_path):
    result = gcbench(*RUN, "--dry-run", "--results", tmp_path / "new")
    assert result.exit_code == 0
    assert "2,400" in result.output  # 80 images x 6 trials x 5 classes
    assert "missing" in result.output
    assert not (tmp_path / "new").exists()


def test_run_records_what_it_did(gcbench, tmp_path):
    assert gcbench(*RUN, "--results", tmp_path, "--rule", "log-mean-exp").exit_code == 0
    (stored,) = Store(tmp_path).runs()
    assert stored.spec["trials"] == 6
    assert stored.spec["sample_ids"][:2] == ["grey-000", "grey-001"]
    assert stored.summary["evaluations_per_image"] == 30
    assert stored.summary["provenance"]["torch"]
    total = stored.summary["accuracy"]["mean@6"]["total"]
    assert total == len(stored.predictions()) == 80
    json.dumps(stored.summary, allow_nan=False)


def test_interrupt_says_how_to_go_on(gcbench, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gcbench.engine.run.score_shard", interrupt)
    result = gcbench(*RUN, "--results", tmp_path)
    assert result.exit_code == 130
    assert "interrupted at once; the shard at hand is lost" in result.stderr
    assert "resume with: gcbench --plugins" in result.stderr


def test_list_names_every_method_and_benchmark(gcbench, registry):
    output = gcbench("list").output
    for name in (*registry.methods, *registry.benchmark_names):
        assert name in output


def test_checkpoint_that_does_not_fit_leaves_no_trace(gcbench, tmp_path):
    weights = ROOT / "baselines" / "weights" / "mini-vq.safetensors"
    result = gcbench(
        *("run", "--method", "randar", "--bench", "mini-s", "--limit-per-class", "1"),
        *("--checkpoint", weights, "--results", tmp_path / "results"),
    )
    assert result.exit_code == 2
    assert "does not fit RandAR: " in result.stderr
    assert "missing keys, first 'pos_instruct_embeddings'" in result.stderr
    assert not list((tmp_path / "results" / "runs").iterdir())


def test_shipped_weights_that_were_changed_are_refused(gcbench, tmp_path, monkeypatch):
    monkeypatch.setattr("gcbench.checkpoint.sha256_of", lambda file: "0" * 64)
    result = gcbench("run", "--method", "randar", "--bench", "mini-s", "--results", tmp_path)
    assert result.exit_code == 2
    assert f"has sha256 {'0' * 64}, its card names " in result.stderr


def test_label_spaces_are_compared_before_weights_are_looked_for(gcbench, tmp_path):
    result = gcbench("run", "--method", "randar:l", "--bench", "mini-s", "--results", tmp_path)
    assert result.exit_code == 2
    assert "knows the classes of 'imagenet-1k', mini-s asks for 'fashion-10'" in result.stderr
