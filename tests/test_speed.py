"""`gcbench speed` compares like with like and says what it measured."""

import json

import pytest

SMALL = ("--random-weights", "--rounds", 1)
SHAPE = ("dim=16", "n_layer=2", "n_head=2", "block_size=16", "vocab_size=32", "num_classes=5")
TOKENIZER = ("codebook_size=32", "ch=32", "ch_mult=[1,1]", "num_res_blocks=1", "z_channels=8")


@pytest.fixture(scope="module")
def tiny():
    """A RandAR of another shape with random weights."""
    sets = [*SHAPE, *(f"tokenizer.{t}" for t in TOKENIZER)]
    return [part for name in sets for part in ("--set", name)]


def test_every_rung_scores_the_same_image_alike(gcbench, tiny, monkeypatch):
    from gcbench import speed

    monkeypatch.setattr(speed, "PEAK_SIDE", 64)
    done = gcbench(
        "speed", "--method", "randar", *tiny, *SMALL, "--classes", 4, "--trials", 2,
        "--precision", "fp32", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = [t["rung"] for t in found["timings"]]
    assert names == [
        "fp32 reference",
        "fp32 fast",
        "fp32 compiled, no shared first layer",
        "fp32 compiled, no cut last layer",
        "fp32 compiled",
    ]
    assert found["config"]["model"]["dim"] == 16
    for timing in found["timings"]:
        assert timing["relative_error"] <= 1e-6
        assert timing["centred_error"] <= 1e-3
        assert timing["same_argmax"]
        assert timing["evaluations_per_second"] == pytest.approx(8 / timing["seconds_per_image"])
        assert timing["fastest"] <= timing["seconds_per_image"] <= timing["slowest"]


def test_a_method_without_fast_paths_has_one_rung(gcbench, monkeypatch):
    from gcbench import speed

    monkeypatch.setattr(speed, "PEAK_SIDE", 64)
    done = gcbench("speed", "--method", "grey-level", "--rounds", 1, "--precision", "fp32",
                   "--classes", 3)  # fmt: skip
    assert done.exit_code == 0, done.output
    rungs = [row for row in done.output.splitlines() if row.startswith("fp32")]
    assert len(rungs) == 1
    assert "1.00x" in rungs[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "dim=16"], "--set changes the shape"),
        (["--random-weights", "--set", "dim"], "expected KEY=VALUE"),
        (["--random-weights", "--set", "vae.dim=3"], "no network 'vae'"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
    ],
)
def test_mistake_is_one_clear_line(gcbench, arguments, message):
    done = gcbench("speed", "--method", "randar", *arguments)
    assert done.exit_code == 2
    assert message in done.output
