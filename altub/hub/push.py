"""Pushes a model to the Hub: one commit with its two files, the card, its pictures and the curves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altub.data import MVTEC_CATEGORIES
from altub.data.catalog import SAMPLE
from altub.errors import RunError
from altub.hub.branches import newest_state, parse_branch, require_token
from altub.hub.card import check_licence, make_card
from altub.hub.checks import CARD_FILE, HISTORY_FILE, LIMITS, parse_pushed_config
from altub.hub.detectability import detectability_pictures, detectability_section, read_detectability
from altub.hub.errors import HubError, explain_hub_errors
from altub.hub.fetch import Report, Token
from altub.hub.history import pack_history
from altub.hub.pictures import card_pictures
from altub.inference.info import ModelInfo
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, parse_config, read_model
from altub.metrics import Metrics
from altub.runs.run import Run

__all__ = ["PushResult", "push"]

CARD_HASH = "card_sha256"  # in the pushed config.json: the card that we wrote, so that an edited one is told from it


@dataclass(frozen=True)
class PushResult:
    """What was pushed.

    Attributes:
        repo: "user/name".
        commit: full hash of the commit.
        url: its page on the Hub.
        changed: False where the Hub was up to date already; `commit` is then its newest one.
        card_kept: the card on the Hub was edited there, so it was left as it is.
    """

    repo: str
    commit: str
    url: str
    changed: bool
    card_kept: bool


def push(
    model_dir: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    include_examples: bool = False,
    token: Token = None,
    report: Report | None = None,
) -> PushResult:
    """Pushes a model folder in one commit; the repo and the branch are created if missing.

    Without `include_examples` nothing that shows an image leaves this machine. Repeated after an interruption, it
    resumes: uploaded files are not sent again.

    Args:
        model_dir: a run's `model` folder; the run's curves are pushed too, where the folder is in a run.
        private: create the repo as private; an existing public one is refused.
        licence: one of `altub.hub.card.LICENCES`; None leaves it off the card.

    Raises:
        ModelError: there is no complete model in `model_dir`.
        HubError: the Hub refuses, cannot be reached, or has something else in that repo.
        ConfigError: the Hub does not know the licence.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    where = parse_branch(repo, revision)
    check_licence(licence)
    folder = Path(model_dir)
    config, weights = read_model(folder)
    require_token(token)
    say = report or (lambda fraction, text: None)
    say(None, f"contacting the Hub for {where.repo}")
    api = HfApi()
    with explain_hub_errors(where.repo, "push"):
        info = newest_state(api, where, token, private=private)
        old_config = _remote_config(where.repo, info, token)
        old_card = _remote_file(where.repo, info, CARD_FILE, token)
        say(None, "drawing the card")
        run = _run_of(folder)
        about = _public_info(parse_config(config, folder).info, run)
        config = {**config, "info": about.to_json()}
        config.pop(CARD_HASH, None)
        # What could not be pulled again is not pushed.
        detector = parse_pushed_config(where.repo, _json(config)).detector
        pictures = card_pictures(run, include_examples) if run else {}
        measured = read_detectability(folder, hashlib.sha256(weights).hexdigest())
        if measured is not None:
            pictures |= detectability_pictures(folder, include_examples)
        texts = {name: text for name, (text, _) in pictures.items()}
        section = detectability_section(measured) if measured is not None else ""
        joined = len(((config.get("calibration") or {}).get("joined") or {}).get("scores", ()))
        card = make_card(about, detector, where.repo, licence, texts, section, joined).encode()
        card_kept = old_card is not None and not _is_ours(old_card, old_config)
        config[CARD_HASH] = hashlib.sha256(card).hexdigest()
        content = {CONFIG_FILE: _json(config), WEIGHTS_FILE: weights}
        history = pack_history(run) if run else None
        if history is not None and len(history) <= LIMITS[HISTORY_FILE]:
            content[HISTORY_FILE] = history
        if not card_kept:
            content[CARD_FILE] = card
        content |= {name: png for name, (_, png) in pictures.items()}
        say(None, f"sending {sum(map(len, content.values())) / 1e6:,.1f} MB to {where.repo}")
        commit = api.create_commit(
            where.repo,
            [CommitOperationAdd(name, data) for name, data in content.items()],
            commit_message=message or f"AltUB detector for {about.category}, epoch {about.epoch}",
            revision=where.revision,
            parent_commit=info.sha,
            token=token,
        )
    return PushResult(where.repo, commit.oid, commit.commit_url, commit.oid != info.sha, card_kept)


def _remote_file(repo: str, info: Any, name: str, token: Token) -> bytes | None:
    from huggingface_hub import hf_hub_download

    found = next((file for file in info.siblings or [] if file.rfilename == name), None)
    if found is None or (found.size or 0) > LIMITS[name]:
        return None
    return Path(hf_hub_download(repo, name, revision=info.sha, token=token)).read_bytes()


def _remote_config(repo: str, info: Any, token: Token) -> dict[str, Any]:
    """config.json of the last push; empty where there is none.

    Raises:
        HubError: the repo holds a model of another kind, which a push would break.
    """
    content = _remote_file(repo, info, CONFIG_FILE, token)
    if content is None:
        if any(file.rfilename in (CONFIG_FILE, WEIGHTS_FILE) for file in info.siblings or []):
            raise HubError(f"{repo} holds another kind of model, which would be overwritten: push to another name.")
        return {}
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or config.get("format") != "altub":
        raise HubError(f"{repo} holds another kind of model, which would be overwritten: push to another name.")
    return config


def _is_ours(card: bytes, config: dict[str, Any]) -> bool:
    """Is the card on the Hub the one of the last push? Edited there or written by hand, it is its author's."""
    return hashlib.sha256(card).hexdigest() == config.get(CARD_HASH)


def _run_of(model_dir: Path) -> Run | None:
    run = Run(model_dir.resolve().parent)
    return run if (run.path / "config.json").is_file() and run.events() else None


def _public_info(info: ModelInfo, run: Run | None) -> ModelInfo:
    """`info` as others may see it: it says what kind of data it was, and names no folder of this machine."""
    category = info.category or "unknown"
    data = info.data or _data_kind(category, run)
    told = {"category": category, "epoch": info.epoch, "metrics": info.metrics or Metrics(), "data": data}
    return info.model_copy(update=told)


def _json(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=2, allow_nan=False) + "\n").encode()


def _data_kind(category: str, run: Run | None) -> str:
    try:
        data = run.config.data if run else ""
    except RunError:
        return "own"
    if data == SAMPLE:
        return "sample"
    return "mvtec-ad" if category in MVTEC_CATEGORIES and "mvtec" in Path(data).name.lower() else "own"
