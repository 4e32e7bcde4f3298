"""The files of a model on the Hub, in the Hugging Face cache: one commit, four names, checked before use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from altub.errors import ModelError
from altub.hub.checks import CARD_FILE, HISTORY_FILE, PushedConfig, check_content, check_listing, parse_pushed_config
from altub.hub.errors import HubError, explain_hub_errors, is_out_of_reach
from altub.hub.reference import Reference, parse_reference
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_model

__all__ = ["Report", "Snapshot", "Token", "fetch_model"]

#: The token to send; None: the one of this machine's user, False: none at all.
Token = str | Literal[False] | None
#: Called with the share that is done (None = not known) and a few words.
Report = Callable[[float | None, str], None]

ANSWER_TIMEOUT = 10.0  # seconds until the Hub counts as out of reach

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A model of one commit on this disk.

    Attributes:
        reference: what was asked for.
        commit: the commit that it is.
        folder: holds config.json, model.safetensors and, where they were asked for, the card and the curves.
        config: the checked config.json.
        from_cache: the Hub was out of reach, so this is what was fetched before.
    """

    reference: Reference
    commit: str
    folder: Path
    config: PushedConfig
    from_cache: bool


def fetch_model(
    reference: str,
    revision: str | None = None,
    *,
    token: Token = None,
    everything: bool = False,
    may_use_cache: bool = True,
    public_only: bool = False,
    report: Report | None = None,
) -> Snapshot:
    """Brings a model from the Hub to the cache and checks it; an interrupted download resumes.

    Args:
        reference: "user/name", also with "@revision".
        everything: the card and the curves too.
        may_use_cache: where the Hub is out of reach, take what was fetched before.
        public_only: refuse private repos, whatever the token may read: for servers that many people share.

    Raises:
        HubError: it does not exist, is not AltUB's, is damaged or not what its own config.json says; in one sentence.
        DiskFullError: no room in the cache.
    """
    from huggingface_hub import HfApi

    where = parse_reference(reference, revision)
    say = report or (lambda fraction, text: None)
    say(None, f"contacting the Hub for {where}")
    try:
        info = HfApi().model_info(
            where.repo, revision=where.revision, files_metadata=True, token=token, timeout=ANSWER_TIMEOUT
        )
    except Exception as error:  # three libraries without a common base class; unknown errors are raised again
        if may_use_cache and is_out_of_reach(error):
            cached = _from_cache(where)
            if cached is not None:
                return cached
        with explain_hub_errors(where.repo, "pull"):
            raise
    if public_only and info.private:
        raise HubError(f"{where.repo} is private, but others can use this page too: pull it on your own machine.")
    with explain_hub_errors(where.repo, "pull"):
        return _fetch(where, info, token, everything, say)


def _fetch(where: Reference, info: Any, token: Token, everything: bool, say: Report) -> Snapshot:
    files = {file.rfilename: file for file in info.siblings or []}
    check_listing(where.repo, files, {name: file.size for name, file in files.items()})
    # By its branch first, so that the cache knows which commit the branch was when there is no network later.
    _get(where, files[CONFIG_FILE], where.revision or "main", token)
    config_file = _get(where, files[CONFIG_FILE], info.sha, token)
    config = parse_pushed_config(where.repo, config_file.read_bytes())
    wanted = [WEIGHTS_FILE, *([CARD_FILE, HISTORY_FILE] if everything else [])]
    for name in wanted:
        if name in files:
            size = files[name].size or 0
            say(None, f"fetching {name}" + (f", {size / 1e6:,.1f} MB" if size > 1e5 else ""))
            path = _get(where, files[name], info.sha, token)
            if not _is_whole(path, files[name]):
                logger.info("%s of %s in the cache is damaged: fetching it again", name, where)
                path = _get(where, files[name], info.sha, token, force=True)
            if not _is_whole(path, files[name]):
                raise HubError(
                    f"{name} of {where.repo} was damaged during the download: it is not what the Hub lists. Pull again."
                )
    say(None, "checking the model")
    _check_weights(where, config_file.parent)
    return Snapshot(where, info.sha, config_file.parent, config, from_cache=False)


def _get(where: Reference, file: Any, revision: str, token: Token, force: bool = False) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(where.repo, file.rfilename, revision=revision, token=token, force_download=force))


def _is_whole(path: Path, file: Any) -> bool:
    sha256 = None if file.lfs is None else file.lfs.sha256
    return check_content(path, file.size, sha256, None if sha256 else file.blob_id)


def _from_cache(where: Reference) -> Snapshot | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(where.repo, name, revision=where.revision) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    if not all(isinstance(path, str) for path in found):
        return None
    folder = Path(found[0]).parent  # snapshots/<commit>, as the cache is documented
    config = parse_pushed_config(where.repo, Path(found[0]).read_bytes())
    _check_weights(where, folder)
    return Snapshot(where, folder.name, folder, config, from_cache=True)


def _check_weights(where: Reference, folder: Path) -> None:
    try:
        read_model(folder)
    except ModelError as error:
        raise HubError(
            f"{WEIGHTS_FILE} of {where} is not the file that its {CONFIG_FILE} names (their checksums differ): it was "
            "changed or damaged, so it is not loaded. Choose another revision, or ask its owner to push it again."
        ) from error
