"""The load test, small: four clients, three requests each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from altub.cli.app import app
from altub.ui.bench.clients import Photo, ask
from altub.ui.bench.load import LoadResult

SOUND = LoadResult(
    clients=4,
    requests=3,
    errors=0,
    lost=0,
    wrong=0,
    tracebacks=0,
    seconds=1.0,
    p50=0.1,
    p95=0.2,
    slowest=0.3,
    memory={"start": 90, "warm": 100, "peak": 120, "end": 109},
    files=5,
    bytes=1000,
    files_left=0,
    messages=[],
)


@pytest.mark.slow
def test_four_clients_get_their_own_answers_and_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_AUTH", "somebody:else")  # a login that is set here does not keep the clients out
    done = CliRunner().invoke(app, ["bench", "--load", "4", "--requests", "3", "--json"])
    result = json.loads(done.stdout)
    assert (result["errors"], result["lost"], result["wrong"], result["tracebacks"]) == (0, 0, 0, 0), result["messages"]
    assert 0 < result["p50"] <= result["p95"] <= result["slowest"]
    assert result["files"] >= 3 * 12 and result["files_left"] == 0  # an upload and two answers each
    assert 0 < result["memory"]["warm"] <= result["memory"]["peak"] * 1.1
    assert done.exit_code == (1 if result["problems"] else 0)


def test_what_breaks_a_bound_is_named() -> None:
    assert SOUND.problems == [] and SOUND.growth == pytest.approx(0.09)
    broken = replace(SOUND, lost=1, files_left=2, memory={**SOUND.memory, "end": 111})
    assert broken.problems == ["lost: 1", "files left: 2", "memory grew by 11%"]
    assert broken.as_dict()["problems"] == broken.problems


class _Fake:
    """A client whose page answers with these pictures and this score, or not at all."""

    def __init__(self, folder: Path, size: tuple[int, int], score: float, error: Exception | None = None) -> None:
        self.answer, self.error = [], error
        for name in ("overlay.png", "map.tiff"):
            Image.new("L", size).save(folder / name)
            self.answer.append(str(folder / name))
        self.answer += [score, 0.5, "good"]

    def submit(self, *_: Any, **__: Any) -> _Fake:
        return self

    def result(self, timeout: float) -> list[Any]:
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.mark.parametrize(
    ("size", "score", "error", "outcome"),
    [
        ((30, 20), 1.5, None, "right"),
        ((30, 20), 1.6, None, "wrong"),
        ((20, 30), 1.5, None, "wrong"),
        ((30, 20), 1.5, TimeoutError(), "lost"),
        ((30, 20), 1.5, ValueError("no"), "error"),
    ],
)
def test_an_answer_to_another_image_is_noticed(tmp_path: Path, size, score, error, outcome) -> None:
    photo = Photo(tmp_path / "overlay.png", 1.5, (30, 20))
    assert ask(_Fake(tmp_path, size, score, error), photo).outcome == outcome
