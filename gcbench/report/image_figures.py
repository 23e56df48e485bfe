"""Figures of single images: what five orders see in one (1), and the errors of two methods (7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gcbench.analysis import Analysis
from gcbench.bench import Benchmark
from gcbench.errors import GcbenchError
from gcbench.report.compare import Classifier, Paired, paired, stored_classifier
from gcbench.report.evidence import run_command
from gcbench.report.figures import keep_layout
from gcbench.report.layouts import suite_of
from gcbench.report.maps import RivalMap, maps_of
from gcbench.report.slots import Slot
from gcbench.report.wanted import instance
from gcbench.store import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Load = Callable[[str], Benchmark]

ORDERS = 5
ORDER_ROWS = 4
ERRORS_SHOWN = 6  # of either kind
SMALL = 7  # points


def token_orders(
    runs: Sequence[Run], analyses: Sequence[Analysis], suite: str, benchmark: Load
) -> Figure:
    """Images, five token orders of each, and the class that each order alone predicts.

    Of all images those whose five orders name the most classes, at most one per true class.

    Raises:
        GcbenchError: no run of RandAR has the scores of single orders, or the images are not
            those that were scored.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    from gcbench.method import AutoregressiveMethod, SampleKey
    from gcbench.orders import random_orders

    slot = suite_of(suite).adapt(Slot("randar", "l", "in-val", trials=20))
    run = _with_scores([*runs, *analyses], slot)
    scores, spec = run.scores(), run.spec
    predicted = scores.classes[scores.values[:, :ORDERS].argmax(-1)]  # [N, 5]
    differing = np.array([len(set(row)) for row in predicted.tolist()])  # [N]
    most = np.argsort(-differing, kind="stable").tolist()
    chosen = _one_per_class(most, scores.labels, ORDER_ROWS)
    ids = [scores.sample_ids[i] for i in chosen]
    loaded = _same_images(benchmark(slot.benchmark), spec["benchmark_digest"])
    pictures, labels = _pictures(loaded, ids), loaded.label_space.labels
    method = instance(slot.method, slot.variant)
    assert isinstance(method, AutoregressiveMethod)
    side = method.token_sides[-1]
    keys = [SampleKey(id, spec["sample_ids"].index(id)) for id in ids]
    orders = random_orders(keys, ORDERS, side * side, spec["seed"], "independent").numpy()
    right, wrong = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[3]
    figure = Figure(figsize=(7.2, 0.75 + 1.25 * len(chosen)), layout="constrained")
    panels = figure.subplots(len(chosen), 1 + ORDERS, squeeze=False)
    for line, i, id, visits in zip(panels, chosen, ids, orders, strict=True):
        _picture(line[0], pictures[id])
        line[0].set_xlabel(_short(labels[scores.labels[i]]), fontsize=SMALL)
        for panel, order, answer in zip(line[1:], visits, predicted[i], strict=True):
            rank = np.empty(side * side, int)
            rank[order] = np.arange(side * side)
            _picture(panel, rank.reshape(side, side), cmap="cividis")
            is_right = answer == scores.labels[i]
            text = f"{'✓' if is_right else '✗'} {_short(labels[answer])}"
            panel.set_xlabel(text, fontsize=SMALL, color=right if is_right else wrong)
    titles = ["image", *(f"order {k + 1}" for k in range(ORDERS))]
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=SMALL + 1)
    split = int((differing > 1).sum())
    note = (
        "orders: from the first token visited (dark) to the last (light); below: what that order "
        f"alone predicts\n{split:,} of the {len(differing):,} scored images of {slot.benchmark} "
        "have orders that disagree; shown are those that disagree most, one per class"
    )
    figure.supxlabel(note, fontsize=SMALL)
    return keep_layout(figure)


def _with_scores(runs: Iterable[Run], slot: Slot) -> Run:
    """The run of that classifier with the most images whose raw scores are there."""
    found = []
    for run in runs:
        spec = run.spec
        what = (spec["method"], spec["variant"], spec["benchmark"], spec["protocol"])
        wanted = (slot.method, slot.variant, slot.benchmark, "independent")
        if what != wanted or not run.exhaustive or spec["trials"] < ORDERS:
            continue
        if run.present() and (count := len(run.scores().sample_ids)):
            found.append((-count, spec["seed"], run.name, run))
    if not found:
        raise GcbenchError(
            f"no run of {slot.method} ({slot.variant}) on {slot.benchmark} has {ORDERS} orders and "
            "its raw scores: committed results hold predictions of all orders together",
            hint=f"{run_command(slot)} --results DIR, then the same report with --results DIR",
        )
    return min(found, key=lambda entry: entry[:-1])[-1]


def errors(
    runs: Sequence[Run], analyses: Sequence[Analysis], suite: str, benchmark: Load
) -> Figure:
    """Images that RandAR gets wrong and the strongest other method right, and the other way round.

    Beside each image, where an analysis holds them, the tokens that speak for its true class and
    for the wrong class that RandAR finds most likely.

    Raises:
        GcbenchError: RandAR or any other method is not measured on the suite's validation set, or
            the images are not those that were scored.
    """
    from matplotlib.figure import Figure

    name = suite_of(suite).name("in-val")
    first = suite_of(suite).adapt(Slot("randar", "l", "in-val", trials=20))
    randar = stored_classifier(runs, first.method, first.variant, name)
    result = paired(randar, _strongest_other(runs, randar), common=False, seed=0)
    digest = randar.evidence.run.spec["benchmark_digest"]
    maps = maps_of(analyses, first.method, first.variant, name, digest)
    wide = 3 if maps else 1
    blocks = [
        (title, chosen)
        for title, which in _kinds(result)
        if (chosen := _examples(result, which, maps))
    ]
    if not blocks:
        raise GcbenchError(f"{_title(result.first)} and {_title(result.second)} never differ")
    loaded = _same_images(benchmark(name), digest)
    across = 2 if maps else 6
    heights = [0.4 + 1.5 * -(-len(chosen) // across) for _, chosen in blocks]
    figure = Figure(figsize=(7.2, sum(heights) + 0.55), layout="constrained")
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)
    for part, (title, chosen) in zip(parts.flat, blocks, strict=True):
        part.suptitle(title, fontsize=SMALL + 2)
        down = -(-len(chosen) // across)
        panels = part.subplots(down, across * wide, squeeze=False)
        _draw_errors(panels.reshape(-1, wide), result, chosen, loaded, maps)
    figure.supxlabel(_errors_note(result, maps), fontsize=SMALL)
    return keep_layout(figure)


def _draw_errors(
    panels: NDArray[Any],
    result: Paired,
    chosen: Sequence[int],
    loaded: Benchmark,
    maps: dict[str, RivalMap],
) -> None:
    """An image with its maps in each line of panels; what is left over stays empty."""
    one, other, labels = result.first, result.second, loaded.label_space.labels
    ids = [str(one.evidence.sample_ids[i]) for i in chosen]
    pictures = _pictures(loaded, ids)
    for panel in panels.flat:
        panel.set_axis_off()
    for line, i, id in zip(panels, chosen, ids, strict=False):
        line[0].set_axis_on()
        _picture(line[0], pictures[id])
        answers = "\n".join(
            f"{c.slot.method}: {_short(labels[c.evidence.predicted[i]])}" for c in (one, other)
        )
        line[0].set_xlabel(answers, fontsize=SMALL - 1)
        line[0].set_title(_short(labels[one.evidence.labels[i]]), fontsize=SMALL)
        if maps and id not in maps:
            line[1].text(0, 0.5, "not analysed", fontsize=SMALL, va="center")
        elif maps:
            sides = maps[id].sides
            top = max(float(values.max()) for _, values in sides)
            for panel, (name, values) in zip(line[1:], sides, strict=True):
                panel.set_axis_on()
                _picture(panel, values, cmap="cividis", vmin=0, vmax=top or 1)
                panel.set_title(f"for {_short(name)}", fontsize=SMALL)
                panel.set_xlabel(f"{values.max():.1f} nats", fontsize=SMALL - 1)


def _errors_note(result: Paired, maps: dict[str, RivalMap]) -> str:
    about = f"{result.count:,} images of {result.first.slot.benchmark}; above each its true class"
    if not maps:
        command = run_command(result.first.slot).replace("gcbench run", "gcbench analyze")
        return f"{about}\nwithout maps of tokens: these come from {command}"
    return (
        f"{about}; maps: log p(token | one class) - log p(token | the other), clipped at 0,\n"
        "both on one scale, the highest below; classes: the true one and the wrong one that "
        f"{result.first.slot.method} finds most likely"
    )


def _strongest_other(runs: Sequence[Run], first: Classifier) -> Classifier:
    """The classifier of another method with the highest accuracy on the same images."""
    name = first.slot.benchmark
    specs = [run.spec for run in runs if run.spec["benchmark"] == name]
    kinds = {(spec["method"], spec["variant"]) for spec in specs} - {
        (first.slot.method, spec["variant"]) for spec in specs
    }
    found = []
    for method, variant in sorted(kinds):
        try:
            one = stored_classifier(runs, method, variant, name)
        except GcbenchError:  # its runs left evaluations out: their decision stands for no rule
            continue
        if one.evidence.comparable(first.evidence):
            found.append(one)
    if not found:
        raise GcbenchError(
            f"no other method than {first.slot.method} is measured on the same images of {name}",
            hint=f"gcbench run --method METHOD --bench {name}",
        )
    return max(found, key=lambda one: one.evidence.accuracy)


def _kinds(result: Paired) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Either direction in which the two differ: its title, and which images [N]."""
    first, second = result.first, result.second
    for right, wrong in ((second, first), (first, second)):
        which = right.evidence.correct & ~wrong.evidence.correct
        title = f"{_title(right)} right, {_title(wrong)} wrong: {int(which.sum()):,} images"
        yield title, which


def _examples(result: Paired, which: NDArray[np.bool_], maps: dict[str, RivalMap]) -> list[int]:
    """Some of these images, one per true class first; those with maps where there are any."""
    evidence = result.first.evidence
    positions: list[int] = np.flatnonzero(which).tolist()
    mapped = [i for i in positions if str(evidence.sample_ids[i]) in maps]
    return _one_per_class(mapped or positions, evidence.labels, ERRORS_SHOWN)


def _one_per_class(positions: Iterable[int], labels: NDArray[np.integer], count: int) -> list[int]:
    """The first `count` positions of as many classes; then further ones."""
    first: dict[int, int] = {}
    rest = []
    for position in positions:
        label = int(labels[position])
        if label in first:
            rest.append(int(position))
        else:
            first[label] = int(position)
    return [*first.values(), *rest][:count]


def _same_images(loaded: Benchmark, digest: str) -> Benchmark:
    if loaded.digest != digest:
        raise GcbenchError(
            f"the images of {loaded.name} here are not those that were scored "
            f"(digest {loaded.digest[:12]}, the run's {digest[:12]})",
            hint="run the methods again, or give the --data-root that they were run with",
        )
    return loaded


def _pictures(loaded: Benchmark, ids: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """The images of these ids as RGB pixels [H, W, 3]."""
    wanted = set(ids)
    return {s.id: np.asarray(s.load().convert("RGB")) for s in loaded.samples if s.id in wanted}


def _picture(panel: Any, values: NDArray[Any], **how: Any) -> None:
    panel.imshow(values, interpolation="nearest", **how)
    panel.set_xticks([])
    panel.set_yticks([])


def _title(one: Classifier) -> str:
    return (
        f"{one.slot.method} ({one.slot.trials} trials)" if one.slot.trials > 1 else one.slot.method
    )


def _short(name: str) -> str:
    return name.split(",")[0]


IMAGE_FIGURES = {"token-orders": token_orders, "errors": errors}
