"""What there is of every cell, and the commands that fill the rest."""

import json

import pytest
from checkout import ROOT
from stored_runs import hits, record

from gcbench.engine.locks import exclusive, held
from gcbench.report.layouts import LAYOUTS
from gcbench.status import CellState, TableState, as_json, as_text, fill_commands, table_states
from gcbench.store import Store


def states(store: Store, number: int = 2) -> TableState:
    (table,) = table_states(store.runs(), store.tokenizers(), "mini", number)
    return table


def of(table: TableState, method: str, column: str) -> CellState:
    return next(c for c in table.cells if (c.row[-1], c.column) == (method, column))


def test_every_table_has_its_counts(store: Store):
    tables = table_states(store.runs(), store.tokenizers(), "mini")
    assert [table.number for table in tables] == list(LAYOUTS)
    assert all(table.counts["missing"] == len(table.cells) > 0 for table in tables)


def test_a_whole_run_is_done_and_a_subset_says_so(store: Store):
    record(store, "randar", "mini-val", hits(7, 10))
    record(store, "randar", "mini-r", hits(7, 10), subset="first-1")
    table = states(store)
    assert of(table, "RandAR", "mini-val").word == "done"
    assert of(table, "RandAR", "mini-r").reason == "the subset first-1: 10 images"
    assert table.counts["done"] == 2


def test_an_unfinished_run_is_partial_until_a_process_holds_a_lock_of_it(store: Store):
    run = record(store, "randar", "mini-val", hits(7, 10), scored=8, seed=4)
    cell = of(states(store), "RandAR", "mini-val")
    assert (cell.state, cell.word) == ("partial", "partial 8/10")
    assert cell.fill.endswith("--trials 20 --seed 4")
    with exclusive(run.path / "locks" / "00001", wait=False):
        cell = of(states(store), "RandAR", "mini-val")
        assert (cell.state, cell.word, cell.fill) == ("running", "running 8/10", "")
    assert of(states(store), "RandAR", "mini-val").state == "partial"


def test_a_run_that_has_just_begun_is_running(store: Store):
    run = record(store, "randar", "mini-val", hits(7, 10), scored=0)
    assert of(states(store), "RandAR", "mini-val").state == "missing"
    with exclusive(run.path / "locks" / "00000", wait=False):
        assert of(states(store), "RandAR", "mini-val").word == "running 0/10"


def test_a_finished_run_without_some_of_its_images_has_failed(store: Store):
    run = record(store, "randar", "mini-val", hits(7, 10), scored=9)
    run.finish({"coverage": {"failures": {"mini-val/0009": "truncated file"}}})
    cell = of(states(store), "RandAR", "mini-val")
    assert (cell.state, cell.scored, cell.total) == ("failed", 9, 10)
    assert cell.reason == "1 images failed, first mini-val/0009: truncated file"
    assert "--rerun failed" in cell.fill


def test_a_lock_file_that_nobody_holds_is_no_lock(tmp_path):
    assert not held(tmp_path / "nowhere")
    with exclusive(tmp_path / "locks" / "1", wait=True):
        assert held(tmp_path / "locks")
    assert (tmp_path / "locks" / "1").is_file()
    assert not held(tmp_path / "locks")


def test_commands_are_merged_per_method_and_variant(store: Store):
    record(store, "randar", "mini-val", hits(7, 10))
    tables = table_states(store.runs(), store.tokenizers(), "mini")
    commands = fill_commands(tables)
    (raster,) = [c for c in commands if "randar-raster" in c]
    assert raster == (
        "gcbench run --method randar-raster --variant mini "
        "--bench mini-val,mini-r,mini-s,mini-a,mini-c-gauss,mini-c-jpeg"
    )
    assert (
        "gcbench run --method randar --variant mini "
        "--bench mini-r,mini-s,mini-a,mini-c-gauss,mini-c-jpeg --trials 20"
    ) in commands
    assert "gcbench tokenizer --tokenizer mini-vq --bench mini-val" in commands
    assert len(set(commands)) == len(commands)


def test_no_command_is_given_for_what_no_run_can_fill(store: Store):
    table = states(store, 6)
    assert {cell.state for cell in table.cells} == {"missing"}
    assert "no sigma-stitching of more than two classes" in {c.reason for c in table.cells}
    stitching = [c for c in fill_commands([table]) if "stitching" in c]
    assert not any("mini-fmow" in command for command in stitching)


def test_text_and_json_say_the_same(store: Store):
    record(store, "randar", "mini-val", hits(7, 10))
    tables = table_states(store.runs(), store.tokenizers(), "mini", 1)
    text, data = as_text(tables), as_json(tables, "mini")
    assert "accuracy: 5 done, 19 missing\n" in text
    assert data["tables"][0]["counts"] == {
        **{"done": 5, "partial": 0, "running": 0, "failed": 0, "missing": 19}
    }
    assert data["commands"] == [line for line in text.splitlines() if line.startswith("gcbench ")]
    assert data["tables"][0]["cells"][0]["row"] == {"Token order": "raster", "K": "1"}


@pytest.mark.parametrize("suite", ["mini", "imagenet", "wilds"])
def test_the_command_prints_json_for_every_suite(gcbench, suite):
    result = gcbench("status", "--suite", suite, "--json", "--results", ROOT / "results" / "mini")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    done = sum(table["counts"]["done"] for table in data["tables"])
    assert (done > 0) == (suite == "mini")
