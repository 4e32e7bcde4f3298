"""The Space: its files, its limits, and who may stop what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import metadata_load
from typer.testing import CliRunner

from altub import settings
from altub.cli.app import app
from altub.data import SAMPLE_CATEGORIES
from altub.deploy.contents import SAMPLE, assemble, requirements, train_starting_model
from altub.deploy.server import limits, visitors
from altub.deploy.server.notices import space_notices
from altub.deploy.upload import check_name
from altub.errors import ConfigError, DataError, ModelError, RunError
from altub.runs.run import Run
from altub.runs.time_limit import check_time_left
from altub.training.config import TrainingConfig, make_config
from altub.ui.space import install_starting_model
from tests.conftest import draw_sample

REPOSITORY = Path(__file__).resolve().parents[2]
FEW = {"train": 8, "good": 1, "each": 1}  # images of the sample: as many as a training needs
SPACE_ENVIRONMENT = {"SYSTEM": "spaces", "SPACE_HOST": "owner-altub.hf.space"}


@pytest.fixture(scope="module")
def assembled(trained_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space") / "out"
    assemble(folder, model=trained_run.model_dir)
    return folder


@pytest.fixture
def on_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of a Space; its persistent volume."""
    for name, value in SPACE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("ALTUB_RUNS", "ALTUB_DATA"):
        monkeypatch.delenv(name, raising=False)
    volume = tmp_path / "volume"
    volume.mkdir()
    monkeypatch.setenv("ALTUB_SPACE_VOLUME", str(volume))
    return volume


# What a Space consists of.


def test_a_space_holds_what_it_needs_and_nothing_else(assembled: Path) -> None:
    files = {str(path.relative_to(assembled)) for path in assembled.rglob("*") if path.is_file()}
    allowed = re.compile(
        r"altub/.*\.py|altub/assets/(\w+\.css|[\w-]+\.js|logo\.svg)|altub/py\.typed|LICENSE|README\.md|app\.py"
        r"|requirements\.txt|pyproject\.toml"
        r"|starting-model/(config|status)\.json|starting-model/(events\.jsonl|base_history\.npz)"
        r"|starting-model/model/(config\.json|model\.safetensors)"
    )
    assert [name for name in files if not allowed.fullmatch(name)] == []
    assert {"app.py", "altub/__init__.py", "altub/ui/app.py", "altub/assets/altub.css"} <= files
    assert "starting-model/model/model.safetensors" in files
    assert not any(path.is_symlink() for path in assembled.rglob("*"))


def test_nothing_in_the_starting_model_tells_of_the_machine_at_home(assembled: Path, trained_run: Run) -> None:
    for path in (assembled / "starting-model").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(trained_run.path.parent).encode() not in content, path
            assert trained_run.config.data.encode() not in content, path


def test_links_and_foreign_files_stay_at_home(
    tmp_path: Path, trained_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    for name in ("altub", "spaces"):
        (checkout / name).mkdir(parents=True)
    for name in ("spaces/README.md", "spaces/app.py", "pyproject.toml", "LICENSE"):
        (checkout / name).write_bytes((REPOSITORY / name).read_bytes())
    (checkout / "altub/code.py").write_text("x = 1\n")
    (checkout / "altub/.env").write_text("HF_TOKEN=hf_secret")
    (tmp_path / "secret.py").write_text("hf_secret")
    (checkout / "altub/link.py").symlink_to(tmp_path / "secret.py")
    monkeypatch.setattr("altub.deploy.contents.CHECKOUT", checkout)
    files = assemble(tmp_path / "out", model=trained_run.model_dir)
    assert Path("altub/code.py") in files
    assert all(b"hf_secret" not in (tmp_path / "out" / name).read_bytes() for name in files)


@pytest.mark.parametrize(("hardware", "python"), [(None, "3.11"), ("zero-a10g", "3.12")])
def test_front_matter_is_valid(tmp_path: Path, trained_run: Run, hardware: str | None, python: str) -> None:
    import gradio

    assemble(tmp_path / "out", model=trained_run.model_dir, hardware=hardware)
    front = metadata_load(tmp_path / "out/README.md")
    assert front["sdk"] == "gradio" and front["sdk_version"] == gradio.__version__
    assert front["python_version"] == python and front["app_file"] == "app.py"
    assert front["hf_oauth"] is True and front["hf_oauth_scopes"] == ["contribute-repos"]
    assert front["suggested_hardware"] == (hardware or "cpu-basic")
    assert len(front["short_description"]) <= 60  # the Hub refuses longer ones
    assert "{{" not in (tmp_path / "out/README.md").read_text()


def test_the_readme_names_the_limits() -> None:
    text = (REPOSITORY / "spaces/README.md").read_text()
    named = set(re.findall(r"`(ALTUB_\w+)`", text))
    known = set(re.findall(r"ALTUB_\w+", Path(settings.__file__).read_text()))
    assert named and named <= known
    assert {"ALTUB_MAX_UPLOAD", "ALTUB_MAX_PIXELS", "ALTUB_MAX_QUEUE", "ALTUB_MAX_MINUTES"} <= named


def test_requirements_follow_the_checkout() -> None:
    from packaging.requirements import Requirement

    def parsed(text: str) -> dict[str, Requirement]:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        found = [Requirement(line) for line in lines if line]
        return {requirement.name: requirement for requirement in found}

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["ui"]]
    ours, space = parsed("\n".join(listed)), parsed(requirements())
    assert set(ours) == set(space)
    assert "oauth" in space["gradio"].extras
    assert "2.4.0" in space["torch"].specifier and "2.99" in space["torch"].specifier
    zero = parsed(requirements(zero=True))["torch"].specifier
    assert "2.11" in zero and "2.12" not in zero


def test_assembling_refuses_in_words(tmp_path: Path, trained_run: Run) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ConfigError, match="not an empty folder"):
        assemble(tmp_path / "full", model=trained_run.model_dir)
    with pytest.raises(ModelError, match="holds no model"):
        assemble(tmp_path / "new", model=tmp_path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["name", "user/", "../x/y", "user/na me", "a/b/c", ""])
def test_a_space_has_a_user_and_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="user/name"):
        check_name(name)
    check_name("user/some-space.1")


@pytest.mark.slow
def test_a_starting_model_is_trained_on_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_sample(tmp_path / "data/sample", {SAMPLE["category"]: SAMPLE_CATEGORIES[SAMPLE["category"]][:1]}, **FEW)
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    told: list[str] = []
    run = train_starting_model(tmp_path / "run", told.append, epochs=1, image_size=64)
    assert run.status.state == "finished" and any(line.startswith("epoch 1 of 1") for line in told)


# In the Space.


def test_the_starting_model_is_installed_once_and_replaced_by_another(assembled: Path, tmp_path: Path) -> None:
    from altub.ui.offers import find_model, list_offers

    root = tmp_path / "runs"
    run = install_starting_model(assembled / "starting-model", root)
    assert run.status.state == "finished" and find_model(run.id, root).path == run.path
    assert [offer.id for offer in list_offers(root)] == [run.id]
    marker = run.path / "marker"
    marker.touch()
    install_starting_model(assembled / "starting-model", root)
    assert marker.exists()  # untouched
    config = run.model_dir / "config.json"
    config.write_text(config.read_text().replace('"altub"', '"other"') + "\n")
    install_starting_model(assembled / "starting-model", root)
    assert not marker.exists() and [offer.id for offer in list_offers(root)] == [run.id]
    assert [path.name for path in root.iterdir()] == [run.id]
    assert install_starting_model(tmp_path / "none", root) is None


def test_storage_is_persistent_where_it_can_be(on_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.runs_root() == on_space / "altub/runs" and settings.data_root() == on_space / "altub/data"
    assert "persistent storage" in space_notices()[0] and "lost" not in space_notices()[0]
    monkeypatch.setenv("ALTUB_SPACE_VOLUME", str(on_space / "missing"))
    assert settings.runs_root() == Path("runs").resolve()
    assert "lost when it restarts" in space_notices()[0]


def test_the_page_binds_for_the_proxy_and_goes_by_the_names_of_the_space(
    on_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from altub.ui.launch import make_options
    from altub.ui.security import why_refused

    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.setenv("SPACE_HOST", "Owner-altub.hf.space,parts.example.org")
    options = make_options()
    assert options.host == "0.0.0.0" and options.auth is None and not options.is_local
    guard = options.guard()
    for host in ("owner-altub.hf.space", "parts.example.org"):
        assert why_refused([host], [f"https://{host}"], **guard) is None
    assert why_refused(["evil.example"], [], **guard)
    assert why_refused(["owner-altub.hf.space"], ["https://evil.example"], **guard)


def test_uploads_are_not_shared_unless_the_owner_says_so(on_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from altub.ui.train.data_source import category_choices, find_category
    from altub.ui.train.uploads import store_upload

    stored = on_space / "altub/data/uploads/lids/good"
    stored.mkdir(parents=True)
    assert category_choices("own") == []
    with pytest.raises(DataError):
        find_category("own", "upload:lids")
    with pytest.raises(DataError, match="All visitors see"):
        store_upload("mine", ["a.png"])
    with pytest.raises(ConfigError, match="served to its own machine"):
        category_choices("own", "/")
    monkeypatch.setenv("ALTUB_SPACE_UPLOADS", "shared")
    assert category_choices("own") == [("lids (uploaded)", "upload:lids")]
    assert "All visitors see" in " ".join(space_notices())


def test_only_who_began_a_training_controls_it(
    tmp_path: Path, small_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", small_config)
    assert visitors.may_control(run, None)  # at home everybody may
    for name, value in SPACE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    me, other = visitors.new_visitor(), visitors.new_visitor()
    assert not visitors.may_control(run, me)
    visitors.remember(run, me)
    assert visitors.may_control(run, me)
    for stranger in (other, "", None, 7):
        with pytest.raises(RunError, match="browser that started it"):
            visitors.check_may_control(run, stranger)
    assert all(me.encode() not in path.read_bytes() for path in run.path.iterdir())


# The owner's limits.


def test_a_training_may_be_no_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_MAX_EPOCHS", "30")
    monkeypatch.setenv("ALTUB_MAX_IMAGE_SIZE", "256")
    limits.check_config(make_config(category="bracket", epochs=30, image_size=256))
    with pytest.raises(ConfigError, match="at most 30 epochs, not 31"):
        limits.check_config(make_config(category="bracket", epochs=31))
    with pytest.raises(ConfigError, match="up to 256 px, not 320"):
        limits.check_config(make_config(category="bracket", image_size=320))


def test_a_full_queue_says_so(tmp_path: Path, small_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):  # just created: queued
        Run.create(tmp_path / name, small_config)
    limits.check_room_in_queue(tmp_path)  # no limit at home
    monkeypatch.setenv("ALTUB_MAX_QUEUE", "2")
    limits.check_room_in_queue(tmp_path)
    monkeypatch.setenv("ALTUB_MAX_QUEUE", "1")
    with pytest.raises(ConfigError, match="queue is full: 1 trainings wait"):
        limits.check_room_in_queue(tmp_path)
    monkeypatch.setenv("ALTUB_MAX_QUEUE", "0")
    with pytest.raises(ConfigError, match="none may wait"):
        limits.check_room_in_queue(tmp_path)


def test_a_training_ends_when_its_time_is_over(
    tmp_path: Path, small_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTUB_MAX_MINUTES", "1")
    run = Run.create(tmp_path / "runs/run", small_config)
    status = run.read_status()
    status.seconds = 59.99  # of an earlier process; its time counts
    run.write_status(status)
    CliRunner().invoke(app, ["train", "--run-dir", str(run.path), "--resume", "--queue", "--quiet"])
    ended = run.status
    assert ended.state == "stopped" and "may take 1 minute." in ended.message
    with pytest.raises(RunError, match="used them up"):
        check_time_left(run)
    monkeypatch.setenv("ALTUB_MAX_MINUTES", "0")
    check_time_left(run)
