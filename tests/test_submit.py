"""Runs as array jobs: the script that is shown, and submission itself with a stand-in sbatch."""

import subprocess
import sys

import pytest

from gcbench.errors import GcbenchError
from gcbench.submit import PartJob, TrainingJob, job_of, part_job

pytest.importorskip("submitit")

RUN = ("run", "--method", "grey-level", "--bench", "greys")


def test_dry_run_shows_the_script_and_every_task_and_writes_nothing(gcbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = gcbench(
        *("submit", "--slurm", "--jobs", "3", "--partition", "gpu", "--gpus", "1", "--time", "90"),
        *("--at-once", "2", "--setup", "module load cuda", "--dry-run", "--", *RUN),
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for line in (
        "#!/bin/bash",
        "#SBATCH --array=0-2%2",
        "#SBATCH --job-name=gcbench",
        "#SBATCH --partition=gpu",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --time=90",
        "module load cuda",
    ):
        assert line in lines
    tasks = [line for line in lines if line.startswith("# task ")]
    assert [task.rsplit(" ", 1)[1] for task in tasks] == ["1/3", "2/3", "3/3"]
    assert all("-m gcbench.cli --plugins " in task and " run --method " in task for task in tasks)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "only a run or a training can be submitted"),
        (("report", "--table", "1"), "only a run or a training can be submitted"),
        (("train", "mini-vit", "--sede", "1"), "No such option"),
        ((*RUN, "--shard", "1/2"), "chooses the parts itself"),
        ((*RUN, "--shard=1/2"), "chooses the parts itself"),
        (("run", "--methud", "x"), "No such option"),
        (("run", "--method", "x"), "Missing option '--bench'"),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_it_is(gcbench, arguments, problem):
    result = gcbench("submit", "--slurm", "--dry-run", "--", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_without_slurm_the_way_out_is_named(gcbench, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = gcbench("submit", "--slurm", "--logs", tmp_path / "logs", "--", *RUN)
    assert result.exit_code == 2
    assert "Slurm did not take the job" in result.stderr
    assert "--dry-run shows the script" in result.stderr


def test_package_that_is_not_installed_is_named(gcbench, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setitem(sys.modules, "submitit.core.utils", None)
    result = gcbench("submit", "--slurm", "--dry-run", "--", *RUN)
    assert result.exit_code == 2
    assert "pip install 'gcbench[slurm]'" in result.stderr


def test_array_is_given_to_sbatch(gcbench, tmp_path, monkeypatch):
    for name, answer in (("sbatch", "Submitted batch job 4711"), ("srun", "")):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/{name}.sh\necho {answer}\n')
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    logs = tmp_path / "logs"
    result = gcbench("submit", "--slurm", "--jobs", "2", "--logs", logs, "--", *RUN)
    assert result.exit_code == 0, result.output
    assert result.output == f"submitted job 4711: 2 parts, logs in {logs}\n"
    script = (tmp_path / "sbatch.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert len(list(logs.glob("4711_*_submitted.pkl"))) == 2


def test_task_runs_its_part_and_is_queued_again_as_it_was(monkeypatch):
    ran = []

    def run(command, check):
        ran.append(command)
        return subprocess.CompletedProcess(command, len(ran) - 1)

    monkeypatch.setattr(subprocess, "run", run)
    job = part_job(RUN, 4)
    assert job(3) == 0
    assert ran[0][1:] == ["-m", "gcbench.cli", *RUN, "--shard", "3/4"]
    with pytest.raises(subprocess.CalledProcessError):
        job(3)
    again = job.checkpoint(3)
    assert isinstance(again.function, PartJob)
    assert again.args == (3,)


def test_partial_result_of_a_part_is_no_failure(monkeypatch):
    done = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(subprocess, "run", lambda command, check: done)
    assert part_job(RUN, 1)(1) == 3


def test_job_without_a_run_is_refused():
    with pytest.raises(GcbenchError, match="only a run or a training can be submitted, got report"):
        part_job(("report",), 2)


def test_training_is_one_job_with_a_launcher_on_every_node(gcbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = gcbench(
        *("submit", "--slurm", "--nodes", "2", "--gpus", "8", "--dry-run", "--", "train"),
        *("randar-l", "--accumulate", "16"),
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for line in ("#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --gpus-per-node=8"):
        assert line in lines
    assert not any("--array" in line for line in lines)
    (launcher,) = (line for line in lines if line.startswith("# every node: "))
    assert "--nnodes 2 --nproc-per-node 8 " in launcher
    assert "--rdzv-id JOB --rdzv-endpoint FIRST-NODE:29500 -m gcbench.cli" in launcher
    assert launcher.endswith(" train randar-l --accumulate 16")
    assert list(tmp_path.iterdir()) == []


def test_node_joins_the_training_of_its_job_and_is_queued_again_as_it_was(monkeypatch):
    import submitit

    class Here:
        hostnames = ("node7", "node8")
        job_id = "4711"

    ran = []

    def run(command, check):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(submitit, "JobEnvironment", Here)
    monkeypatch.setattr(subprocess, "run", run)
    job = job_of(("train", "x.toml"), jobs=1, nodes=2, gpus=8)
    assert job() == 0
    assert ran[0][9:13] == ["--rdzv-id", "4711", "--rdzv-endpoint", "node7:29500"]
    assert isinstance(job.checkpoint().function, TrainingJob)


def test_trainings_and_runs_are_divided_in_their_own_ways():
    with pytest.raises(GcbenchError, match=r"a training is one job, got 3 \(use --nodes"):
        job_of(("train", "x.toml"), jobs=3, nodes=1, gpus=1)
    with pytest.raises(GcbenchError, match="the parts of a run are on a node each, got 2 nodes"):
        job_of(RUN, jobs=1, nodes=2, gpus=1)
