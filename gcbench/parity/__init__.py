"""Comparison with numbers that the official implementations produced.

A fixture is a folder with ``config.json`` (its ``fixture`` names the kind), ``io.safetensors``
(inputs and expected outputs) and, for networks, ``weights.safetensors``. A kind is one function in
:data:`CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gcbench.errors import GcbenchError
from gcbench.parity import (
    adaptive,
    avarc,
    classifiers,
    diffusion,
    llamagen_gpt,
    llamagen_vq,
    maskgit_vq,
    protocol,
    randar,
    var_transformer,
    var_vqvae,
    wilds_metrics,
)
from gcbench.parity.fixture import Fixture, Quantity, read_fixture

Check = Callable[[Fixture], Iterator[Quantity]]

CHECKS: dict[str, Check] = {
    "randar": randar.check,
    "llamagen_gpt": llamagen_gpt.check,
    "llamagen_vq": llamagen_vq.check,
    "maskgit_vq": maskgit_vq.check,
    "var_vqvae": var_vqvae.check,
    "var_transformer": var_transformer.check,
    "avarc": avarc.check,
    "protocol": protocol.check_protocol,
    "crops": protocol.check_crops,
    "calc_statistics": protocol.check_statistics,
    "wilds_metrics": wilds_metrics.check,
    "adaptive_li2023": adaptive.check,
    "dit_forward": diffusion.check_dit,
    "sit_forward": diffusion.check_sit,
    "repa_forward": diffusion.check_repa,
    "irepa_forward": diffusion.check_irepa,
    "reg_forward": diffusion.check_reg,
    "ddpm_linear": diffusion.check_ddpm,
    "sit_linear_path": diffusion.check_linear_path,
    "dit_classifier": diffusion.check_dit_classifier,
    "sit_classifier": diffusion.check_sit_classifier,
    "dat_convnext": classifiers.check_dat,
    "dinov2_vit": classifiers.check_dinov2,
}


def run_parity(
    folders: Sequence[Path], unknown: str = "fail", echo: Callable[[str], None] = print
) -> int:
    """Check fixture folders, or all fixtures directly inside the folders; echo a line per quantity.

    Args:
        folders: fixtures, or folders of fixtures.
        unknown: ``fail`` to refuse a kind that has no check yet, ``list`` to name and skip it.
        echo: receives the lines.

    Returns:
        0 when all quantities hold, 1 when one does not.

    Raises:
        GcbenchError: no fixture, a damaged one, or with ``fail`` one of an unknown kind. Nothing
            has been computed then for the kinds of all fixtures are looked up first.
    """
    fixtures = [read_fixture(folder) for folder in _expand(folders)]
    strange = [f for f in fixtures if f.kind not in CHECKS]
    if strange and unknown == "fail":
        first = strange[0]
        raise GcbenchError(
            f"{first.folder} is of the unknown kind {first.kind!r}",
            hint=f"known kinds: {', '.join(CHECKS)}; --unknown list skips the others",
        )
    failed = 0
    for fixture in fixtures:
        if fixture.kind not in CHECKS:
            echo(f"{fixture.folder.name}: kind {fixture.kind!r} is not yet known, skipped")
            continue
        for quantity in CHECKS[fixture.kind](fixture):
            echo(quantity.line(fixture.folder.name))
            failed += not quantity.passed
    checked = len(fixtures) - len(strange)
    echo(f"{checked} fixtures checked, {failed} quantities failed, {len(strange)} of unknown kind")
    return 1 if failed else 0


def _expand(folders: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        inside = [folder] if (folder / "config.json").is_file() else []
        inside = inside or sorted(path.parent for path in folder.glob("*/config.json"))
        if not inside:
            raise GcbenchError(
                f"no fixture in {folder}",
                hint="expected a folder with a config.json, or its parent",
            )
        found += inside
    return found
