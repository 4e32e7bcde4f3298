"""Wrong usage, and what --help says."""

from __future__ import annotations

import re

import pytest

from altub.training.config import make_config


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("train", "--category", "c"), "--run-dir"),
        (("train", "--run-dir", "r", "--epochs", "many"), "--epochs"),
        (("train", "--run-dir", "r", "--nonsense"), "--nonsense"),
        (("fly",), "fly"),
        (("evaluate", "--model", "m"), "--category"),
        (("predict", "--model", "m", "--output", "o"), "images"),
    ],
)
def test_wrong_usage_is_bad_input(altub, arguments: tuple[str, ...], words: str) -> None:
    ended = altub(*arguments)
    assert ended.code == 2 and ended.out == "" and words in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "predict", "categories", "download", "runs", "stop", "bench", "settings"],
)
def test_every_command_explains_itself(altub, command: str) -> None:
    ended = altub(command, "--help")
    assert ended.code == 0 and f"altub {command}" in ended.out and ended.err == ""


def test_defaults_shown_in_the_help_are_those_of_the_settings(altub) -> None:
    defaults = make_config(category="c").model_dump()
    shown = {}
    for line in altub("train", "--help").out.splitlines():
        if found := re.search(r" --([a-z-]+) ", line):
            option = found[1].replace("-", "_")
        if found := re.search(r"\[default: ([^\]]+)\]", line):  # on the option's own line, or below it
            shown[option] = found[1].strip("()")
    assert {"image_size", "epochs", "seed", "backbone", "base_update"} <= shown.keys()
    defaults |= defaults["flow"] | defaults["base"]
    assert shown == {name: str(defaults[{"flow": "kind"}.get(name, name)]) for name in shown}
