"""Committed measurements of tokenizers: of the shipped weights, whole, and shown as they are."""

import re

import pytest
from checkout import ROOT

from gcbench.features import MiniReference
from gcbench.report.layouts import suite_of
from gcbench.store import Store
from gcbench.tokenizers import tokenizer_named

MINI = ROOT / "results" / "mini"
RECORDS = {record["tokenizer"]: record for record in Store(MINI).tokenizers()}
LEVELS = [0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3]


def test_all_tokenizers_of_table_3_are_measured_and_none_twice():
    assert RECORDS.keys() == set(suite_of("mini").tokenizers)
    assert len(list((MINI / "tokenizers").glob("*.json"))) == len(RECORDS)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_record_is_of_the_shipped_weights_and_the_whole_benchmark(record, registry):
    tokenizer = tokenizer_named(record["tokenizer"])
    benchmark = registry.benchmark("mini-val")
    assert record["weights"] == tokenizer.weights()
    assert record["preprocessing"] == tokenizer.preprocessing
    assert record["features"]["weights"] == MiniReference().weights()
    assert record["benchmark_digest"] == benchmark.digest
    assert record["samples_digest"] == benchmark.samples_digest
    assert [level["t"] for level in record["levels"]] == LEVELS


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_record_names_the_commit_it_was_measured_at(record):
    for level in record["levels"]:
        assert re.fullmatch(r"[0-9a-f]{40}", level["provenance"]["commit"])
        assert level["provenance"]["dirty"] is False


def test_the_page_shows_the_committed_table():
    page = (ROOT / "docs" / "tokenizers.md").read_text()
    shown = re.search(r"<!-- table 3 -->\n(.*)\n<!-- /table 3 -->", page, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == (MINI / "tables" / "table3.md").read_text().strip()
