"""A measurement of detectability as HTML: the curve, its sizes, real defects beside it, examples. Text is escaped."""

from __future__ import annotations

import math
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from altub.errors import ModelError
from altub.evaluation.detectability import Detectability
from altub.evaluation.detectability.examples import main_contrast, read_examples
from altub.evaluation.detectability.record import RESULT_FILE
from altub.evaluation.detectability.report import EXAMPLES_TEXT, FOLDER, SYNTHETIC, chart
from altub.inference.model_files import read_config
from altub.runs.run import Run
from altub.ui.background import BackgroundTask
from altub.ui.errors import notice
from altub.ui.html.pictures import broken_tile, data_uri, thumbnail_uri
from altub.ui.watch import stamp

if TYPE_CHECKING:
    from altub.evaluation.detectability import PodCurve

__all__ = ["ABOUT", "NO_RUN", "result_html", "result_stamp", "task_html"]

ABOUT = (
    "Draws synthetic defects of known size on good images that the model was not trained on, and counts which it "
    "finds. No real defect is needed."
)
NO_RUN = '<p class="hub-note"><b>No trained model yet.</b> Train one on the Train tab.</p>'
NOT_MEASURED = '<p class="hub-note">Not measured yet for this model. It takes about a minute for 100 images.</p>'
OUTDATED = '<p class="hub-note">Measured before this model was trained further: measure again.</p>'
MIDDLE_SIZE = "Good images with a drawn defect of a middle size, and their heatmaps."
_SIDE = 256  # pixels of an example
_NAMES = {
    "scratch": "Scratches",
    "spot": "Spots",
    "cut-paste": "Cut-and-paste pieces",
    "colour": "Colour stains",
    "texture": "Patches of noise",
}


def result_stamp(run: Run) -> tuple[object, ...]:
    """Changes when there is another result to show for this run."""
    return (run.id, stamp(run.model_dir / FOLDER / RESULT_FILE), stamp(run.model_dir / "config.json"))


def task_html(task: BackgroundTask, run_id: str) -> str:
    """How the measurement of this run is going, or how it ended."""
    if task.state == "idle" or not run_id:
        return ""
    if task.is_running:
        share = "" if task.fraction is None else f' style="width:{100 * task.fraction:.0f}%"'
        known = "" if task.fraction is None else " known"
        return (
            f'<div role="status"><p class="hub-note">{escape(run_id)}: {escape(task.text or "starting")} …</p>'
            f'<div class="hub-bar{known}"><i{share}></i></div></div>'
        )
    kind = "problem" if task.state == "failed" else "done"
    return f'<p class="hub-note {kind}" role="status">{escape(run_id)}: {notice(task.text)}</p>'


def result_html(run: Run | None, scale: float | None) -> str:
    """What is known of the smallest defects that the run's model finds.

    Args:
        scale: mm per pixel, in place of the one that it was measured with; None leaves that.
    """
    if run is None:
        return NO_RUN
    folder = run.model_dir / FOLDER
    if not (folder / RESULT_FILE).is_file():
        return NOT_MEASURED
    try:
        result = Detectability.read(folder)
        if result.weights_sha256 != read_config(run.model_dir).weights_sha256:
            return OUTDATED
    except ModelError:
        return '<p class="hub-note problem">The kept result is damaged: measure again.</p>'
    if not result.trials:
        return NOT_MEASURED
    if scale is not None:
        result = result.model_copy(update={"mm_per_pixel": scale})
    return _result(result, folder)


def _result(result: Detectability, folder: Path) -> str:
    contrast = main_contrast(result)
    curve = result.curve(contrast)
    good, alarms = len(result.good_scores), result.false_alarms
    light, dark = _charts(folder, stamp(folder / RESULT_FILE), result.mm_per_pixel, contrast)
    words = f"Probability of detection over size; {_sentence(result, curve)}"
    pictures = "".join(
        f'<img class="{theme}" src="{uri}" alt="{escape(words)}" width="760" height="420">'
        for theme, uri in (("light", light), ("dark", dark))
    )
    return (
        f'<div class="pod"><p class="said">{escape(_sentence(result, curve))}</p>{_tiles(result, curve)}'
        f'<figure class="curve">{pictures}<figcaption>Blue: probability of detection over size with its 95 % band, and '
        "the observed shares. Grey: each kind of defect.</figcaption></figure>"
        f"{_kinds(result, contrast)}{_real(result, contrast)}{_examples(result, folder)}"
        f'<p class="hub-note">{escape(result.promise)} Of the {good} good images used here, {alarms} '
        f"{'is' if alarms == 1 else 'are'} called defective without a defect. {escape(SYNTHETIC)}</p></div>"
    )


def _sentence(result: Detectability, curve: PodCurve) -> str:
    """The one thing to take away."""
    bound, half = curve.bound_at(0.9), curve.size_at(0.5)
    contrast = f"at contrast {main_contrast(result):g}"
    if bound is None or math.isinf(bound):
        share = curve.hits.mean()
        hint = " Try a fainter contrast." if share > 0.9 else " Try a stronger contrast." if share < 0.5 else ""
        return (
            f"Which size is found in 90 % of cases is not determined {contrast}: "
            f"{int(curve.hits.sum())} of {len(curve.hits)} up to {curve.sizes[-1]:.3g} {result.unit} were found.{hint}"
        )
    return (
        f"Defects of {result.size_words(bound, curve)} and larger are found in at least 90 % of cases {contrast}, with "
        f"95 % confidence; half of those of {result.size_words(half, curve)}."
    )


def _tiles(result: Detectability, curve: PodCurve) -> str:
    rows = (
        ("a50", curve.size_at(0.5), "Size that is found in 50 % of cases"),
        ("a90", curve.size_at(0.9), "Size that is found in 90 % of cases"),
        ("a90/95", curve.bound_at(0.9), "Size that is found in 90 % of cases with 95 % confidence"),
    )
    tiles = "".join(
        f'<div title="{title}"><dt>{name}</dt><dd>{escape(result.size_words(size, curve))}</dd></div>'
        for name, size, title in rows
    )
    found = f"{int(curve.hits.sum())} of {len(curve.hits)}"
    return f'<dl>{tiles}<div title="Synthetic defects of all sizes"><dt>Found</dt><dd>{found}</dd></div></dl>'


def _kinds(result: Detectability, contrast: float) -> str:
    rows = []
    for kind in result.kinds:
        curve = result.curve(contrast, kind)
        sizes = (curve.size_at(0.5), curve.size_at(0.9), curve.bound_at(0.9))
        cells = "".join(f"<td>{escape(result.size_words(size, curve))}</td>" for size in sizes)
        name = escape(_NAMES.get(kind, kind))
        rows.append(f'<tr><th scope="row">{name}</th><td>{int(curve.hits.sum())} of {len(curve.hits)}</td>{cells}</tr>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Kind", "Found", "a50", "a90", "a90/95"))
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _real(result: Detectability, contrast: float) -> str:
    if not result.real:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(row["defect"])}</th><td>{row["hits"]} of {row["images"]}</td>'
        f"<td>{row['median_size']:.3g} {result.unit}</td><td>{row['expected'][f'{contrast:g}']:.1f}</td></tr>"
        for row in result.real_rows()
    )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("Real defect", "Found", "Median size", "Expected by the curve")
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _examples(result: Detectability, folder: Path) -> str:
    figures = []
    for example in read_examples(folder, result):
        pictures = "".join(
            f'<img src="{uri}" alt="{what}">' if (uri := thumbnail_uri(path, _SIDE)) else broken_tile()
            for path, what in ((example.image, "Image with the defect"), (example.heatmap, "Its heatmap"))
        )
        figures.append(f"<figure>{pictures}<figcaption>{escape(example.words(result))}</figcaption></figure>")
    if not figures:
        return ""
    size = result.curve(main_contrast(result)).size_at(0.9)
    text = EXAMPLES_TEXT if size and math.isfinite(size) else MIDDLE_SIZE
    return f'<h4>{text}</h4><div class="scroll examples" tabindex="0">{"".join(figures)}</div>'


@lru_cache(maxsize=16)
def _charts(folder: Path, _: object, scale: float | None, contrast: float) -> tuple[str, str]:
    """The curve for a light and for a dark page; matplotlib takes a tenth of a second for each."""
    result = Detectability.read(folder).model_copy(update={"mm_per_pixel": scale})
    light, dark = (data_uri(chart(result, contrast, dark=is_dark), lossless=True) for is_dark in (False, True))
    return light, dark
