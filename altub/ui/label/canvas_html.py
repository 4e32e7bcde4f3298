"""The HTML of the canvas: tools, stage, verdicts, panel and the list of keys. `assets/label-panel.js` fills it.

The HTML goes through a template: it has no backtick, no "${" and no double brace.
"""

from __future__ import annotations

__all__ = ["canvas_html"]

LARGEST_BRUSH = 200  # of the slider; keys and the wheel go on

_ICONS = {
    "move": "M10 3v14M3 10h14M10 3 8 5m2-2 2 2m-2 12-2-2m2 2 2-2M3 10l2-2m-2 2 2 2m12-2-2-2m2 2-2 2",
    "brush": "M16.5 3.5 9 11m0 0c-2 0-3 1-3.3 3-.2 1.2-1 2-2.2 2.3 2.7 1 7.5.2 7.5-3.3 0-1.1-.9-2-2-2z",
    "eraser": (
        "m8.5 16-5-5a1.4 1.4 0 0 1 0-2l5.5-5.5a1.4 1.4 0 0 1 2 0l5 5a1.4 1.4 0 0 1 0 2L10.5 16zM6 6.5l7 7M8.5 16H17"
    ),
    "line": ("M4.5 15.5 15.5 4.5M3 17a1.5 1.5 0 1 0 3 0 1.5 1.5 0 0 0-3 0M14 3a1.5 1.5 0 1 0 3 0 1.5 1.5 0 0 0-3 0"),
    "polygon": "m10 3 7 5-2.7 8H5.7L3 8z",
    "fill": (
        "m9 4 6.5 6.5-5.5 5.5a1.4 1.4 0 0 1-2 0L4 12a1.4 1.4 0 0 1 0-2zm0 0L7 2m-3.5 9h11.5M17"
        " 14.5c.8 1 .8 2 0 2s-.8-1 0-2z"
    ),
    "undo": "M7 5 4 8l3 3M4 8h8a4 4 0 0 1 0 8H8",
    "redo": "m13 5 3 3-3 3m3-3H8a4 4 0 0 0 0 8h4",
    "clear": "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
    "use": "M4 10.5 8 14.5 16 6",
    "heat": "M10 3c.5 3 4 4.5 4 8.5a4 4 0 0 1-8 0c0-1.5.6-2.5 1.5-3.5C8 9.5 9 9 9 7.5 9 6 9 4.5 10 3z",
    "proposal": "M4 7V4h3M13 4h3v3M16 13v3h-3M7 16H4v-3M8 10h4",
    "out": "M5 10h10",
    "in": "M5 10h10M10 5v10",
    "fit": "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
}
_TOOLS = (
    ("move", "Move", "V"),
    ("brush", "Brush", "B"),
    ("eraser", "Eraser", "E"),
    ("line", "Line", "L"),
    ("polygon", "Polygon", "G"),
    ("fill", "Fill", "F"),
)
_KEYS = (
    ("Verdict", (("1", "good"), ("2", "defect, of the selected type"), ("3", "unsure"))),
    (
        "Proposal",
        (("Enter", "accept and go on"), ("P", "copy into the mask"), ("H", "heatmap"), ("M", "proposed mask")),
    ),
    ("Images", (("D or →", "next, without a label"), ("A or ←", "previous"), ("U", "take the last label back"))),
    ("Defect type", (("T", "choose: a digit, or type its name"), ("N", "note"))),
    (
        "Mask",
        (
            ("B, E", "brush, eraser"),
            ("L, G, F", "line, polygon, fill"),
            ("Ctrl + drag", "erase (with the eraser: paint)"),
            ("[ ] or Shift + wheel", "brush size"),
            ("Enter, Esc", "close the polygon, give it up"),
            ("C", "clear"),
            ("Ctrl + Z", "undo; without a stroke: the last label"),
            ("Ctrl + Shift + Z", "redo"),
        ),
    ),
    ("View", (("Ctrl + wheel, + −", "zoom"), ("0", "fit"), ("V, Space + drag", "move"), ("?", "this list"))),
)


def canvas_html() -> str:
    """The whole of it."""
    tools = "".join(_button(f'data-tool="{tool}"', name, key, _icon(tool)) for tool, name, key in _TOOLS)
    return (
        '<div class="label-desk" data-state="empty">'
        '<div class="desk-main">'
        f'<div class="tools" role="toolbar" aria-label="Mask tools"><span>{tools}</span>'
        '<label class="size"><input type="range" aria-label="Brush size" title="Brush size ([ ])" data-part="size" '
        f'min="1" max="{LARGEST_BRUSH}" value="12">'
        '<output data-part="size-text"></output></label>'
        f"<span>{_act('undo', 'Undo', 'Ctrl+Z')}{_act('redo', 'Redo', 'Ctrl+Shift+Z')}"
        f"{_act('clear', 'Clear mask', 'C')}{_act('use', 'Copy proposal into the mask', 'P')}</span>"
        f"<span>{_act('heat', 'Heatmap', 'H')}{_act('proposal', 'Proposed mask', 'M')}</span>"
        f"<span>{_act('out', 'Zoom out', '−')}<output data-part='zoom'></output>{_act('in', 'Zoom in', '+')}"
        f"{_act('fit', 'Fit', '0')}</span>"
        '<button type="button" data-part="keys" title="Keys (?)" aria-label="Keys" aria-keyshortcuts="?">?</button>'
        "</div>"
        '<div class="stage" data-part="stage" tabindex="0" role="img" aria-label="No image">'
        "<canvas></canvas><canvas></canvas></div>"
        '<div class="veil" data-part="veil"><p>One moment …</p></div>'
        '<div class="veil loading" aria-hidden="true"></div>'
        '<div class="under"><b data-part="name"></b><span data-part="about"></span><span data-part="area"></span>'
        '<span data-part="saved" role="status"></span></div>'
        '<p class="hint" data-part="hint" role="alert"></p><p class="spoken" data-part="spoken" aria-live="polite"></p>'
        '</div><div class="desk-side">'
        f'<div class="verdicts" role="group" aria-label="Verdict">{_verdict("good", "Good", 1)}'
        f"{_verdict('defect', 'Defect', 2)}{_verdict('unsure', 'Unsure', 3)}</div>"
        '<div class="ways"><button type="button" data-part="previous" aria-keyshortcuts="A">← Previous</button>'
        '<button type="button" data-part="next" aria-keyshortcuts="D">Next →</button></div>'
        '<section><h4>Model <span class="chip plain" data-part="verdict"></span></h4><dl>'
        '<div><dt>Score</dt><dd data-part="score">–</dd></div>'
        '<div><dt>Threshold</dt><dd data-part="threshold">–</dd></div>'
        '<div><dt>p-value</dt><dd data-part="p">–</dd></div></dl>'
        '<button type="button" class="wide" data-part="accept" aria-keyshortcuts="Enter">Accept and go on <kbd>⏎</kbd>'
        "</button></section>"
        '<section><h4>Defect type <kbd>T</kbd></h4><div class="types" data-part="types"></div>'
        '<p class="quiet" data-part="none">Press Enter to add this type.</p>'
        '<input type="text" data-part="type" maxlength="60" autocomplete="off" placeholder="Type to find or add" '
        'aria-label="Defect type"></section>'
        '<section><h4><span>Note <kbd>N</kbd></span></h4><input type="text" data-part="note" maxlength="2000" '
        'autocomplete="off" aria-label="Note"></section>'
        '<section class="log"><h4>Labels<button type="button" data-part="undo-label" aria-keyshortcuts="U">'
        'Take back last</button></h4><ul data-part="history" hidden></ul>'
        '<p class="progress"><span><i data-part="bar"></i></span><b data-part="progress"></b></p>'
        '<p class="quiet">Labels by <b data-part="who"></b> '
        '<button type="button" class="link" data-part="rename" hidden>change</button></p></section></div>'
        f"{_help()}</div>"
    )


def _act(part: str, name: str, key: str) -> str:
    return _button(f'data-part="{part}"', name, key, _icon(part))


def _button(attributes: str, name: str, key: str, content: str) -> str:
    return f'<button type="button" {attributes} title="{name} ({key})" aria-label="{name}">{content}</button>'


def _verdict(verdict: str, name: str, key: int) -> str:
    return (
        f'<button type="button" data-verdict="{verdict}" aria-keyshortcuts="{key}" aria-pressed="false">{name}'
        f"<kbd>{key}</kbd></button>"
    )


def _icon(name: str) -> str:
    return (
        '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" '
        f'stroke-linejoin="round" aria-hidden="true"><path d="{_ICONS[name]}"/></svg>'
    )


def _help() -> str:
    groups = "".join(f"<section><h4>{title}</h4><dl>{_rows(keys)}</dl></section>" for title, keys in _KEYS)
    return (
        '<dialog data-part="help" aria-label="Keys"><div class="groups">'
        f'{groups}</div><button type="button" class="wide" data-part="close-help">Close</button></dialog>'
    )


def _rows(keys: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"<div><dt><kbd>{key}</kbd></dt><dd>{does}</dd></div>" for key, does in keys)
