"""Watched folders as HTML: state, counts by verdict, the last files, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from altub.files import printable
from altub.line.journal import Entry
from altub.line.watch import UNREADABLE
from altub.line.watched import Look
from altub.ui.html.pictures import thumbnail_uri
from altub.ui.html.verdicts import VERDICTS, number

__all__ = ["BUTTONS_JS", "folders_html"]

SIDE = 120  # pixels of the last pictures
#: For the `js_on_load`: triggers `select` with the folder and action of the button that was pressed.
BUTTONS_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-folder]');
  if (button) trigger('select', {folder: button.dataset.folder, action: button.dataset.action});
});"""
STATES = {"starting": "Starting", "watching": "Watching", "stopping": "Stopping", "stopped": "Stopped"}


def folders_html(looks: Sequence[Look], output: Callable[[Look], Path]) -> str:
    """One part for each watched folder."""
    if not looks:
        return '<p class="hint">No folder is being watched.</p>'
    return "".join(_folder(look, output(look)) for look in looks)


def _folder(look: Look, output: Path) -> str:
    watched = look.watched
    name = escape(printable(str(watched.folder)))
    runs = look.state in ("starting", "watching")
    buttons = [("stop", "Stop")] if runs else [("start", "Start"), ("forget", "Remove")]
    if look.state == "stopping":
        buttons = []
    actions = "".join(
        f'<button type="button" data-folder="{escape(watched.id)}" data-action="{action}" '
        f'aria-label="{word} {name}">{word}</button>'
        for action, word in buttons
    )
    chips = "".join(
        f'<span class="chip {_chip(verdict)}">{count:,} {escape(verdict)}</span>'
        for verdict, count in sorted(look.counts.items())
    )
    waiting = f" · {look.waiting:,} messages to be delivered" if look.waiting else ""
    parts = [
        f'<div class="folder-head"><span class="pill {look.state}">{STATES[look.state]}</span><b>{name}</b>'
        f'<span class="folder-actions">{actions}</span></div>',
        f'<p class="hint">Model {escape(watched.run)} · {_filing(watched.filing)} · results in '
        f"<code>{escape(printable(str(output)))}</code>{waiting}</p>",
    ]
    if look.problem:
        parts.append(f'<p class="problem" role="alert">{escape(printable(look.problem))}</p>')
    if look.alarm:
        parts.append(f'<p class="problem">{escape(look.alarm)}</p>')
    parts.append(
        f'<div class="folder-counts"><b>{look.files:,}</b> file{"" if look.files == 1 else "s"} inspected {chips}</div>'
    )
    if look.last:
        parts.append(f'<div class="folder-last">{"".join(_tile(entry, output) for entry in look.last)}</div>')
    return f'<section class="watched">{"".join(parts)}</section>'


def _filing(how: str) -> str:
    return {"leave": "files stay", "move": "files are moved by verdict", "copy": "files are copied by verdict"}[how]


def _chip(verdict: str) -> str:
    return VERDICTS[verdict][0] if verdict in VERDICTS else "plain"


def _tile(entry: Entry, output: Path) -> str:
    record = entry.record
    verdict, name = str(record.get("verdict")), escape(str(record.get("image")))
    overlay = record.get("overlay")
    uri = thumbnail_uri(output / overlay, SIDE) if isinstance(overlay, str) else None
    picture = f'<img src="{uri}" alt="">' if uri else f'<span class="nothing">{escape(verdict)}</span>'
    score = record.get("anomaly_score")
    words = f"score {number(score)}" if isinstance(score, int | float) else "no score"
    when = time.strftime("%H:%M:%S", time.localtime(record.get("at") or 0))
    reason = escape(str(record.get("reason") or "")) if verdict == UNREADABLE or record.get("reason") else ""
    return (
        f'<figure title="{name}{": " if reason else ""}{reason}">{picture}<figcaption>'
        f'<span class="chip {_chip(verdict)}">{escape(verdict)}</span><span class="name">{name}</span>'
        f"<small>{words} · {when}</small></figcaption></figure>"
    )
