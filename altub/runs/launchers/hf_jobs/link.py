"""What the parts of a job tell each other: remote.json at home; request and progress in the mirror.

The mirror repo:

    job/request.json, job/source.zip     what to train and the code that does it, by `submit`
    run/progress.json, run/training.json, run/examples/   status, curves and heatmaps, every half a minute
    run/model/, run/state/               the model, and all that an exact resume needs, every few minutes
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from altub.errors import RunError
from altub.files import read_json, write_json
from altub.runs.run import REMOTE_FILE, Run, Status

__all__ = [
    "EXAMPLE",
    "LIMITS",
    "MOST_EXAMPLE_BYTES",
    "MVTEC",
    "PROGRESS",
    "REQUEST",
    "SOURCE",
    "STATE",
    "TRAINING",
    "Data",
    "Example",
    "Link",
    "Progress",
    "Request",
    "read_link",
    "write_link",
]

REQUEST, SOURCE = "job/request.json", "job/source.zip"
PROGRESS, TRAINING = "run/progress.json", "run/training.json"
MODEL = ("run/model/config.json", "run/model/model.safetensors")
#: Files of the run directory that a resume needs, by their names in the mirror.
STATE = {
    "run/state/state.safetensors": "checkpoint/state.safetensors",
    "run/state/base_history.npz": "base_history.npz",
    "run/state/events.jsonl": "events.jsonl",
    "run/state/config.json": "config.json",
}
EXAMPLE = re.compile(r"run/examples/(epoch_\d{5}\.npz)")
#: Bytes that a file may have at most; nothing else is ever fetched.
LIMITS = {
    REQUEST: 1 << 20,
    PROGRESS: 1 << 20,
    TRAINING: 64 << 20,
    MODEL[0]: 1 << 20,
    MODEL[1]: 4 << 30,
    **dict.fromkeys(STATE, 8 << 30),
}
MOST_EXAMPLE_BYTES = 64 << 20

MVTEC = "mvtec-ad"  # as --data: MVTec AD, fetched by the job itself


_Word = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Data(_Message):
    """Where the job finds the images; repo and revision are those of an uploaded data set."""

    kind: Literal["sample", "mvtec-ad", "dataset"]
    repo: str = ""
    revision: str = ""


class Link(_Message):
    """remote.json: where the run is trained. Nothing secret is in it."""

    repo: str = Field(pattern=r"^[\w.-]{1,96}/[\w.-]{1,96}$")
    job: _Word
    namespace: _Word
    url: str = Field(max_length=1000, pattern=r"^[!-~]+$")
    attempt: _Word  # which of the mirror's jobs this is: status of an earlier one says nothing about it
    flavor: _Word
    timeout: _Word
    data: Data

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if not url.startswith(("https://", "http://")):
            raise ValueError("not the address of a page")
        return url


class Request(_Message):
    """job/request.json. config: a TrainingConfig whose data names no folder of anybody's machine."""

    attempt: str
    config: dict
    data: Data
    seconds: float  # that the job may take, as the Hub counts them
    resume: bool = False


class Example(_Message):
    """A picture whose heatmaps are mirrored, by its name in `layout` (the picture itself stays where it is)."""

    name: str
    defect: str


class Progress(_Message):
    """run/progress.json: the status, and what the job found out about the settings that were left to it."""

    attempt: str
    status: Status
    backbone: str
    stages: tuple[int, ...] | None = None
    examples: list[Example] = []


def read_link(run: Run) -> Link:
    """Where a run is trained.

    Raises:
        RunError: no job trains it, or remote.json is damaged.
    """
    try:
        return Link.model_validate(read_json(run.path / REMOTE_FILE))
    except FileNotFoundError:
        raise RunError(f"Run {run.id} is trained on this machine, not on Hugging Face Jobs.") from None
    except (OSError, ValidationError, ValueError) as error:
        raise RunError(f"{REMOTE_FILE} of run {run.id} is damaged: its job cannot be found.") from error


def write_link(run: Run, link: Link) -> None:
    write_json(run.path / REMOTE_FILE, link.model_dump(mode="json"))
