"""A side's process, and the clock, memory and share of the roofline of a device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from altub.errors import ConfigError, RunError
from altub.evaluation.bench import clock
from altub.evaluation.bench.clock import Taken, about_device, forget_peak, peak_memory, roofline_share, timed
from altub.evaluation.bench.side import Side, our_side, peer_side

pytestmark = pytest.mark.usefixtures("quick_processes")

CPU = torch.device("cpu")

ECHO = """
import json, os, sys
print("a library prints what it likes")
print(json.dumps([1, 2]))
print(json.dumps({"kind": "ready", "job": json.loads(sys.stdin.readline())}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if order["say"] == "end":
        raise SystemExit("enough of it")
    print("noise", flush=True)
    about = {"threads": os.environ["OMP_NUM_THREADS"], "waits": os.environ.get("OMP_WAIT_POLICY")}
    print(json.dumps({"kind": "other"}))
    print(json.dumps({"kind": "said", **order, **about}), flush=True)
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Side]:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as our command line sets it
    (tmp_path / "echo.py").write_text(ECHO)
    return lambda: peer_side(Path(sys.executable), tmp_path / "echo.py", {"task": 7}, threads=3)


def test_a_side_gets_a_job_and_answers_orders(echo: Callable[[], Side]) -> None:
    with echo() as side:
        assert side.ready().about == {"kind": "ready", "job": {"task": 7}}
        for word in ("a", "b"):
            told = side.ask("said", say=word)
            assert told["say"] == word and told["threads"] == "3" and told["waits"] is None, "PyTorch's default"
        process = side._process
    assert process.poll() == 0, "it ends with the block"


def test_a_side_that_ends_says_why(echo: Callable[[], Side], tmp_path: Path) -> None:
    with echo() as side, pytest.raises(RunError, match=r"^The peer failed: enough of it\.$"):
        side.ready().ask("said", say="end")
    (tmp_path / "echo.py").write_text("")
    with echo() as side, pytest.raises(RunError, match=r"^The peer failed: exit code 0\.$"):
        side.ready()
    with pytest.raises(ConfigError, match="cannot be started"), peer_side(tmp_path / "no", tmp_path, {}, threads=1):
        pass


def test_a_side_of_ours_waits_asleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_module.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for policy in ("PASSIVE", None):
        with our_side("Ours", "echo_module", {}, threads=2, wait_policy=policy) as side:
            told = side.ready().ask("said", say="a")
        assert (told["threads"], told["waits"]) == ("2", policy)


def test_the_clock_is_read_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA GPU computes on after a call: it is waited for before and after the work, and on the CPU nothing is."""
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(f"wait for {device}"))
    result, taken = timed(lambda: order.append("work") or 5, torch.device("cuda", 1))
    assert order == ["wait for cuda:1", "work", "wait for cuda:1"] and result == 5
    assert taken.seconds > 0 and taken.cpu_seconds >= 0
    timed(lambda: None, CPU)
    assert len(order) == 3


def test_memory_is_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 20)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: told.append(str(device)))
    assert peak_memory(torch.device("cuda")) == 3.0
    for device in (torch.device("cuda"), CPU):
        forget_peak(device)
    assert told == ["cuda"]
    before = peak_memory(CPU)
    kept = torch.ones(64 << 18)  # 64 MiB
    assert peak_memory(CPU) > 50 and peak_memory(CPU) >= before and kept.numel()


def test_a_share_counts_cpu_time_on_a_cpu_and_seconds_elsewhere() -> None:
    taken = Taken(seconds=2.0, cpu_seconds=5.0)
    assert roofline_share(1e9, 1e9, taken, "cpu") == 0.2 and roofline_share(1e9, 1e9, taken, "cuda") == 0.5


def test_a_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert about_device(CPU, 3) == {"device": "cpu", "device_name": "CPU, 3 threads", "threads": 3, "tf32": False}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    for capability, rounds in (((9, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        found = about_device(torch.device("cuda"), 3)
        assert (found["device"], found["device_name"], found["tf32"]) == ("cuda", "NVIDIA H200", rounds)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert not clock.uses_tf32(torch.device("cuda"))
