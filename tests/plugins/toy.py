"""A method and a benchmark for tests of the harness: cheap, exact, and able to die on purpose.

The scores are those of a real (tiny) rule: how far a pixel, chosen per trial, is from the class's
grey level. Environment variables make the process kill itself at a given shard.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Sample
from gcbench.method import GenerativeMethod, SampleKey, Trials, Variant

SIDE = 4
GREYS = LabelSpace("grey-5", ("black", "dark", "mid", "light", "white"))


class GreyLevel(GenerativeMethod):
    name = "grey-level"
    family = "autoregressive"
    summary = "scores a class by the distance to its grey level"
    variants = (Variant("tiny", "grey-5", {}, {}, SIDE), Variant("other", "animals", {}, {}, SIDE))
    default_trials = 6
    max_trials = None

    @property
    def preprocessing(self):
        return "none"

    def load(self):
        self.encoded = 0

    def preprocess(self, image):
        import numpy as np
        import torch

        return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)

    def encode(self, batch):
        self.encoded += len(batch)
        if self.encoded == int(os.environ.get("TOY_KILL_AT_IMAGE", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        return batch[:, 0].flatten(1)  # [B, SIDE * SIDE]

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        import torch

        from gcbench.orders import random_orders

        order = random_orders(samples, count, SIDE * SIDE, seed, self.runtime.protocol)
        return Trials(count, {"pixel": order[..., 0].to(torch.int64)})

    def score(self, latent, trials, work):
        limit = int(os.environ.get("TOY_MEMORY", "1000000"))
        if len(work.classes) > limit:
            raise RuntimeError("out of memory (toy)")
        pair = work.pair_of_evaluation()
        pixel = trials.draws["pixel"][work.image, work.trial][pair]
        value = latent[work.image[pair], pixel]
        return -((value - work.classes / 4) ** 2)


class Greys(BenchmarkFamily):
    suite = "toy"
    names: ClassVar = {"greys": "noisy grey squares"}

    def accepts(self, name):
        return name.split(":")[0] in self.names

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        broken = name.partition(":")[2] == "broken"
        samples = tuple(
            Sample(f"grey-{i:03d}", i % 5, _unreadable if broken and i == 3 else _square(i))
            for i in range(80)
        )
        return Benchmark(name, "toy", GREYS, (0, 1, 2, 3, 4), samples, digest=f"toy-{name}")


def _unreadable():
    raise OSError("truncated image")


def _square(index):
    def load():
        import numpy as np
        from PIL import Image

        noise = np.random.default_rng(index).normal(0, 60, (SIDE, SIDE))
        grey = np.clip(index % 5 * 255 / 4 + noise, 0, 255).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))

    return load
