"""Jobs of Slurm, through the package submitit.

A run is an array job, one part per task; a training is one job, with a launcher on every node.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcbench.errors import PARTIAL_RESULT, GcbenchError

# Where the launchers of a training find each other, on its first node.
_PORT = 29500


class PartJob:
    """What a task of the array does: one part of a run, as a process of its own.

    Parts share the results folder and resume by themselves, so a task that Slurm takes back before
    it is done is put into the queue again as it was.
    """

    def __init__(self, arguments: Sequence[str], count: int):
        self.arguments = list(arguments)
        self.count = count

    def command(self, index: int) -> list[str]:
        """The command of part `index`, from 1."""
        python = [sys.executable, "-m", "gcbench.cli"]
        return [*python, *self.arguments, "--shard", f"{index}/{self.count}"]

    def __call__(self, index: int) -> int:
        """The part's exit code. Raises CalledProcessError for one that a person must look at."""
        done = subprocess.run(self.command(index), check=False)
        if done.returncode not in (0, PARTIAL_RESULT):
            raise subprocess.CalledProcessError(done.returncode, self.command(index))
        return done.returncode

    def checkpoint(self, index: int) -> Any:
        """What submitit queues when Slurm announces that the task has to go."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, index)


class TrainingJob:
    """What the task on every node does: its processes of one training, started by torchrun.

    A training resumes from its checkpoint, so a job that Slurm takes back is queued as it was.
    """

    def __init__(self, arguments: Sequence[str], nodes: int, processes: int):
        self.arguments = list(arguments)
        self.nodes, self.processes = nodes, processes

    def command(self, host: str, job: str) -> list[str]:
        """The command of every node, where `host` is the first one."""
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", str(self.nodes), "--nproc-per-node", str(self.processes)),
            *("--rdzv-backend", "c10d", "--rdzv-id", job, "--rdzv-endpoint", f"{host}:{_PORT}"),
            *("-m", "gcbench.cli", *self.arguments),
        ]

    def __call__(self) -> int:
        """Zero. Raises CalledProcessError for an error that a person must look at."""
        from submitit import JobEnvironment

        here = JobEnvironment()
        return subprocess.run(self.command(here.hostnames[0], here.job_id), check=True).returncode

    def checkpoint(self) -> Any:
        """What submitit queues when Slurm announces that the job has to go."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def job_of(arguments: Sequence[str], jobs: int, nodes: int, gpus: int) -> PartJob | TrainingJob:
    """What the arguments of gcbench are as a job.

    Raises:
        GcbenchError: they are neither a run nor a training, or cannot be divided so.
    """
    if "run" in arguments or "train" not in arguments:
        if nodes > 1:
            raise GcbenchError(
                f"the parts of a run are on a node each, got {nodes} nodes", hint="use --jobs"
            )
        return part_job(arguments, jobs)
    if jobs > 1:
        raise GcbenchError(
            f"a training is one job, got {jobs}",
            hint="use --nodes and --gpus: they share its steps",
        )
    return TrainingJob(arguments, nodes, max(1, gpus))


def part_job(arguments: Sequence[str], count: int) -> PartJob:
    """The job of `count` parts.

    Raises:
        GcbenchError: the arguments are no run, or choose a part themselves.
    """
    if "run" not in arguments:
        raise GcbenchError(
            f"only a run or a training can be submitted, got {shlex.join(arguments) or 'nothing'}",
            hint="gcbench submit --slurm [options] -- run ..., or -- train RECIPE ...",
        )
    if any(word.partition("=")[0] == "--shard" for word in arguments):
        raise GcbenchError("submit chooses the parts itself", hint="leave --shard out, use --jobs")
    return PartJob(arguments, count)


def script(job: PartJob | TrainingJob, folder: Path, options: Mapping[str, Any]) -> str:
    """What sbatch would be given, and after it, as comments, the commands of its tasks."""
    from submitit.slurm.slurm import SlurmExecutor

    class Elsewhere(SlurmExecutor):
        """Writes the script where there is no Slurm to submit it to."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = Elsewhere(folder)
    executor.update_parameters(**options)
    if isinstance(job, PartJob):
        executor.parameters["map_count"] = job.count
        commands = {f"task {i}": job.command(i + 1) for i in range(job.count)}
    else:
        commands = {"every node": job.command("FIRST-NODE", "JOB")}
    # submitit has no public way to show its script.
    text = str(executor._make_submission_file_text(executor._submitit_command_str, "dry-run"))
    tasks = [f"# {where}: {shlex.join(command)}" for where, command in commands.items()]
    return "\n".join([text.rstrip(), "", *tasks])


def submit(
    arguments: Sequence[str],
    *,
    jobs: int,
    folder: Path,
    dry_run: bool,
    options: Mapping[str, Any],
    nodes: int = 1,
) -> str:
    """Submits the job and returns what to tell: its id, or the script of a dry run.

    Args:
        arguments: of gcbench, with `run` or `train`.
        jobs: parts of a run.
        nodes: that share a training.
        folder: for the tasks' logs.
        options: Slurm's, under submitit's names; those that are None are left to the cluster.

    Raises:
        GcbenchError: submitit is not installed, there is no Slurm here, or it refuses the job.
    """
    try:
        from submitit.core.utils import FailedJobError
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError:
        raise GcbenchError(
            "submitting to Slurm needs the package submitit", hint="pip install 'gcbench[slurm]'"
        ) from None
    job = job_of(arguments, jobs, nodes, options.get("gpus_per_node") or 1)
    if isinstance(job, TrainingJob):
        options = {**options, "nodes": nodes, "ntasks_per_node": 1, "array_parallelism": None}
    chosen = {"job_name": "gcbench", **{k: v for k, v in options.items() if v is not None}}
    if dry_run:
        return script(job, folder, chosen)
    try:
        executor = SlurmExecutor(folder)
        executor.update_parameters(**chosen)
        if isinstance(job, TrainingJob):
            submitted, what = [executor.submit(job)], "a training"
        else:
            submitted, what = executor.map_array(job, range(1, jobs + 1)), f"{jobs} parts"
    except (RuntimeError, OSError, FailedJobError) as error:
        raise GcbenchError(
            f"Slurm did not take the job ({(str(error).splitlines() or ['no reason'])[0]})",
            hint="run this where sbatch works; --dry-run shows the script",
        ) from error
    return f"submitted job {submitted[0].job_id.partition('_')[0]}: {what}, logs in {folder}"
