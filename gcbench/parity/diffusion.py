"""Kinds of the diffusion family: networks, noising and loss weights, the classifiers' losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gcbench.diffusion import DDPM, STEPS, LinearFlow, Process, loss_weights
from gcbench.method import Runtime, Trials, Variant, Work
from gcbench.parity.fixture import Fixture, Quantity, absolute, identical, relative
from gcbench.scores import TrialDesign

if TYPE_CHECKING:
    from torch import Tensor

    from gcbench.nets.dit import DiT

_DIT_ARGUMENTS = (
    "input_size",
    "patch_size",
    "in_channels",
    "hidden_size",
    "depth",
    "num_heads",
    "mlp_ratio",
    "num_classes",
)
_ALIGNED_ARGUMENTS = (*_DIT_ARGUMENTS, "encoder_depth", "z_dims", "projector_dim")
# The fixtures' names of our weights.
_WEIGHTS = {
    "elbo": "elbo",
    "snr_inv": "inverse-snr",
    "min_snr_5": "min-snr-5",
    "fm_ot": "fm-ot",
}
# Schedules and weights are compared in float64.
_EXACT = 1e-6
# Angles reach 999 rad, of which the last bit of a float32 frequency turns 6e-5.
_ANGLES = 1e-4


def check_dit(fixture: Fixture) -> Iterator[Quantity]:
    """Time features, both embeddings, and all output channels; the last class is "none"."""
    import torch

    from gcbench.nets.dit import DiT, timestep_features

    model, io = DiT(**_arguments(fixture, _DIT_ARGUMENTS)), fixture.tensors()
    _load(model, fixture)
    with torch.inference_mode():
        features, time = timestep_features(io["t"]), model.t_embedder(io["t"])
        label, out = model.y_embedder(io["y"]), model(io["x"], io["t"], io["y"])
    yield absolute("t_freq", features, io["t_freq"], _ANGLES)
    yield absolute("t_emb", time, io["t_emb"])
    yield absolute("y_emb", label, io["y_emb"])
    yield absolute("out", out, io["out"])
    yield absolute("eps", out[:, : model.in_channels], io["eps"])


def check_sit(fixture: Fixture) -> Iterator[Quantity]:
    """The velocity, and what it amounts to in noise and data; data lies at time 1."""
    import torch

    from gcbench.nets.dit import timestep_features
    from gcbench.nets.sit import SiT

    model, io = SiT(**_arguments(fixture, _DIT_ARGUMENTS)), fixture.tensors()
    _load(model, fixture)
    x, t = io["x"], io["t"]
    with torch.inference_mode():
        time = model.t_embedder(t)
        velocity = model.prediction(model.embed(x), model.condition(t, io["y"]))
    noise = LinearFlow(data_at=1).noise(x, velocity, _column(t))
    yield absolute("t_freq", timestep_features(t), io["t_freq"])
    yield absolute("t_emb", time, io["t_emb"])
    yield absolute("v", velocity, io["v"])
    yield absolute("eps_from_v", noise, io["eps_from_v"])
    yield absolute("eps_official_helper", noise, io["eps_official_helper"])
    yield absolute("x1_from_v", x + (1 - _column(t)) * velocity, io["x1_from_v"])


def check_repa(fixture: Fixture) -> Iterator[Quantity]:
    """Velocity, noise and projected features; data lies at time 0."""
    from gcbench.nets.sit import REPA

    yield from _check_aligned(fixture, REPA(**_arguments(fixture, _ALIGNED_ARGUMENTS)))


def check_irepa(fixture: Fixture) -> Iterator[Quantity]:
    """As REPA's."""
    from gcbench.nets.sit import IREPA

    yield from _check_aligned(fixture, IREPA(**_arguments(fixture, _ALIGNED_ARGUMENTS)))


def check_reg(fixture: Fixture) -> Iterator[Quantity]:
    """As REPA's, and the velocity and noise of the class token."""
    import torch

    from gcbench.nets.sit import REG

    model, io = REG(**_arguments(fixture, _ALIGNED_ARGUMENTS)), fixture.tensors()
    _load(model, fixture)
    with torch.inference_mode():
        velocity, token_velocity, features = model.with_class_token(
            io["x"], io["t"], io["y"], io["cls_token"]
        )
    process, rest = LinearFlow(data_at=0), 1 - io["t"]
    yield absolute("v", velocity, io["v"])
    yield absolute("zs0", features[0], io["zs0"])
    yield absolute("cls_v", token_velocity, io["cls_v"])
    yield absolute("eps_from_v", process.noise(io["x"], velocity, _column(rest)), io["eps_from_v"])
    token_noise = process.noise(io["cls_token"], token_velocity, rest[:, None])
    yield absolute("cls_eps_from_v", token_noise, io["cls_eps_from_v"])


def _check_aligned(fixture: Fixture, model: Any) -> Iterator[Quantity]:
    import torch

    io = fixture.tensors()
    _load(model, fixture)
    x, t, y = io["x"], io["t"], io["y"]
    with torch.inference_mode():
        velocity, features = model.with_features(x, t, y)
        without = model.prediction(model.embed(x), model.condition(t, y))
    yield absolute("v", velocity, io["v"])
    yield absolute("v, projectors unused", without, io["v"])
    yield absolute("zs0", features[0], io["zs0"])
    noise = LinearFlow(data_at=0).noise(x, velocity, _column(1 - t))
    yield absolute("eps_from_v", noise, io["eps_from_v"])
    if "x0_from_v" in io:
        yield absolute("x0_from_v", x - _column(t) * velocity, io["x0_from_v"])


def check_ddpm(fixture: Fixture) -> Iterator[Quantity]:
    """Betas, cumulated alphas, noisy latents, loss weights."""
    io, process = fixture.tensors(), DDPM()
    yield relative("betas", process.betas, io["betas"], _EXACT)
    yield relative("alphas_cumprod", process.alphas_cumprod, io["alphas_cumprod"], _EXACT)
    steps = io["t"].numpy()
    yield absolute("x_t", _noisy(process, steps, io["x0"], io["noise"]), io["x_t"])
    yield from _check_weights(process, steps, io)


def check_linear_path(fixture: Fixture) -> Iterator[Quantity]:
    """Noisy latents and target of the velocity, loss weights."""
    io, process = fixture.tensors(), LinearFlow(data_at=1)
    steps = io["t"].double().numpy() * STEPS
    yield absolute("x_t", _noisy(process, steps, io["data"], io["noise"]), io["x_t"])
    yield absolute("v_target", process.target(io["data"], io["noise"]), io["v_target"])
    yield from _check_weights(process, steps, io)


def check_dit_classifier(fixture: Fixture) -> Iterator[Quantity]:
    """The method's own scores on the fixture's latent and noise, by every rule."""
    yield from _check_classifier(fixture, "dit", DDPM())


def check_sit_classifier(fixture: Fixture) -> Iterator[Quantity]:
    """As DiT's, and the published script's losses at its truncated time."""
    import torch

    yield from _check_classifier(fixture, "sit", LinearFlow(data_at=1))
    io = fixture.tensors()
    published = _losses(fixture, "sit", "published")
    yield relative("loss_published_bug_t0", published, io["loss_published_bug_t0"])
    # The error of the noise is alpha times that of the velocity.
    alpha = torch.as_tensor(io["timesteps"])[:, None]
    yield relative("loss_v", _losses(fixture, "sit") / alpha**2, io["loss_v"])


def _check_classifier(fixture: Fixture, method: str, process: Process) -> Iterator[Quantity]:
    from gcbench.scores import Scores

    io = fixture.tensors()
    losses = _losses(fixture, method).numpy()  # [T, C]
    steps, classes = _steps(fixture), io["classes"].numpy()
    yield relative("loss", losses, io["loss"])
    yield from _check_weights(process, steps, io)
    weights = {name: tuple(w.tolist()) for name, w in loss_weights(process, steps).items()}
    count = len(steps)
    scores = Scores(
        sample_ids=("latent",),
        labels=np.zeros(1, np.int64),
        classes=classes,
        values=-losses[None],
        design=TrialDesign({count: tuple(range(count))}, weights),
    )
    for theirs, ours in {"constant": "mean", **_WEIGHTS}.items():
        yield relative(f"score_{theirs}", scores.combined(ours)[0], io[f"score_{theirs}"])
        yield identical(f"pred_{theirs}", scores.predictions(ours)[0], io[f"pred_{theirs}"])


def _losses(fixture: Fixture, name: str, protocol: str = "independent") -> Tensor:
    """Squared errors of the noise ``[T, C]``, from the method's own scores."""
    import torch

    from gcbench.registry import Registry

    io, steps = fixture.tensors(), torch.from_numpy(_steps(fixture))
    variant = Variant("fixture", "fixture", {}, {}, image_size=0)
    method: Any = Registry().method(name)(variant, Runtime(protocol=protocol))
    method.model = _network(name)(**_arguments(fixture, _DIT_ARGUMENTS))
    _load(method.model, fixture)
    count, classes = len(steps), io["classes"]
    latent = torch.stack([io["latent"], torch.zeros_like(io["latent"])], dim=1)  # [1, 2, C, h, w]
    draws = {
        "step": steps[None],
        "noise": io["noise"][None],
        "posterior": torch.zeros_like(io["latent"])[None],
    }
    work = Work(
        image=torch.zeros(count, dtype=torch.int64),
        trial=torch.arange(count),
        classes=classes.repeat(count),
        offsets=torch.arange(count + 1) * len(classes),
    )
    with torch.inference_mode():
        scores: Tensor = method.score(latent, Trials(count, draws), work)
    return -scores.view(count, -1)


def _network(name: str) -> type[DiT]:
    from gcbench.nets.dit import DiT
    from gcbench.nets.sit import SiT

    return {"dit": DiT, "sit": SiT}[name]


def _steps(fixture: Fixture) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The grid, in steps of 1/1000 where the fixture gives times between 0 and 1."""
    times = fixture.tensors()["timesteps"].numpy()
    if np.issubdtype(times.dtype, np.integer):
        return times
    return np.round(times * STEPS).astype(np.int64)


def _check_weights(
    process: Process, steps: np.ndarray[Any, Any], io: Mapping[str, Tensor]
) -> Iterator[Quantity]:
    weights = loss_weights(process, steps)
    for theirs, ours in _WEIGHTS.items():
        yield relative(f"w_{theirs}", weights[ours], io[f"w_{theirs}"], _EXACT)


def _noisy(process: Process, steps: np.ndarray[Any, Any], data: Tensor, noise: Tensor) -> Tensor:
    import torch

    alpha, sigma = (torch.from_numpy(c).float() for c in process.alpha_sigma(steps))
    return _column(alpha) * data + _column(sigma) * noise


def _column(values: Tensor) -> Tensor:
    """``[B]`` to ``[B, 1, 1, 1]``."""
    return values[:, None, None, None]


def _arguments(fixture: Fixture, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: fixture.config[name] for name in names}


def _load(model: Any, fixture: Fixture) -> None:
    from gcbench.checkpoint import load_into

    load_into(model, fixture.tensors("weights"), fixture.folder / "weights.safetensors")
    model.eval()
