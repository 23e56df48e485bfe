"""Encoded views: in shards, each made once whoever makes it, equal however they are cut."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, current_thread

import numpy as np
import pytest
import torch

from gcbench.engine.locks import exclusive
from gcbench.errors import GcbenchError
from gcbench.streams import stream
from gcbench.training import views as views_module
from gcbench.training.crops import Crops, random_resized, resized_centre
from gcbench.training.data import Split, as_rgb, centre_view, random_view
from gcbench.training.tasks import Workplace
from gcbench.training.views import Encoded, Views, joined


@pytest.fixture
def split():
    images = np.random.default_rng(0).integers(0, 256, (10, 12, 12), np.uint8)
    return Split(images, np.arange(10) % 2)


@pytest.fixture
def views(tmp_path):
    def make(folder="work", **changes):
        lines = []
        chosen = {
            "kind": "means",
            "encode": lambda images: images.mean(dim=1),
            "encoder": {"name": "mean", "sha256": "0"},
            "crops": Crops(8, 10),
            "seed": 3,
            "place": Workplace(None, tmp_path / folder, lines.append),
            "threads": 2,
        }
        return Views(**{**chosen, **changes}), lines

    return make


def all_of(encoded):
    return torch.stack([encoded.view(v) for v in range(len(encoded))])


def test_views_are_the_encoded_crops(views, split):
    encoded = views()[0].of(split, 2)
    assert len(encoded) == 2
    for row, image in enumerate(split.images):
        for view, crop in enumerate(
            (centre_view(image, 8), random_view(image, 8, 10, stream("view", 3, 1, row)))
        ):
            expected = as_rgb(torch.from_numpy(crop.copy())[None]).mean(dim=1)
            found = encoded[torch.tensor([view]), torch.tensor([row])]
            torch.testing.assert_close(found, expected)


def test_size_of_shards_changes_nothing(views, split, monkeypatch):
    whole = all_of(views()[0].of(split, 2))
    monkeypatch.setattr(views_module, "SHARD", 3)
    encoded = views("cut")[0].of(split, 2)
    assert torch.equal(all_of(encoded), whole)
    view, row = torch.tensor([1, 0, 1]), torch.tensor([9, 3, 5])
    assert torch.equal(encoded[view, row], whole[view, row])


def test_only_missing_shards_are_made_again(views, split, tmp_path, monkeypatch):
    monkeypatch.setattr(views_module, "SHARD", 4)
    first = all_of(views()[0].of(split, 2))
    shards = sorted((tmp_path / "work").glob("means-*/view-*.safetensors"))
    assert len(shards) == 6
    shards[2].unlink()
    again, lines = views()
    assert torch.equal(all_of(again.of(split, 2)), first)
    assert lines == ["means: shard 3 of 6"]
    untouched, lines = views(encode=None)
    assert torch.equal(all_of(untouched.of(split, 2)), first)
    assert lines == []


def test_shard_that_another_process_makes_is_waited_for(views, split, tmp_path, monkeypatch):
    """The other one is seen at work, then done: its shard is taken and not made twice."""
    monkeypatch.setattr(views_module, "SHARD", 5)
    expected = all_of(views("other")[0].of(split, 1))
    (other,) = {file.parent for file in (tmp_path / "other").glob("means-*/view-*")}
    mine = tmp_path / "work" / other.name
    mine.mkdir(parents=True)
    shard = "view-00-00000.safetensors"
    with exclusive(mine / "view-00-00000.lock", wait=False) as locked:
        assert locked

        def finish(seconds):
            (mine / shard).write_bytes((other / shard).read_bytes())

        monkeypatch.setattr(views_module.time, "sleep", finish)
        own, lines = views()
        encoded = own.of(split, 1)
    assert torch.equal(all_of(encoded), expected)
    assert lines == ["means: shard 2 of 2"]


def test_workers_share_out_the_shards(views, split, monkeypatch):
    monkeypatch.setattr(views_module, "SHARD", 1)
    monkeypatch.setattr(views_module, "_POLL_SECONDS", 0.001)
    expected = all_of(views("alone")[0].of(split, 2))
    together = Barrier(2, timeout=60)
    met = set()

    def encode(images):
        if current_thread() not in met:  # both are at a shard of their own before either goes on
            met.add(current_thread())
            together.wait()
        return images.mean(dim=1)

    made = [views(encode=encode) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for encoded in pool.map(lambda one: one[0].of(split, 2), made):
            assert torch.equal(all_of(encoded), expected)
    lines = [line for _, lines in made for line in lines]
    assert sorted(lines) == sorted(f"means: shard {n} of 20" for n in range(1, 21))
    assert all(lines for _, lines in made)


def test_damaged_shard_is_named(views, split, tmp_path):
    views()[0].of(split, 1)
    (shard,) = (tmp_path / "work").glob("means-*/view-*.safetensors")
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(GcbenchError, match=rf"{shard.name} is damaged"):
        views()[0].of(split, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"crops": Crops(8, 11)},
        {"crops": Crops(8, 10, flips=True)},
        {"encoder": {"name": "mean", "sha256": "1"}},
    ],
)
def test_other_makings_are_kept_apart(views, split, changes):
    views()[0].of(split, 1)
    other, lines = views(**changes)
    other.of(split, 1)
    assert lines


def test_encoder_that_fails_leaves_no_shard(views, split, tmp_path):
    def fail(images):
        raise GcbenchError("image 3 cannot be decoded")

    with pytest.raises(GcbenchError):
        views(encode=fail)[0].of(split, 1)
    assert not list((tmp_path / "work").glob("means-*/view-*.safetensors"))


def test_half_of_the_random_crops_are_mirrored_and_no_centre_crop(split):
    plain, flipped = Crops(8, 8), Crops(8, 8, flips=True)
    image = split.images[0]
    assert np.array_equal(flipped.of(image, None), plain.of(image, None))
    mirrored = [
        not np.array_equal(flipped.of(image, stream(n)), plain.of(image, stream(n)))
        for n in range(40)
    ]
    assert 10 < sum(mirrored) < 30


def test_resized_crops_are_squares_of_a_part_in_colour_too():
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8), (48, 64))
    colour = np.stack([ramp, ramp, ramp], axis=2)
    centre = resized_centre(ramp, 28)  # short side 48 to 32, then the central 28
    assert centre.shape == (28, 28)
    assert abs(float(centre.mean()) - 31.5) < 1
    spans = []
    for n in range(20):
        crop = random_resized(colour, 28, stream("crop", n))
        assert crop.shape == (28, 28, 3)
        spans.append(int(crop.max()) - int(crop.min()))
    assert min(spans) < 30 < max(spans)


def test_joined_views_follow_each_other():
    parts = [Encoded([[torch.full((2, 1), float(n))]]) for n in range(3)]
    assert all_of(joined(parts))[:, 0, 0].tolist() == [0, 1, 2]
