"""What every benchmark must hold: parametrised over all that are found."""

import pytest
from checkout import PLUGINS

from gcbench.registry import Registry

REGISTRY = Registry([PLUGINS])
EMBEDDED = [
    name
    for f in REGISTRY.families
    if f.suite in ("mini", "pairs", "shifts", "toy")
    for name in f.names
]


@pytest.fixture(params=EMBEDDED)
def benchmark(request):
    return REGISTRY.benchmark(request.param)


def test_ids_are_unique_and_labels_are_candidates(benchmark):
    ids = [s.id for s in benchmark.samples]
    assert len(set(ids)) == len(ids) > 0
    assert {s.label for s in benchmark.samples} == set(benchmark.classes)
    assert list(benchmark.classes) == sorted(set(benchmark.classes))
    assert all(0 <= c < len(benchmark.label_space) for c in benchmark.classes)


def test_images_are_raw_rgb(benchmark):
    for sample in benchmark.samples[:: max(1, len(benchmark) // 20)]:
        image = sample.load()
        assert image.mode == "RGB"
        assert min(image.size) >= 4


def test_loading_twice_gives_the_same_samples_and_pixels(benchmark):
    again = REGISTRY.benchmark(benchmark.name)
    assert again.digest == benchmark.digest
    assert again.samples_digest == benchmark.samples_digest
    one, other = benchmark.samples[-1], again.samples[-1]
    assert one.load().tobytes() == other.load().tobytes()


def test_digest_names_the_content(benchmark):
    assert benchmark.digest
    others = {REGISTRY.benchmark(n).digest for n in EMBEDDED if n != benchmark.name}
    assert benchmark.digest not in others
