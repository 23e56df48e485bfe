"""The run key: everything that can move a score is in it, nothing else is."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.errors import GcbenchError
from gcbench.plan import SHARD_SIZE, RunSpec, plan
from gcbench.store import Store

CHANGES = {
    str: lambda v: v + "x",
    int: lambda v: v + 1,
    dict: lambda v: {**v, "model": "00"},
    tuple: lambda v: (*v, 99),
}


@pytest.mark.parametrize("name", [f.name for f in fields(RunSpec)])
def test_every_field_of_the_spec_changes_the_key(plan_toy, name):
    spec = plan_toy().spec
    value = getattr(spec, name)
    assert replace(spec, **{name: CHANGES[type(value)](value)}).key != spec.key


def test_equal_specs_have_equal_keys_and_names(plan_toy):
    assert plan_toy("a").spec.run_name == plan_toy("b").spec.run_name


def test_run_name_is_a_plain_folder_name(plan_toy, registry):
    name = plan_toy(bench="greys:broken").spec.run_name
    assert name.startswith("grey-level.tiny.greys_broken.full.")
    assert not set(name) & set("/:\\ ")


@given(st.integers(1, 5))
def test_shards_cover_every_sample_once(registry, tmp_path_factory, n):
    method = registry.method("grey-level")
    benchmark = registry.benchmark("greys").choose(f"first-{3 * n}")
    from gcbench.method import Runtime

    store = Store(tmp_path_factory.getbasetemp() / "plan").create()
    made = method(method.variants[0], Runtime())
    (planned,) = plan([made], [benchmark], store, trials=1, seed=0)
    positions = [p for i in range(planned.shard_count) for p in planned.shard_samples(i)]
    assert positions == list(range(len(benchmark)))
    assert all(len(planned.shard_samples(i)) <= SHARD_SIZE for i in range(planned.shard_count))


def test_status_goes_from_missing_over_partial_to_cached(plan_toy):
    from gcbench.engine.run import BatchSize, execute, score_shard

    planned = plan_toy("a")
    assert planned.status == "missing"
    planned.run.begin(planned.record())
    planned.method.load()
    planned.run.write_shard(score_shard(planned, 1, BatchSize(64)))
    assert plan_toy("a").status == "partial"
    execute(plan_toy("a"))
    assert plan_toy("a").status == "cached"


def test_more_trials_than_orders_are_refused(registry):
    raster = registry.method("randar-raster")
    with pytest.raises(GcbenchError, match="got 20 trials, but it has only 1"):
        raster.check_trials(20)
