"""What the form shows beside its fields: the alternation as squares, and what is known about a backbone."""

from __future__ import annotations

from html import escape

from altub.backbones import BACKBONE_PRESETS, resolve_auto, weights_available
from altub.backbones.catalogue import backbone_titles
from altub.errors import ConfigError
from altub.training.config import TrainingConfig

__all__ = ["describe_backbone", "schedule_strip"]

STRIP_LENGTH = 40  # epochs or steps in the picture of the alternation


def describe_backbone(name: str | None) -> str:
    """What a backbone is and whether its weights are available; may ask the Hub once, for seconds."""
    name = (name or "").strip() or "auto"
    if name == "auto":
        chosen, why = resolve_auto()
        return f"Here: <b>{escape(_title(chosen))}</b>. {escape(why)}"
    preset = BACKBONE_PRESETS.get(name)
    about = f"{escape(preset.description)} " if preset else ""
    try:
        source = weights_available(name)
    except ConfigError as error:
        return f'<span class="warning">{escape(str(error))}</span>'
    if source == "none":
        return about
    where = {
        "file": "Weights: in the folder of ALTUB_WEIGHTS.",
        "cache": "Weights: in the Hugging Face cache.",
        "hub": "Weights: will be downloaded from the Hugging Face Hub.",
    }.get(source)
    if where:
        return about + where
    return (
        f'{about}<span class="warning">Weights not available: put {escape(name)}.safetensors into the folder of '
        "ALTUB_WEIGHTS, or connect to the Hugging Face Hub.</span>"
    )


def schedule_strip(config: TrainingConfig) -> str:
    """The first epochs (or steps) of the alternation as coloured squares, and a sentence."""
    base = config.base
    if base.base_update == "off":
        return '<p class="muted small">The base stays at N(0, I).</p>'
    by_step = base.interval_unit == "step"
    length = STRIP_LENGTH if by_step else min(config.epochs, STRIP_LENGTH)
    cells = []
    for index in range(1, length + 1):
        if by_step:
            turns, joint = base.step_turns(index), base.base_joins_flow(1, index)
        else:
            turns, joint = base.epoch_turns(index), base.base_joins_flow(index, 1)
        kind = " then ".join("base" if turn == "base" else "flow joint" if joint else "flow" for turn in turns)
        cells.append(f'<i class="{kind}" title="{base.interval_unit} {index}: {kind}"></i>')
    two = "; two colours: flow first, then base" if base.on_top else ""
    more = " …" if by_step or config.epochs > length else ""
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in config.notes)
    return (
        f'<div class="strip" aria-label="schedule">{"".join(cells)}{more}</div><p class="muted small">Each square is '
        f'one {base.interval_unit}: <span class="phase flow">flow trains</span>, <span class="phase joint">both '
        f'train</span>, <span class="phase base">base trains</span>{two}.</p>{notes}'
    )


def _title(backbone: str) -> str:
    return backbone_titles().get(backbone, backbone)
