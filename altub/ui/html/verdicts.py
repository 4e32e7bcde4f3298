"""Verdicts and their numbers in words, the same on every tab. Pure."""

from __future__ import annotations

from html import escape

from altub.inference.prediction import Kind, Verdict

__all__ = ["VERDICTS", "number", "p_value_in_words", "percent", "remarks"]

#: Kind of a verdict -> class of its chip, word.
VERDICTS: dict[Kind, tuple[str, str]] = {
    "good": ("good", "Good"),
    "borderline": ("borderline", "Borderline"),
    "defect": ("defect", "Defect"),
    "not comparable": ("not-comparable", "Not comparable"),
}


def number(value: float) -> str:
    """Three decimals at most, with a real minus sign."""
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "0") else text.replace("-", "−")


def percent(share: float) -> str:
    """0.05 -> "5 %", with as many digits as it needs."""
    if 0 < share < 0.00005:
        return "< 0.01 %"
    value = 100 * share
    return f"{value:.2f}".rstrip("0").rstrip(".") + " %" if value < 1 else f"{value:.3g} %"


def p_value_in_words(p_value: float, held_out: int) -> str:
    """What a p-value says about good images; `held_out` is the number of scores it was estimated from."""
    if p_value <= 1 / (held_out + 1) * (1 + 1e-9):
        others = f"all {held_out} reference images" if held_out > 1 else "the only reference image"
        return f"More anomalous than {others}; expected of at most 1 good part in {held_out + 1}."
    if p_value <= 0.15:
        return f"Expected of about 1 good part in {round(1 / p_value)}."
    if p_value >= 0.95:
        return "Nearly all good parts score at least as high."
    return f"Expected of about {round(10 * p_value)} good parts in 10."


def remarks(verdict: Verdict) -> str:
    """What else there is to say of a verdict, in paragraphs."""
    found = list(verdict.reasons)
    if verdict.is_borderline:
        side = "above" if verdict.is_anomalous else "below"
        found.append(f"Just {side} the threshold: one more held-out image could turn the verdict.")
    if verdict.pixel_value < verdict.threshold.pixel_value:
        found.append("No pixel is above the pixel threshold: the region that made the score is outlined.")
    return "".join(f'<p class="remark">{escape(remark)}</p>' for remark in found)
