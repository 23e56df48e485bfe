"""What the diffusion classifiers share: latents, the grid of timesteps, the error of the noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from gcbench.checkpoint import Shipped, published
from gcbench.errors import GcbenchError
from gcbench.method import GenerativeMethod, SampleKey, Trials, Variant, Work
from gcbench.streams import normal_draws

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

    from gcbench.checkpoint import Checkpoint
    from gcbench.diffusion import Process
    from gcbench.nets.dit import DiT
    from gcbench.nets.vae import VAE
    from gcbench.scores import TrialDesign

# Stable Diffusion's: one over the standard deviation of its latents.
LATENT_SCALE = 0.18215
# Of the published networks: depth, width, heads. With patches of 2 x 2 latents, that is 16 x 16
# pixels, the papers call them L/2 or L/16.
SIZES: Mapping[str, Mapping[str, int]] = {
    "b": {"depth": 12, "hidden_size": 768, "num_heads": 12},
    "l": {"depth": 24, "hidden_size": 1024, "num_heads": 16},
    "xl": {"depth": 28, "hidden_size": 1152, "num_heads": 16},
}


def imagenet_variant(name: str, size: str, weights: Checkpoint, note: str, **model: Any) -> Variant:
    """A published model at 256 px, on Stable Diffusion's latents."""
    return Variant(
        name=name,
        label_space="imagenet-1k",
        config={
            "model": {**SIZES[size], **model},
            "autoencoder": {},
            "latent": {"scale": LATENT_SCALE},
            "image": {"grey": False},
        },
        checkpoints={"model": weights, "autoencoder": published("sd-vae-ema")},
        image_size=256,
        note=note,
    )


def mini_variant(
    weights: str, note: str, name: str = "mini", label_space: str = "fashion-10"
) -> Variant:
    """A variant for the embedded images: 32 px, latents of 4 x 8 x 8."""
    return Variant(
        name=name,
        label_space=label_space,
        config={"latent": {"scale": 1.0}, "image": {"grey": True}},
        checkpoints={"model": Shipped(weights), "autoencoder": Shipped("mini-vae")},
        image_size=32,
        note=note,
    )


class LatentDiffusion(GenerativeMethod):
    """Scores are minus the squared error of the predicted noise, summed over the latent.

    A trial is one (timestep, noise) pair, shared by all classes of an image. K trials are K
    timesteps of :func:`gcbench.diffusion.timestep_grid` with one noise each; with
    ``--timesteps T`` they are K / T rounds of the same T timesteps, each with fresh noise. The
    noise is named by (seed, sample id, timestep, round), so that a coarser grid is part of every
    finer one that contains its timesteps.
    """

    family = "diffusion"
    preprocessing_options = frozenset({"timesteps", "posterior"})
    # The published script's.
    default_trials = 100
    max_trials: ClassVar[int | None] = None
    # What the network reads beside the tokens of the latent.
    further_tokens: ClassVar[int] = 0
    autoencoder: VAE
    model: DiT

    @property
    @abstractmethod
    def process(self) -> Process:
        """How latents are noised, and what the network predicts."""

    @abstractmethod
    def network(self) -> DiT:
        """The network, not loaded yet."""

    def load(self) -> None:
        from gcbench.nets.vae import VAE

        model, autoencoder = self.network(), VAE(**self.config("autoencoder"))
        if model.in_channels != autoencoder.latent_channels:
            raise GcbenchError(
                f"{self.name} ({self.variant.name}): the network takes {model.in_channels} latent "
                f"channels, its autoencoder makes {autoencoder.latent_channels}",
                hint="take the autoencoder that the network was trained on",
            )
        self.autoencoder = self.load_network("autoencoder", autoencoder)
        self.model = self.load_network("model", model)

    @cached_property
    def predict(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Tokens [E, N, D] and conditions [E, D] to predictions [E, C, h, w], on the run's path."""
        if self.runtime.path == "compiled":
            from gcbench.nets.kernels import can_compile, compiled_rows

            if can_compile(self.runtime.device.partition(":")[0]):
                return compiled_rows(self.model.prediction)
        return self.model.prediction

    @property
    def drawn_posterior(self) -> bool:
        """Whether an image's latent is one draw from its posterior instead of the mean."""
        return self.runtime.preprocessing.get("posterior", "mean") == "sample"

    @property
    def preprocessing(self) -> str:
        grey = "grey, " if self.config("image")["grey"] else ""
        drawn = ", one latent drawn per image" if self.drawn_posterior else ""
        return f"{grey}adm-centre-crop-{self.variant.image_size}{drawn}"

    def preprocess(self, image: Image) -> torch.Tensor:
        from gcbench.preprocess import centre_crop, luminance, to_tensor

        if self.config("image")["grey"]:
            image = luminance(image)
        return to_tensor(centre_crop(image, self.variant.image_size))

    def timesteps(self, trials: int) -> NDArray[np.int64]:
        """The grid that `trials` trials go through, once or several times, [T].

        Raises:
            GcbenchError: it does not fit the process, or the trials do not fill whole rounds.
        """
        from gcbench.diffusion import timestep_grid

        count = self.runtime.preprocessing.get("timesteps") or trials
        grid = timestep_grid(count)
        if trials % count:
            raise GcbenchError(
                f"{self.name}: {trials} trials are not a multiple of {count} timesteps",
                hint=f"--trials {count} takes one noise per timestep, {2 * count} two, and so on",
            )
        return grid

    def protocol(self, trials: int) -> str:
        grid = self.timesteps(trials)
        repeated = f", {len(grid)} timesteps" if len(grid) < trials else ""
        return super().protocol(trials) + repeated

    def design(self, trials: int) -> TrialDesign:
        """Coarser grids of a single round; whole rounds of several; weights of every loss."""
        import numpy as np

        from gcbench.diffusion import loss_weights, nested_grids
        from gcbench.scores import TrialDesign

        grid = self.timesteps(trials)
        nested = {size: tuple(map(int, chosen)) for size, chosen in nested_grids(len(grid)).items()}
        nested |= {n: tuple(range(n)) for n in range(len(grid), trials + 1, len(grid))}
        steps = np.tile(grid, trials // len(grid))  # [K]
        weights = loss_weights(self.process, steps)
        return TrialDesign(nested, {name: tuple(w.tolist()) for name, w in weights.items()})

    def race_order(self, count: int, sizes: Sequence[float] = ()) -> Sequence[int]:
        """Spread over the grid, larger trials first, round by round."""
        import numpy as np

        from gcbench.diffusion import golden_order

        grid = len(self.timesteps(count))
        of_step = np.reshape(sizes, (-1, grid)).mean(axis=0) if sizes else np.ones(grid)
        order = golden_order(of_step).tolist()
        return [start + k for start in range(0, count, grid) for k in order]

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of the posterior, scaled for the network, [B, 2, C, h, w].

        Raises:
            GcbenchError: they are not finite.
        """
        import torch

        mean, std = self.autoencoder.moments(batch)
        scale, bias = self.latent_scale, self.latent_bias
        moments = torch.stack([(mean - bias) * scale, std * scale], dim=1)
        if not moments.isfinite().all():
            raise GcbenchError(
                f"{self.name}: an image's latent is not finite",
                hint="is the autoencoder's checkpoint damaged? --checkpoint autoencoder=FILE",
            )
        return moments

    @property
    def latent_scale(self) -> torch.Tensor | float:
        """What latents are multiplied by, one number or [C, 1, 1]."""
        return float(self.config("latent")["scale"])

    @property
    def latent_bias(self) -> torch.Tensor | float:
        """What is subtracted before, one number or [C, 1, 1]."""
        return 0.0

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        """Steps int64 [B, K], noise [B, K, C, h, w], and noise of the posterior [B, 1, C, h, w]."""
        import torch

        grid = self.timesteps(count)
        shape = (self.model.in_channels, *[self.model.side * self.model.patch_size] * 2)
        steps = torch.from_numpy(grid).repeat(count // len(grid)).expand(len(samples), -1)
        posterior = torch.zeros(len(samples), 1, *shape)
        if self.drawn_posterior:
            posterior = normal_draws("posterior", seed, [s.id for s in samples], [()], shape)
        if self.runtime.protocol == "published":
            noise = published_noise([s.position for s in samples], count, shape, seed)
        else:
            noise = self.named_noise("diffusion", count, samples, seed, shape)
        return Trials(count, {"step": steps, "noise": noise, "posterior": posterior})

    def named_noise(
        self,
        purpose: str,
        count: int,
        samples: Sequence[SampleKey],
        seed: int,
        shape: tuple[int, ...],
    ) -> torch.Tensor:
        """Normal noise [B, K, *shape], each from its (seed, sample id, timestep, round)."""
        grid = self.timesteps(count)
        draws = [(int(grid[k % len(grid)]), k // len(grid)) for k in range(count)]
        return normal_draws(purpose, seed, [s.id for s in samples], draws, shape)

    def score(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        import torch

        device = latent.device
        seen = latent[work.image.to(device)]  # [P, ...]
        mean, std = self.moments(seen).unbind(1)  # [P, C, h, w] each
        drawn, noise = (
            trials.draws["posterior"][work.image, 0].to(device),
            trials.draws["noise"][work.image, work.trial].to(device),
        )
        steps = trials.draws["step"][work.image, work.trial].numpy()  # [P]
        alpha, sigma = (
            torch.from_numpy(c).float().to(device)[:, None, None, None]
            for c in self.process.alpha_sigma(steps)
        )
        noisy = alpha * (mean + std * drawn) + sigma * noise
        pair = work.pair_of_evaluation().to(device)  # [E]
        with self.arithmetic():
            time = self.model.t_embedder(torch.from_numpy(self.network_time(steps)).to(device))
            tokens = self.embed(noisy, seen, trials, work, alpha, sigma)  # [P, N, D]
            condition = time[pair] + self.model.y_embedder(work.classes.to(device))
            prediction = self.predict(tokens[pair], condition)  # [E, C, h, w]
        found = self.process.noise(noisy[pair], prediction, alpha[pair])
        return -(found - noise[pair]).square().sum(dim=(1, 2, 3))

    def moments(self, latent: torch.Tensor) -> torch.Tensor:
        """Mean and deviation [P, 2, C, h, w] within what `encode` gave."""
        return latent

    def embed(
        self,
        noisy: torch.Tensor,
        latent: torch.Tensor,
        trials: Trials,
        work: Work,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
    ) -> torch.Tensor:
        """Tokens [P, N, D] of noisy latents [P, C, h, w], made from the pairs' `latent` [P, ...]
        with the coefficients `alpha` of data and `sigma` of noise, [P, 1, 1, 1] each.
        """
        return self.model.embed(noisy)

    def network_time(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the network is told of the time at these steps."""
        return self.process.network_time(steps)

    def flops_per_evaluation(self) -> float:
        """Matrix products and attention of one pass over N tokens."""
        published = {"input_size": 32, "patch_size": 2, **SIZES["xl"]}
        model: Mapping[str, Any] = {**published, **self.config("model")}
        dim, side = model["hidden_size"], model["input_size"] // model["patch_size"]
        tokens = side**2 + self.further_tokens
        per_layer = 24 * tokens * dim * dim + 4 * tokens * tokens * dim + 12 * dim * dim
        return float(model["depth"] * per_layer)


def published_noise(
    positions: Sequence[int], trials: int, shape: tuple[int, ...], seed: int
) -> torch.Tensor:
    """Noise [B, K, *shape] of the images at these positions of the published sequential stream.

    Source: ar-classifier ``scripts/DiT_classifier.py``: one generator, images outer and trials
    inner, so that an image's noise depends on its position and on K.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    wanted = {position: row for row, position in enumerate(positions)}
    noise = torch.empty(len(positions), trials, *shape)
    for position in range(max(positions) + 1):
        for trial in range(trials):
            drawn = torch.randn(1, *shape, generator=generator)
            if position in wanted:
                noise[wanted[position], trial] = drawn[0]
    return noise
