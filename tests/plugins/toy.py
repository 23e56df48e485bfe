"""Methods and a benchmark for tests of the harness: cheap, exact, and able to die on purpose.

The scores are those of a real (tiny) rule: how far a pixel, chosen per trial, is from the class's
grey level. Environment variables send the process signals at given images, as counted since its
networks were loaded: TOY_SIGNALS=5:SIGINT,6:SIGINT; with TOY_ONCE=FILE only if there is no such
file, which is made first. TOY_SIGNAL_PARENT=5:SIGINT sends it to the process that started this one
and waits for a signal in return. Benchmarks: `greys`, `greys:broken` (image 3 is unreadable),
`greys:odd` (decoding it raises an unusual error), `greys:poison` (scoring it does; 40 gives NaN).
"""

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from gcbench.bench import Benchmark, BenchmarkFamily, LabelSpace, Sample
from gcbench.method import (
    AutoregressiveMethod,
    GenerativeMethod,
    SampleKey,
    TokenScores,
    Trials,
    Variant,
)

SIDE = 4
POISON = -7.0
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
        _send_signals(self.encoded)
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
        if (value == POISON).any():
            raise ZeroDivisionError("poison (toy)")
        return -((value - work.classes / 4) ** 2)


class GreyTokens(GreyLevel, AutoregressiveMethod):
    name = "grey-tokens"
    summary = "the same rule, token by token: the later a pixel is visited, the less it counts"
    token_sides = (SIDE,)
    score = AutoregressiveMethod.score

    def trials(self, count: int, samples: Sequence[SampleKey], seed: int) -> Trials:
        from gcbench.orders import random_orders

        order = random_orders(samples, count, SIDE * SIDE, seed, self.runtime.protocol)
        return Trials(count, {"order": order})

    def token_scores(self, latent, trials, work):
        import torch

        position = trials.draws["order"][work.image, work.trial]  # [P, N]
        visited = latent[work.image].gather(1, position)
        if (visited == POISON).any():
            raise ZeroDivisionError("poison (toy)")
        weight = 1 / torch.arange(1, SIDE * SIDE + 1)
        away = visited[work.pair_of_evaluation()] - work.classes[:, None] / 4  # [E, N]
        return TokenScores(-weight * away**2, position)


def _send_signals(image: int) -> None:
    number, _, name = os.environ.get("TOY_SIGNAL_PARENT", "").partition(":")
    if number == str(image):
        os.kill(os.getppid(), signal.Signals[name])
        signal.pause()
    for entry in filter(None, os.environ.get("TOY_SIGNALS", "").split(",")):
        number, name = entry.split(":")
        if image == int(number):
            once = os.environ.get("TOY_ONCE")
            if once is not None:
                if Path(once).exists():
                    return
                Path(once).touch()
            os.kill(os.getpid(), signal.Signals[name])


class Greys(BenchmarkFamily):
    suite = "toy"
    names: ClassVar = {"greys": "noisy grey squares"}

    def accepts(self, name):
        return name.split(":")[0] in self.names

    def load(self, name: str, data_root: Path | None = None) -> Benchmark:
        loaders = [_square(i) for i in range(80)]
        match name.partition(":")[2]:
            case "broken":
                loaders[3] = _unreadable
            case "odd":
                loaders[3] = _odd
            case "poison":
                loaders[3], loaders[40] = partial(_flat, POISON), partial(_flat, float("nan"))
        samples = tuple(Sample(f"grey-{i:03d}", i % 5, load) for i, load in enumerate(loaders))
        return Benchmark(name, "toy", GREYS, (0, 1, 2, 3, 4), samples, digest=f"toy-{name}")


def _unreadable():
    raise OSError("truncated image")


def _odd():
    raise ZeroDivisionError("no such codec")


def _flat(value):
    """An image of one value, which need not be one that a file can hold."""
    import numpy as np

    return np.full((SIDE, SIDE, 3), value * 255, np.float32)


def _square(index):
    def load():
        import numpy as np
        from PIL import Image

        noise = np.random.default_rng(index).normal(0, 60, (SIDE, SIDE))
        grey = np.clip(index % 5 * 255 / 4 + noise, 0, 255).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))

    return load
