"""The precision of a training: what "auto" means, that it is written down, and that a resumed run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from altub import device
from altub.cli.settings import open_or_create
from altub.errors import ConfigError, RunError
from altub.runs.run import Run
from altub.training import precision as numbers
from altub.training.config import TrainingConfig
from altub.training.loop import train
from altub.training.precision import choose_precision
from tests.training.runs import run_through, variant

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def measured_anew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ALTUB_PRECISION", raising=False)
    numbers.bf16_pays.cache_clear()
    yield
    numbers.bf16_pays.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, ratio: float) -> list[float]:
    """A CPU with these flags; gives the list of its measurements."""
    info, asked = tmp_path / "cpuinfo", []
    info.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\nbugs\t\t: amx_bf16_not_a_flag\n")
    monkeypatch.setattr(device, "CPU_INFO", info)
    monkeypatch.setattr(numbers, "_ratio", lambda: asked.append(ratio) or ratio)
    return asked


def test_a_cpu_without_the_instructions_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = machine(monkeypatch, tmp_path, "avx512f", 0.1)
    assert choose_precision("auto", CPU) == "fp32" and not asked
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "missing")  # another system than Linux
    numbers.bf16_pays.cache_clear()
    assert choose_precision("auto", CPU) == "fp32" and not asked


@pytest.mark.parametrize("flags", ["avx512_bf16", "amx_tile amx_bf16"])
@pytest.mark.parametrize(("ratio", "precision"), [(0.57, "bf16"), (0.9, "fp32"), (1.4, "fp32")])
def test_a_cpu_that_has_them_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, ratio: float, precision: str
) -> None:
    asked = machine(monkeypatch, tmp_path, flags, ratio)
    assert [choose_precision("auto", CPU) for _ in range(3)] == [precision] * 3
    assert len(asked) == 1


def test_measuring_changes_neither_random_numbers_nor_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "has_bf16", lambda: True)
    monkeypatch.setattr(numbers, "SHAPE", (2, 8, 8, 8))
    torch.manual_seed(1)
    wanted, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(1)
    assert numbers.bf16_pays() in (True, False)
    assert torch.equal(torch.rand(3), wanted) and torch.get_num_threads() == threads


def test_a_wish_counts_more_than_a_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, "avx512_bf16", 0.5)
    assert choose_precision("fp32", CPU) == "fp32"
    monkeypatch.setenv("ALTUB_PRECISION", "fp32")
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    monkeypatch.setenv("ALTUB_PRECISION", "fp16")
    with pytest.raises(ConfigError, match="must be fp32 or bf16"):
        choose_precision("auto", CPU)


def test_what_was_chosen_is_written_down_and_kept_on_resume(
    monkeypatch: pytest.MonkeyPatch, small_config: TrainingConfig, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, "avx512_bf16", 0.5)
    run = run_through(tmp_path / "r", variant(small_config, epochs=1, precision="auto"))
    assert run.config.precision == "bf16" and run.status.device.endswith(", bf16")

    machine(monkeypatch, tmp_path, "sse4", 0.5)  # resumed on another machine
    numbers.bf16_pays.cache_clear()
    run.replace_config(run.config.model_copy(update={"epochs": 2}))
    for _ in train(Run.open(run.path)):
        pass
    assert run.config.precision == "bf16" and run.status.epoch == 2 and run.status.device.endswith(", bf16")


def test_a_run_of_a_version_that_did_not_write_it_down_stays_in_fp32(
    monkeypatch: pytest.MonkeyPatch, small_config: TrainingConfig, tmp_path: Path
) -> None:
    run = run_through(tmp_path / "r", variant(small_config, epochs=1, precision="fp32"))
    machine(monkeypatch, tmp_path, "avx512_bf16", 0.5)
    run.replace_config(run.config.model_copy(update={"epochs": 2, "precision": "auto"}))
    for _ in train(Run.open(run.path)):
        pass
    assert run.config.precision == "fp32" and run.status.device.endswith(", fp32")


def test_auto_may_be_asked_for_again_on_resume_and_another_precision_not(
    small_config: TrainingConfig, tmp_path: Path
) -> None:
    run = run_through(tmp_path / "r", variant(small_config, epochs=1))
    assert open_or_create(run.path, None, {"precision": "auto"}, True).config.precision == "fp32"
    with pytest.raises(RunError, match="another precision"):
        open_or_create(run.path, None, {"precision": "bf16"}, True)
