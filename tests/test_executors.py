"""Several processes on one run: the bits of one, whoever dies; devices as they are asked for."""

import sys
from dataclasses import replace

import pytest
from checkout import ROOT

from gcbench.engine.devices import Place, places, usable_cores
from gcbench.engine.run import execute
from gcbench.errors import GcbenchError
from gcbench.executors import Sharing, part_of

RUN = ("run", "--method", "grey-level", "--bench", "greys")
CORES = [0, 1, 2, 3, 6]


@pytest.fixture
def digest(plan_toy):
    """Of the scores that a single process gives."""
    planned = plan_toy("single")
    execute(planned)
    return planned.run.summary["scores_digest"]


def digest_in(plan_toy, folder):
    return plan_toy(folder).run.summary["scores_digest"]


# Devices


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("2", 0, [Place("cpu", (0, 1)), Place("cpu", (2, 3))]),
        ("5", 0, [Place("cpu", (core,)) for core in CORES]),
        ("2", 4, [Place("cuda:0"), Place("cuda:1")]),
        ("cuda:0,cuda:3", 4, [Place("cuda:0"), Place("cuda:3")]),
        ("cpu:0-1, cpu:2-3", 0, [Place("cpu", (0, 1)), Place("cpu", (2, 3))]),
        ("cpu:6", 0, [Place("cpu", (6,))]),
        ("cuda:1,cpu:0-3", 2, [Place("cuda:1"), Place("cpu", (0, 1, 2, 3))]),
    ],
)
def test_devices_are_a_number_or_a_list(text, gpus, expected):
    assert places(text, gpus=gpus, cores=CORES) == expected


@pytest.mark.parametrize(
    ("text", "gpus", "problem"),
    [
        ("0", 0, "no device"),
        (",", 0, "no device"),
        ("6", 0, "there are 5 cores, each worker needs one"),
        ("3", 2, "this machine has 2 GPUs"),
        ("cuda:2", 2, "cuda:2 is not there, there are 2 GPUs"),
        ("cuda", 2, "got 'cuda'"),
        ("cpu:3-2", 0, "got 'cpu:3-2'"),
        ("cpu:0-", 0, "got 'cpu:0-'"),
        ("tpu:0", 0, "got 'tpu:0'"),
        ("cpu:4-6", 0, "core 4 of cpu:4-6 is not there"),
        ("cpu:0-1,cpu:1-2", 0, "core 1 is named twice"),
        ("cuda:0,cuda:0", 1, "cuda:0 is named twice"),
    ],
)
def test_impossible_devices_are_refused(text, gpus, problem):
    with pytest.raises(GcbenchError, match=problem):
        places(text, gpus=gpus, cores=CORES)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Place("cuda:1"), "cuda:1"),
        (Place("cpu", (0, 1, 2)), "cpu:0-2"),
        (Place("cpu", (5,)), "cpu:5"),
        (Place("cpu", (0, 2)), "cpu:0+2"),
    ],
)
def test_place_is_named_as_it_is_asked_for(place, name):
    assert place.name == name


def test_parts_of_a_part_cover_it_once():
    whole = Sharing(part=(2, 3))
    shards = range(100)
    mine = list(shards)[1::3]
    parts = [part_of(whole, number, 4).part for number in range(4)]
    found = sorted(i for index, count in parts for i in shards[index - 1 :: count])
    assert found == mine


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": "auto"}, "that of a Ray cluster"),
        ({"kind": "ray", "part": (1, 2)}, "shares out the shards itself"),
    ],
)
def test_contradictions_are_refused(options, problem):
    with pytest.raises(GcbenchError, match=problem):
        Sharing(**options)


def test_worker_stops_when_the_process_that_started_it_is_gone():
    import os
    import signal

    assert Sharing(worker=os.getppid()).until(lambda: None)() is None
    assert Sharing(worker=os.getppid() + 1).until(lambda: None)() == signal.SIGTERM
    assert Sharing().until(lambda: 2)() == 2


# Processes


@pytest.fixture
def with_workers(gcbench, monkeypatch, tmp_path):
    """Runs the toy method on devices, by default the first core; `env` is what workers see."""

    def call(*arguments, devices=None, bench="greys", **env):
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        run = ("run", "--method", "grey-level", "--bench", bench, "--results", tmp_path / "b")
        return gcbench(*run, "--devices", devices or f"cpu:{usable_cores()[0]}", *arguments)

    return call


@pytest.mark.skipif(len(usable_cores()) < 2, reason="two groups of cores need two cores")
def test_two_workers_of_which_one_is_killed_give_the_bits_of_one_process(
    with_workers, plan_toy, tmp_path, digest
):
    once = str(tmp_path / "once")
    done = with_workers(devices="2", TOY_SIGNALS="5:SIGKILL", TOY_ONCE=once)
    assert done.exit_code == 0, done.output
    assert "died (SIGKILL: it said nothing); it is started again" in done.stdout
    assert "80 images" in done.stdout
    assert digest_in(plan_toy, "b") == digest


def test_workers_that_always_die_end_the_run_with_their_last_words(with_workers):
    done = with_workers(TOY_SIGNALS="1:SIGKILL")
    assert done.exit_code == 1
    assert done.stdout.count("died (SIGKILL") == 3
    assert "its shards are left to the others" in done.stdout
    assert f"every worker died; the last words of cpu:{usable_cores()[0]}" in done.stderr


def test_mistake_that_a_worker_meets_is_told_once(with_workers):
    done = with_workers(TOY_MEMORY="0")
    assert done.exit_code == 2
    assert done.stderr.count("out of memory with a single evaluation at a time") == 1
    assert "hint: use a smaller variant" in done.stderr


def test_signal_is_passed_on_and_the_run_says_how_to_resume(gcbench_process, plan_toy, tmp_path):
    """Sent to the parent alone, by its worker, which waits for it to come back."""
    command = (*RUN, "--results", tmp_path / "b", "--devices", f"cpu:{usable_cores()[0]}")
    stopped = gcbench_process(*command, TOY_SIGNAL_PARENT="20:SIGINT")
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped with 1 of 3 shards stored" in stopped.stderr
    assert "resume with: gcbench --plugins" in stopped.stderr
    assert plan_toy("b").missing_shards == [1, 2]


def test_rerun_of_all_computes_every_shard_once(with_workers, plan_toy, digest):
    planned = plan_toy("b")
    execute(planned)
    stamps = {p: p.stat().st_mtime_ns for p in planned.run.path.glob("scores-*")}
    assert with_workers("--rerun", "all").exit_code == 0
    assert all(p.stat().st_mtime_ns > stamp for p, stamp in stamps.items())
    assert digest_in(plan_toy, "b") == digest


def test_partial_results_of_workers_are_a_partial_result(with_workers):
    done = with_workers(bench="greys:poison")
    assert done.exit_code == 3, done.stderr
    assert "PARTIAL: 2 " in done.stdout


def test_finished_run_starts_no_worker(with_workers, plan_toy, monkeypatch):
    execute(plan_toy("b"))
    monkeypatch.setattr("subprocess.Popen", None)
    assert with_workers().exit_code == 0


# Ray


def test_ray_survives_a_killed_worker_with_the_bits_of_one_process(
    gcbench_process, plan_toy, tmp_path, digest
):
    """A local cluster of two workers, one of which is killed; results are stored by the driver."""
    pytest.importorskip("ray")
    done = gcbench_process(
        *(*RUN, "--results", tmp_path / "b", "--executor", "ray", "--devices", "2"),
        TOY_SIGNALS="5:SIGKILL",
        TOY_ONCE=str(tmp_path / "once"),
    )
    assert done.returncode == 0, done.stderr
    assert "a worker died at shard " in done.stdout
    assert digest_in(plan_toy, "b") == digest
    assert len({shard.worker for shard in plan_toy("b").run.shards()}) >= 2


def test_ray_that_is_not_installed_says_how_to_get_it(gcbench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = gcbench(*RUN, "--results", tmp_path, "--executor", "ray")
    assert result.exit_code == 2
    assert "pip install 'gcbench[ray]'" in result.stderr


def test_ray_takes_a_number_of_workers(gcbench, tmp_path):
    pytest.importorskip("ray")
    result = gcbench(*RUN, "--results", tmp_path, "--executor", "ray", "--devices", "cuda:0")
    assert result.exit_code == 2
    assert "it is the number of workers" in result.stderr


class Answer:
    """What stands for Ray's reference to a shard being computed."""

    def __init__(self, give):
        self.give = give


class Actor:
    """Computes a shard at once, in this process, or dies of it."""

    def __init__(self, planned, deadly=()):
        self.planned, self.deadly = planned, deadly
        self.score = self

    def remote(self, run_name, index):
        import ray

        from gcbench.engine.run import ShardScorer

        def give():
            if index in self.deadly:
                raise ray.exceptions.ActorDiedError()
            scorer = ShardScorer(self.planned, None)
            return replace(scorer(index), worker="actor"), scorer.size

        return Answer(give)


@pytest.fixture
def ray_here(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "wait", lambda refs, num_returns, timeout: (refs[:1], refs[1:]))
    monkeypatch.setattr(ray, "get", lambda reference: reference.give())
    monkeypatch.setattr(ray, "kill", lambda actor: None)


def on_ray(crew, planned, **how):
    from gcbench.engine.ray_cluster import execute_on

    options = {"rerun": "missing", "stop": lambda: None, "on_shard": lambda shard: None}
    options |= {"batch_size": None, "note": lambda line: None, "hire": lambda: Actor(planned)}
    return execute_on(crew, planned, **{**options, **how})


def test_dead_actor_is_replaced(ray_here, plan_toy, digest):
    planned = plan_toy("b")
    crew = [Actor(planned, deadly=(1,))]
    assert on_ray(crew, planned) is True
    assert crew[0].deadly == ()
    assert digest_in(plan_toy, "b") == digest


def test_ray_replaces_failures_and_their_summary(ray_here, plan_toy, registry, digest):
    broken = registry.benchmark("greys:broken")
    planned = plan_toy("b", benchmark=broken)
    assert on_ray([Actor(planned)], planned) is True
    assert planned.run.summary["coverage"]["scored"] == 79
    healed = replace(broken, samples=registry.benchmark("greys").samples)
    again = plan_toy("b", benchmark=healed)
    assert on_ray([Actor(again), Actor(again)], again, rerun="failed") is True
    assert again.run.summary["scores_digest"] == digest


def test_ray_records_the_batch_size_that_memory_allowed(ray_here, plan_toy, monkeypatch):
    monkeypatch.setenv("TOY_MEMORY", "10")
    planned = plan_toy("b")
    on_ray([Actor(planned)], planned)
    assert planned.run.summary["batch_size"] == 8
    assert planned.run.summary["batch_size_backed_off"] is True


def test_shard_that_kills_every_worker_is_named(ray_here, plan_toy):
    planned = plan_toy("b")
    with pytest.raises(GcbenchError, match="shard 1 has killed 3 workers") as caught:
        on_ray([Actor(planned, (1,))], planned, hire=lambda: Actor(planned, (1,)))
    assert caught.value.exit_code == 1
    # Nothing is held any more: another process can go on.
    execute(plan_toy("b"))


def test_ray_stops_when_asked_with_what_was_out_stored(ray_here, plan_toy, digest):
    planned, shown = plan_toy("b"), []
    with pytest.raises(GcbenchError, match="stopped with 1 of 3 shards stored") as caught:
        on_ray(
            [Actor(planned)],
            planned,
            stop=lambda: 15 if shown else None,
            on_shard=shown.append,
        )
    assert caught.value.exit_code == 143
    assert on_ray([Actor(planned)], planned) is True
    assert digest_in(plan_toy, "b") == digest
