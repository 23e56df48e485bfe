"""Kind ``avarc``: every stage of the official script on a tiny VAR, with the noise that it drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gcbench.method import Runtime, Trials, Variant
from gcbench.parity.fixture import Fixture, Quantity, absolute, identical, relative

if TYPE_CHECKING:
    from torch import Tensor


def check(fixture: Fixture) -> Iterator[Quantity]:
    """Features and codes; candidates, scores and survivors of each stage; predictions."""
    import torch

    io = fixture.tensors()
    with torch.inference_mode():
        for run in fixture.config["runs"]:
            yield from _check_run(method_of(fixture, run), run, io)


def _check_run(method: Any, run: Mapping[str, Any], io: Mapping[str, Tensor]) -> Iterator[Quantity]:
    import torch

    from gcbench.stages import Stage, eliminate

    name = run["name"]
    latent = torch.cat([method.encode(image[None]) for image in io["images"]])
    yield absolute(f"{name}.f_clean", latent, io["f_clean"])
    yield identical(f"{name}.indices_clean", method.tokenizer.quantize(latent), io["indices_clean"])

    lists = (run[f"num_{what}_list"] for what in ("candidate", "sample", "scale"))
    stages = [Stage(*numbers) for numbers in zip(*lists, strict=True)]
    noise = [_noise(io, f"{name}.stage{i}", latent) for i in range(len(stages))]

    def evaluate(i: int, candidates: Tensor) -> Tensor:
        trials = Trials(stages[i].trials, {"noise": noise[i]})
        scores: Tensor = method.mean_over_trials(
            latent, trials, candidates, stages[i], run["batch_size"]
        )
        return scores

    classes = torch.tensor(run["class_ids"]).expand(len(latent), -1)
    for i, outcome in enumerate(eliminate(stages, classes, evaluate)):
        at = f"{name}.stage{i}"
        yield identical(f"{at}.candidates", outcome.candidates, io[f"{at}.candidates"])
        yield relative(f"{at}.loglik", outcome.scores, io[f"{at}.loglik"])
        if f"{at}.indices_noisy" in io:
            noisy = latent[:, None] + method.sigma * noise[i][:, 1:]  # [B, M-1, e, P, P]
            codes = method.tokenizer.quantize(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
            yield identical(f"{at}.indices_noisy", codes, io[f"{at}.indices_noisy"])
        if f"{at}.top_candidates" in io:
            top = io[f"{at}.top_candidates"]
            yield identical(f"{at}.top_candidates", outcome.survivors, top)
    yield identical(f"{name}.pred", outcome.survivors[:, 0], io[f"{name}.pred"])


def method_of(fixture: Fixture, run: Mapping[str, Any]) -> Any:
    """The method itself, on the fixture's networks."""
    from gcbench.checkpoint import ByHand
    from gcbench.parity import var_transformer, var_vqvae
    from gcbench.registry import Registry

    config = fixture.config
    vae = config["vae_params"]
    files = {"model": "var.safetensors", "tokenizer": "vae.safetensors"}
    variant = Variant(
        name="fixture",
        label_space="fixture",
        config={
            "model": var_transformer.arguments(
                config["var_params"], vae["vocab_size"], vae["z_channels"]
            ),
            "tokenizer": var_vqvae.arguments(vae, config["vae_arch"]),
            "likelihood": {"scales": len(vae["v_patch_nums"]), "sigma": run["sigma"]},
        },
        checkpoints={role: ByHand("in the fixture's folder") for role in files},
        image_size=0,
    )
    runtime = Runtime(checkpoint_files={role: fixture.folder / f for role, f in files.items()})
    method = Registry().method("avarc")(variant, runtime)
    method.load()
    return method


def _noise(io: Mapping[str, Tensor], stage: str, latent: Tensor) -> Tensor:
    """Noise ``[B, M, e, P, P]`` of a stage, none on the first sample."""
    import torch

    clean = torch.zeros_like(latent)[:, None]
    drawn = io.get(f"{stage}.noise")
    return clean if drawn is None else torch.cat([clean, drawn], dim=1)
