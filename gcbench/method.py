"""Who scores an image: variants, checkpoints, the flat batch of work, and the two protocols."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gcbench.checkpoint import Checkpoint, Shipped, load_into, read_state_dict, sha256_of
from gcbench.errors import GcbenchError, unknown_name
from gcbench.streams import stream

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

    from gcbench.scores import TrialDesign

Network = TypeVar("Network", bound="nn.Module")
PRECISIONS = ("fp32", "tf32", "bf16")
PROTOCOLS = ("independent", "published")
PATHS = ("reference", "fast", "compiled")


@dataclass(frozen=True)
class Variant:
    """One size or training of a method.

    `config` holds the constructor arguments of each network, `checkpoints` its weights, both by
    role ("model", "tokenizer"); weights that ship bring their arguments along on their card. A
    variant fits a benchmark when their label spaces agree.
    """

    name: str
    label_space: str
    config: Mapping[str, Mapping[str, Any]]
    checkpoints: Mapping[str, Checkpoint]
    image_size: int
    note: str = ""


@dataclass(frozen=True)
class Runtime:
    """How the networks are run. None of it but `precision` may move a score beyond rounding.

    `path` "reference" is the plain network, "fast" leaves out what no score needs and takes faster
    kernels, "compiled" has torch.compile fuse the rest where it can. For timing alone, `without`
    leaves out some of the method's `features`, and `random_weights` needs no checkpoint.
    `protocol` "published" draws trials as the paper's script does, from one sequential stream, so
    that they depend on the images before; the default derives each from its own name.
    `checkpoint_files` replaces the card's checkpoint of a role by a file of the user's own.
    `preprocessing` overrides a method's own settings (mean, std, size, interpolation).
    """

    device: str = "cpu"
    precision: str = "fp32"
    protocol: str = "independent"
    checkpoint_files: Mapping[str, Path] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    path: str = "reference"
    without: frozenset[str] = frozenset()
    random_weights: bool = False

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise unknown_name("path", self.path, PATHS)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if self.precision == "tf32" and not self.device.startswith("cuda"):
            raise GcbenchError(
                f"precision tf32 needs an NVIDIA GPU, the device is {self.device}",
                hint="use --precision fp32 or bf16",
            )
        if self.protocol not in PROTOCOLS:
            raise unknown_name("protocol", self.protocol, PROTOCOLS)


@dataclass(frozen=True)
class SampleKey:
    """What names a sample's random streams: its id, and its position among the run's samples."""

    id: str
    position: int


@dataclass(frozen=True)
class Trials:
    """What is drawn for each (image, trial), shared by all classes of the image.

    `draws` holds tensors [B, K, ...]: token orders for any-order models, timesteps and noise for
    diffusion. The draw of trial k depends on (seed, sample id, k) alone, so the first k of K
    trials are the trials of a run with K = k.
    """

    count: int
    draws: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Work:
    """A flat batch of evaluations: P (image, trial) pairs, each with its own list of classes.

    Attributes:
        image: [P] row of the encoded batch.
        trial: [P] trial index.
        classes: [E] label-space indices, the pairs' lists one after the other.
        offsets: [P + 1] where each pair's list starts, as in a CSR matrix.
    """

    image: torch.Tensor
    trial: torch.Tensor
    classes: torch.Tensor
    offsets: torch.Tensor

    def pair_of_evaluation(self) -> torch.Tensor:
        """[E] the pair that each evaluation belongs to."""
        import torch

        counts = self.offsets.diff()  # [P]
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


@dataclass(frozen=True)
class TokenScores:
    """Scores of the single tokens of a `Work` batch.

    Attributes:
        log_likelihood: [E, N] fp32 nats, in the order in which the tokens are visited.
        position: [P, N] where each visited token lies: an index into the grids of
            `AutoregressiveMethod.token_sides`, one after the other, each in raster order.
    """

    log_likelihood: torch.Tensor
    position: torch.Tensor


class Method(ABC):
    """A classifier: one file in `baselines/`, named as on the command line.

    A subclass that gives all classes at once implements `scores`; a class-conditional generative
    model derives from `GenerativeMethod` instead. `scoring_version` is part of the run key: raise
    it whenever a change moves scores beyond rounding.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    summary: ClassVar[str]
    variants: ClassVar[tuple[Variant, ...]]
    scoring_version: ClassVar[int] = 1
    default_trials: ClassVar[int] = 1
    max_trials: ClassVar[int | None] = 1
    default_rule: ClassVar[str] = "mean"

    preprocessing_options: ClassVar[frozenset[str]] = frozenset()
    features: ClassVar[tuple[str, ...]] = ()

    def __init__(self, variant: Variant, runtime: Runtime):
        self.variant = variant
        self.runtime = runtime
        for name in sorted(set(runtime.preprocessing) - self.preprocessing_options):
            option = f"--{name.replace('_', '-')}"
            raise GcbenchError(
                f"{self.name} does not take {option}: its preprocessing belongs to its weights",
                hint="leave it out",
            )

    @classmethod
    def variant_named(cls, name: str | None) -> Variant:
        """The variant of that name, or the first one. Raises GcbenchError for an unknown name."""
        if name is None:
            return cls.variants[0]
        for variant in cls.variants:
            if variant.name == name:
                return variant
        raise unknown_name(f"variant of {cls.name}", name, (v.name for v in cls.variants))

    @classmethod
    def check_trials(cls, trials: int | None) -> int:
        """The number of trials to run. Raises GcbenchError when the method cannot have as many."""
        if trials is None:
            return cls.default_trials
        if trials < 1:
            raise GcbenchError(
                f"{cls.name}: got {trials} trials, expected at least 1",
                hint=f"leave --trials out for the default of {cls.default_trials}",
            )
        if cls.max_trials is not None and trials > cls.max_trials:
            raise GcbenchError(
                f"{cls.name}: got {trials} trials, but it has only {cls.max_trials}",
                hint=f"leave --trials out or pass {cls.max_trials}",
            )
        return trials

    @property
    @abstractmethod
    def preprocessing(self) -> str:
        """What `preprocess` does, in a few words: part of the run key."""

    def weights(self) -> dict[str, str]:
        """sha256 of the checkpoint of each role, without reading the card's files."""
        known = {}
        for role in self.variant.checkpoints:
            file, expected = self.checkpoint(role)
            known[role] = expected or sha256_of(file)
        return known

    def checkpoint(self, role: str) -> tuple[Path, str | None]:
        """File and expected sha256 (None for a file of the user's own) of a network's weights."""
        if role in self.runtime.checkpoint_files:
            file = self.runtime.checkpoint_files[role]
            if not file.is_file():
                raise GcbenchError(f"no checkpoint at {file}", hint="check --checkpoint")
            return file, None
        return self.variant.checkpoints[role].locate()

    def config(self, role: str) -> Mapping[str, Any]:
        """Constructor arguments of a network: the variant's, or those on its weights' card."""
        checkpoint = self.variant.checkpoints.get(role)
        if role not in self.variant.config and isinstance(checkpoint, Shipped):
            model: Mapping[str, Any] = checkpoint.card()["recipe"]["model"]
            return model
        return self.variant.config[role]

    def load_network(self, role: str, network: Network) -> Network:
        """The network with its role's weights, in eval mode on the device, without gradients."""
        if self.runtime.random_weights:
            randomise(network, stream("random-weights", self.name, role))
        else:
            file, expected = self.checkpoint(role)
            load_into(network, read_state_dict(file, expected), file)
        network.eval().requires_grad_(False).to(self.runtime.device)
        # The tokenizer keeps to the reference: a code, once made, must be the same on every path.
        fp32_on_cpu = self.runtime.device == "cpu" and self.runtime.precision == "fp32"
        if role == "model" and self.runtime.path != "reference" and fp32_on_cpu:
            from gcbench.nets.kernels import prefer_onednn

            prefer_onednn(network)
        return network

    def arithmetic(self) -> AbstractContextManager[object]:
        """Within it the networks compute in the runtime's precision."""
        import torch

        from gcbench.nets.kernels import tf32_products

        if self.runtime.precision == "bf16":
            return torch.autocast(self.runtime.device.partition(":")[0], torch.bfloat16)
        return tf32_products() if self.runtime.precision == "tf32" else nullcontext()

    def on_path(self, **changes: str) -> Method:
        """The same method, not loaded, with another `path` or `precision`."""
        return type(self)(self.variant, replace(self.runtime, **changes))  # type: ignore[arg-type]

    def flops_per_evaluation(self) -> float | None:
        """Floating-point operations of one evaluation, for the bill; None when not known."""
        return None

    def flops_done(self, classes: int) -> float | None:
        """The same as far as this path does them, with `classes` classes of a trial at a time."""
        return self.flops_per_evaluation()

    def protocol(self, trials: int) -> str:
        """How `trials` trials are drawn, in a few words: part of the run key.

        Raises:
            GcbenchError: the method's own settings do not fit so many trials.
        """
        return self.runtime.protocol

    def design(self, trials: int) -> TrialDesign | None:
        """What `trials` trials are; None where they are draws from one distribution."""
        return None

    @abstractmethod
    def load(self) -> None:
        """Loads the networks onto the device.

        Raises:
            GcbenchError: a file is missing, damaged, or does not fit the network.
        """

    @abstractmethod
    def preprocess(self, image: Image) -> torch.Tensor:
        """The network's input for a raw RGB image, [3, H, W] fp32."""


def randomise(network: nn.Module, generator: torch.Generator) -> None:
    """Fills a network with random weights that keep activations in range and tell classes apart."""
    import torch

    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if name == "bias":
                    parameter.zero_()
                elif parameter.dim() > 1:
                    fan_in = parameter[0].numel()
                    deviation = 1.0 if isinstance(module, torch.nn.Embedding) else fan_in**-0.5
                    parameter.normal_(0, deviation, generator=generator)


class DiscriminativeMethod(Method):
    """One forward pass gives the log-probabilities of all classes."""

    @abstractmethod
    def scores(self, batch: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, 1, C] fp32 of the candidates [C] for images [B, 3, H, W]."""


class GenerativeMethod(Method):
    """One evaluation scores one image under one class in one trial."""

    def race_order(self, count: int, sizes: Sequence[float] = ()) -> Sequence[int]:
        """The order in which a race visits `count` trials: every beginning of it should stand for
        the whole, as it does for draws from one distribution. `sizes` say how much each trial
        matters, where that was measured: for trials that are not such draws (`design`).
        """
        return range(count)

    def views(self, image: Image, sample: SampleKey, trials: int, seed: int) -> torch.Tensor:
        """What the trials of an image look at: one input for all, or one for each.

        Returns:
            [V, 3, H, W] fp32, V = 1 (the default: `preprocess`) or V = `trials`.
        """
        return self.preprocess(image)[None]

    @abstractmethod
    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """The latent that is scored: VQ tokens [B, N] or VAE latents [B, C, h, w]."""

    @abstractmethod
    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        """The draws of `count` trials for each sample, from one stream per (seed, id, trial)."""

    @abstractmethod
    def score(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        """One score per evaluation of `work`, [E] fp32.

        `latent` is [B, ...], or [B, K, ...] for a method whose trials have views of their own.
        """


class AutoregressiveMethod(GenerativeMethod):
    """A generative method whose score is a sum over the tokens of an image.

    `preprocess` gives pixels in [-1, 1].
    """

    @property
    @abstractmethod
    def token_sides(self) -> tuple[int, ...]:
        """Sides of the square grids that the N tokens fill, the finest grid last."""

    @abstractmethod
    def token_scores(self, latent: torch.Tensor, trials: Trials, work: Work) -> TokenScores:
        """What every token adds to the `score` of each evaluation; arguments as there."""

    def score(self, latent: torch.Tensor, trials: Trials, work: Work) -> torch.Tensor:
        return self.token_scores(latent, trials, work).log_likelihood.sum(-1)
