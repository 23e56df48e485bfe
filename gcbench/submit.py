"""A run as an array job of Slurm, one part per task, through the package submitit."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcbench.errors import PARTIAL_RESULT, GcbenchError


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


def part_job(arguments: Sequence[str], count: int) -> PartJob:
    """The job of `count` parts.

    Raises:
        GcbenchError: the arguments are no run, or choose a part themselves.
    """
    if "run" not in arguments:
        raise GcbenchError(
            f"only a run can be submitted, got {shlex.join(arguments) or 'nothing'}",
            hint="gcbench submit --slurm [options] -- run --method ... --bench ...",
        )
    if any(word.partition("=")[0] == "--shard" for word in arguments):
        raise GcbenchError("submit chooses the parts itself", hint="leave --shard out, use --jobs")
    return PartJob(arguments, count)


def script(job: PartJob, folder: Path, options: Mapping[str, Any]) -> str:
    """What sbatch would be given, and after it, as comments, the command of every task."""
    from submitit.slurm.slurm import SlurmExecutor

    class Elsewhere(SlurmExecutor):
        """Writes the script where there is no Slurm to submit it to."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = Elsewhere(folder)
    executor.update_parameters(**options)
    executor.parameters["map_count"] = job.count
    # submitit has no public way to show its script.
    text = str(executor._make_submission_file_text(executor._submitit_command_str, "dry-run"))
    tasks = [f"# task {i}: {shlex.join(job.command(i + 1))}" for i in range(job.count)]
    return "\n".join([text.rstrip(), "", *tasks])


def submit(
    arguments: Sequence[str], *, jobs: int, folder: Path, dry_run: bool, options: Mapping[str, Any]
) -> str:
    """Submits the array and returns what to tell: the job's id, or the script of a dry run.

    Args:
        arguments: of gcbench, beginning with `run`.
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
    job = part_job(arguments, jobs)
    chosen = {"job_name": "gcbench", **{k: v for k, v in options.items() if v is not None}}
    if dry_run:
        return script(job, folder, chosen)
    try:
        executor = SlurmExecutor(folder)
        executor.update_parameters(**chosen)
        submitted = executor.map_array(job, range(1, jobs + 1))
    except (RuntimeError, OSError, FailedJobError) as error:
        raise GcbenchError(
            f"Slurm did not take the job ({(str(error).splitlines() or ['no reason'])[0]})",
            hint="run this where sbatch works; --dry-run shows the script",
        ) from error
    return f"submitted job {submitted[0].job_id.partition('_')[0]}: {jobs} parts, logs in {folder}"
