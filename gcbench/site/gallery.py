"""Pages of images: what every run says about some of a benchmark's images, and where it looks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark, BenchmarkFamily, Sample
from gcbench.registry import Registry
from gcbench.report.maps import RivalMap, maps_of
from gcbench.site.markup import Content, Html, data_uri, element, link, table
from gcbench.site.page import page
from gcbench.site.runs import link_to, title_of
from gcbench.store import Run

FIRST, WRONG = 2, 2  # images of each class: the first ones, and the first ones some run gets wrong
MOST_CLASSES = 20  # of which posteriors are listed; of more, those that some run finds likeliest
MAP_SIDE = 64  # pixels


@dataclass(frozen=True)
class Answers:
    """What a run says about images.

    Attributes:
        at: rule and trials of its predictions.
        row: of each image, by sample id.
        predicted: [N] classes.
        posterior: [N, C]; None for a run that left evaluations out.
    """

    run: Run
    at: str
    row: Mapping[str, int]
    predicted: NDArray[np.int64]
    posterior: NDArray[np.float32] | None

    def of(self, sample: Sample) -> int | None:
        """The predicted class of an image; None where the run has none."""
        return int(self.predicted[self.row[sample.id]]) if sample.id in self.row else None

    def share(self, sample: Sample, label: int) -> float | None:
        """The posterior of a class."""
        classes = self.run.spec["classes"]
        if self.posterior is None or sample.id not in self.row or label not in classes:
            return None
        return float(self.posterior[self.row[sample.id], classes.index(label)])


def answers_of(run: Run) -> Answers:
    """What a finished run says. Raises GcbenchError when its predictions are damaged."""
    predictions, summary = run.predictions(), run.summary or {}
    at = f"{summary.get('default_rule', 'mean')}@{run.spec['trials']}"
    at = at if at in predictions else "decision"
    posterior = None
    if "posterior" in predictions and len(predictions):
        posterior = np.stack(list(predictions["posterior"]))
    ids = predictions["sample_id"].tolist()
    return Answers(
        run,
        at,
        {id: row for row, id in enumerate(ids)},
        predictions[at].to_numpy(dtype=np.int64),
        posterior,
    )


@dataclass(frozen=True)
class Gallery:
    """A benchmark with the runs on its images, and the maps of single ones by run title."""

    benchmark: Benchmark
    runs: Sequence[Run]
    maps: Mapping[str, Mapping[str, RivalMap]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return gallery_file(self.benchmark.name)

    @cached_property
    def answers(self) -> list[Answers]:
        return [answers_of(run) for run in self.runs]

    def chosen(self) -> list[Sample]:
        """The images that the page shows, class by class."""
        return [
            sample
            for members in self.benchmark.by_class().values()
            for sample in self._of_class(members)
        ]

    def _of_class(self, members: Sequence[Sample]) -> list[Sample]:
        first = list(members[:FIRST])
        rest = members[FIRST:]
        wrong = [s for s in rest if any(a.of(s) not in (None, s.label) for a in self.answers)]
        return first + wrong[:WRONG]


def gallery_file(benchmark: str) -> str:
    """The file of a benchmark's page."""
    return benchmark.replace(":", "_").replace("/", "_") + ".html"


def galleries(
    registry: Registry, runs: Iterable[Run], analyses: Sequence[Analysis]
) -> dict[str, Gallery]:
    """Of every benchmark whose images ship with gcbench, and that finished runs are about.

    Runs on other images of the same name are left out.

    Raises:
        GcbenchError: embedded images, or an analysis, are damaged.
    """
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        if run.summary is not None:
            by_name.setdefault(run.spec["benchmark"], []).append(run)
    shipped = [f for f in registry.families if type(f).locate is BenchmarkFamily.locate]
    found = {}
    for name in sorted(by_name):
        family = next((f for f in shipped if f.accepts(name)), None)
        if family is None:
            continue
        benchmark = family.load(name)
        same = [r for r in by_name[name] if r.spec["benchmark_digest"] == benchmark.digest]
        if same:
            found[name] = Gallery(benchmark, same, _maps(analyses, benchmark))
    return found


def _maps(analyses: Sequence[Analysis], benchmark: Benchmark) -> dict[str, dict[str, RivalMap]]:
    """The maps of every analysed classifier, by its name."""
    kinds = {(a.spec["method"], a.spec["variant"]): a for a in analyses}
    return {
        method if variant == benchmark.suite else f"{method}:{variant}": found
        for method, variant in sorted(kinds)
        if (found := maps_of(analyses, method, variant, benchmark.name, benchmark.digest))
    }


def gallery_list(shown: Mapping[str, Gallery], suite: str) -> str:
    """The page that lists the galleries."""
    rows = [
        [
            link(name, "images", one.file),
            f"{len(one.benchmark):,}",
            str(len(one.chosen())),
            str(len(one.runs)),
            ", ".join(one.maps) or "—",
        ]
        for name, one in shown.items()
    ]
    heads = ["Benchmark", "Images", "Shown", "Runs", "Maps of tokens"]
    caption = "Benchmarks whose images ship with gcbench"
    listed = table(caption, heads, rows, sortable=True)
    none = element("p", "No stored run is about a benchmark whose images ship with gcbench.")
    return page("Images", listed if rows else none, here="images.html", suite=suite)


def gallery_page(one: Gallery, suite: str) -> str:
    """Images of a benchmark, class by class: answers and posteriors of every run, and maps."""
    labels = one.benchmark.label_space.labels
    by_class: dict[int, list[Sample]] = {}
    chosen = one.chosen()
    for sample in chosen:
        by_class.setdefault(sample.label, []).append(sample)
    explained = (
        f"{len(chosen)} of {len(one.benchmark):,} images: of each class the first {FIRST}, and "
        f"the next {WRONG} that some run gets wrong. Each run answers by its own rule and all of "
        "its trials; p is the posterior of a class, softmax over the candidate classes of the mean "
        "score."
    )
    about_maps = (
        "Maps show log p(token | true class) - log p(token | rival), mean over orders, "
        "where the rival is the best wrong class: at the left the tokens that speak for the true "
        "class, at the right those that speak for the rival, both on one scale."
    )
    jumps = [element("li", element("a", labels[c], href=f"#class-{c}")) for c in by_class]
    sections = [
        element(
            "section",
            element("h2", labels[label], id=f"class-{label}"),
            element("div", [_card(one, sample) for sample in members], class_="cards"),
        )
        for label, members in by_class.items()
    ]
    return page(
        f"Images of {one.benchmark.name}",
        element("p", explained),
        element("p", about_maps) if one.maps else None,
        element("nav", element("ul", jumps), aria_label="Classes"),
        *sections,
        here="images.html",
        suite=suite,
        up=True,
    )


def _card(one: Gallery, sample: Sample) -> Html:
    true = one.benchmark.label_space.labels[sample.label]
    pixels = np.asarray(sample.load().convert("RGB"))
    pictures = [_picture(pixels, f"{true}, image {sample.id}", "the image")]
    for name, maps in one.maps.items():
        if sample.id in maps:
            pictures += _map_pictures(name, maps[sample.id])
    answered = [a for a in one.answers if sample.id in a.row]
    return element(
        "article",
        "\n",
        element("h3", f"{true} ", element("small", sample.id)),
        element("div", pictures, class_="pictures"),
        "\n",
        _predictions(one, sample, answered),
        "\n",
        element(
            "details",
            element("summary", "Posteriors of the classes"),
            _posteriors(one, sample, answered),
        )
        if any(a.posterior is not None for a in answered)
        else None,
        class_="card",
        aria_label=f"{true}, {sample.id}",
    )


def _predictions(one: Gallery, sample: Sample, answered: Sequence[Answers]) -> Html:
    labels, rows = one.benchmark.label_space.labels, []
    for answers in answered:
        label = int(answers.predicted[answers.row[sample.id]])
        mark, word = ("✓ ", "right") if label == sample.label else ("✗ ", "wrong")
        said = [
            element("span", mark, class_=word, aria_hidden="true"),
            labels[label],
            element("span", f" ({word})", class_="hidden"),
        ]
        rows.append([link_to(answers.run, up=True), said, _share(answers.share(sample, label))])
    caption = element("small", "What each run answers")
    return table(caption, ["Run", "Answer", "p"], rows, label=f"Answers for {sample.id}")


def _posteriors(one: Gallery, sample: Sample, answered: Sequence[Answers]) -> Html:
    """A row per class, a column per run."""
    labels = one.benchmark.label_space.labels
    columns = [a for a in answered if a.posterior is not None]
    shares = {c: [a.share(sample, c) for a in columns] for c in one.benchmark.classes}
    listed = sorted(shares, key=lambda c: -max((s or 0.0 for s in shares[c]), default=0.0))
    rows = [
        [
            element("strong", labels[c]) if c == sample.label else labels[c],
            *(_share(share) for share in shares[c]),
        ]
        for c in sorted(listed[:MOST_CLASSES])
    ]
    left = len(shares) - len(rows)
    caption = f"Posterior of each class{f', without {left:,} unlikelier ones' if left else ''}"
    heads = ["Class", *(title_of(a.run) for a in columns)]
    return table(element("small", caption), heads, rows, label=f"Posteriors of {sample.id}")


def _share(share: float | None) -> Content:
    if share is None:
        return "—"
    return element("td", f"{share:.3f}", class_="share", style=f"--p:{share:.3f}")


def _map_pictures(name: str, one: RivalMap) -> list[Html]:
    """Either class's map, coloured on the scale of both."""
    from matplotlib import colormaps

    top = max(float(values.max()) for _, values in one.sides) or 1.0
    factor = max(1, MAP_SIDE // len(one.difference))
    pictures = []
    for label, values in one.sides:
        colours = (colormaps["cividis"](values / top)[..., :3] * 255).round().astype(np.uint8)
        large = np.kron(colours, np.ones((factor, factor, 1), np.uint8))
        text = f"{name}: for {label}, up to {values.max():.1f} nats"
        alt = f"Map of the tokens that speak for {label} in {name}, K = {one.trials}"
        pictures.append(_picture(large, alt, text))
    return pictures


def _picture(pixels: NDArray[Any], alt: str, caption: str) -> Html:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="png", optimize=True)
    return element(
        "figure",
        element(
            "img",
            src=data_uri(stream.getvalue()),
            alt=alt,
            width=pixels.shape[1],
            height=pixels.shape[0],
        ),
        element("figcaption", caption),
    )
