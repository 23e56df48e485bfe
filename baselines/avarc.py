"""A-VARC: VAR's likelihood, smoothed over noisy copies of the image's features (Chen et al. 2025).

Source: Yi-Chung-Chen/A-VARC ``eval.py``. Noise is added to the features before quantisation, so the
codes of all scales change. A trial is one noise draw and trial 0 is the clean image; with the mean
over trials a run of K trials is the official score with K samples.

The official script can also score in stages: all classes on few scales and samples, the best again
on more: `--strategy staged`, with its settings in :data:`PRESETS`. :meth:`AVARC.staged` is that
script step by step, to check it by. The default is the full grid of all classes and trials, which
no stage can mislead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gcbench.errors import GcbenchError
from gcbench.method import Runtime, SampleKey, Trials, Variant, Work
from gcbench.stages import Round, Stage, check_stages, eliminate
from gcbench.streams import normal_draws

from .var import MINI, SCALES, VAR, imagenet_variant

if TYPE_CHECKING:
    import torch

# The standard deviation; the official option describes it as a variance but uses it so.
SIGMA = 0.1
# A tenth of the standard deviation of the small tokenizer's features, which its card gives.
MINI_SIGMA = 0.0229

# Stages of the official script's defaults, and of its README's example.
PRESETS: Mapping[str, tuple[Stage, ...]] = {
    "default": (Stage(survivors=1, trials=1, scales=SCALES),),
    "readme": (
        Stage(survivors=10, trials=1, scales=6),
        Stage(survivors=3, trials=1, scales=SCALES),
        Stage(survivors=1, trials=3, scales=SCALES),
    ),
}


def smoothed(variant: Variant, sigma: float = SIGMA) -> Variant:
    """A variant of VAR with noise of that standard deviation."""
    likelihood = {**variant.config["likelihood"], "sigma": sigma}
    return replace(variant, config={**variant.config, "likelihood": likelihood})


class AVARC(VAR):
    """Scores are log p(codes of the noisy features | class) in nats; a trial is one noise draw."""

    name = "avarc"
    summary = "VAR, its likelihood averaged over noisy copies of the image's features"
    variants: ClassVar[tuple[Variant, ...]] = (
        smoothed(MINI, MINI_SIGMA),
        smoothed(imagenet_variant("d16", 16, "var-d16", "310 M parameters")),
        smoothed(imagenet_variant("d20", 20, "var-d20", "601 M parameters")),
        smoothed(imagenet_variant("d24", 24, "var-d24", "1.0 B parameters")),
        smoothed(imagenet_variant("d30", 30, "var-d30", "2.0 B parameters")),
        smoothed(imagenet_variant("d16-cca", 16, "var-d16-cca", "d16 after CCA, as A-VARC+ takes")),
    )
    stage_presets = PRESETS
    # The last stage of the README's example; the script's own default, 1, is plain VAR.
    default_trials = 3
    max_trials: ClassVar[int | None] = None

    def __init__(self, variant: Variant, runtime: Runtime):
        super().__init__(variant, runtime)
        if runtime.protocol == "published":
            raise GcbenchError(
                "avarc cannot replay its published noise: it depends on the batch composition",
                hint="leave --protocol out",
            )

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise."""
        return float(self.config("likelihood")["sigma"])

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode_latent(batch)

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        """Standard normal noise [B, K, e, P, P]; zero in trial 0."""
        import torch

        quantizer = self.tokenizer.quantize
        side = quantizer.patch_nums[-1]
        shape = (quantizer.embedding.embedding_dim, side, side)
        clean = torch.zeros(len(samples), 1, *shape)
        draws = [(trial,) for trial in range(1, count)]
        noisy = normal_draws("avarc", seed, [s.id for s in samples], draws, shape)
        noise = torch.cat([clean, noisy], dim=1)
        return Trials(count, {"noise": noise})

    def codes(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        import torch

        noise = trials.draws["noise"][work.image, work.trial].to(latent.device)
        features = latent[work.image.to(latent.device)] + self.sigma * noise  # [P, e, P, P]
        # One by one: a code, and with it every score, must not depend on its neighbours.
        return torch.cat([self.tokenizer.quantize(row[None]) for row in features])

    def staged(
        self,
        latent: torch.Tensor,
        samples: Sequence[SampleKey],
        classes: Sequence[int],
        stages: Sequence[Stage],
        *,
        seed: int,
        batch_size: int,
    ) -> Iterator[Round]:
        """Classifies in stages, the same noise in all of them.

        Args:
            latent: features [B, e, P, P] as `encode` gives them.
            samples: names of the B images.
            classes: candidates of the first stage.
            stages: what each stage scores and keeps, such as an entry of :data:`PRESETS`.
            seed: of the noise.
            batch_size: evaluations per forward pass, at most.

        Raises:
            GcbenchError: the stages do not fit the candidates or the network.
        """
        import torch

        check_stages(stages, len(classes), len(self.model.patch_nums))
        drawn = self.trials(max(stage.trials for stage in stages), samples, seed)

        def evaluate(index: int, candidates: torch.Tensor) -> torch.Tensor:
            return self.mean_over_trials(latent, drawn, candidates, stages[index], batch_size)

        return eliminate(stages, torch.tensor(classes).expand(len(samples), -1), evaluate)

    def mean_over_trials(
        self,
        latent: torch.Tensor,
        trials: Trials,
        candidates: torch.Tensor,
        stage: Stage,
        batch_size: int,
    ) -> torch.Tensor:
        """Scores [B, C] of each image's own candidates [B, C], by the rule of one stage."""
        import torch

        scores = torch.zeros(candidates.shape)
        for image, own in enumerate(candidates):
            for trial in range(stage.trials):
                parts = [
                    self.score_scales(latent, trials, _single(image, trial, part), stage.scales)
                    for part in own.split(batch_size)
                ]
                scores[image] += torch.cat(parts).float().cpu()
        return scores / stage.trials


def _single(image: int, trial: int, classes: torch.Tensor) -> Work:
    import torch

    return Work(
        image=torch.tensor([image]),
        trial=torch.tensor([trial]),
        classes=classes,
        offsets=torch.tensor([0, len(classes)]),
    )
