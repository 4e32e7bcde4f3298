"""Whole images that are no image of the product: said with the reason, while large defects stay defects."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from altub.errors import ModelError
from altub.inference.comparability import Comparability, picture_statistics
from altub.inference.comparability.limits import STATISTICS, fit_limit
from altub.inference.detector import AnomalyDetector
from altub.inference.folder import predict_to_folder
from altub.inference.model_files import CONFIG_FILE
from altub.runs.run import Run

SIDE = 96


def part(seed: int, width: int = 120, height: int = 120) -> Image.Image:
    """A brass disk on a dark table, under a lamp that is never twice as bright, with the camera's noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disk = np.hypot(x - width / 2 - rng.uniform(-3, 3), y - height / 2) < 0.4 * height
    lines = 18 * np.sin(0.9 * x + rng.uniform(0, 6))[..., None]
    colour = np.where(disk[..., None], np.array([190, 150, 60]) + lines, np.array([52, 50, 56]))
    image = colour * rng.uniform(0.95, 1.05) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def as_grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def with_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """With a defect on a tenth of it."""
    side = round((image.width * image.height / 10) ** 0.5)
    image = image.copy()
    image.paste(colour, (40, 30, 40 + side, 30 + side))
    return image


@pytest.fixture(scope="module")
def check() -> Comparability:
    return Comparability.fit([picture_statistics(part(seed), SIDE) for seed in range(24)], SIDE)


def test_other_good_images_and_large_defects_are_comparable(check: Comparability) -> None:
    assert (check.images, set(check.limits)) == (24, set(STATISTICS))
    for seed in range(100, 130):
        assert check.reasons(part(seed)) == ()
    for colour in ((20, 20, 20), (255, 255, 255), (230, 30, 30), (60, 60, 160)):
        assert check.reasons(with_square(part(200), colour)) == (), colour


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (as_grey, "Colour differs from training images: grey instead of colour"),
        (lambda image: Image.merge("RGB", image.split()[::-1]), "Colour differs from training images: less red"),
        (lambda image: image.point(lambda value: value * 0.5), "Brightness differs from training images: darker"),
        (lambda image: ImageOps.invert(image), "Colour differs"),
        (lambda image: image.filter(ImageFilter.GaussianBlur(3)), "Sharpness differs from training images: blurred"),
        (lambda image: jpeg(image, 10), "Compression differs from training images"),
        (lambda image: jpeg(image, 10).crop((3, 5, 120, 118)), "Compression differs from training images"),
        (lambda image: image.resize((180, 120)), "Shape differs from training images: width to height 1.5 instead of"),
        (lambda image: Image.new("RGB", image.size, (120, 120, 120)), "Brightness differs"),
    ],
)
def test_what_was_taken_in_another_way_is_not(check: Comparability, change, reason: str) -> None:
    reasons = check.reasons(change(part(100)))
    assert any(said.startswith(reason) for said in reasons), reasons
    assert len({said.split(" from ")[0] for said in reasons}) == len(reasons), "one sentence for each kind"


def test_images_that_were_jpegs_or_grey_in_training_may_be(check: Comparability) -> None:
    for change in (lambda image: jpeg(image, 30), as_grey):
        same = Comparability.fit([picture_statistics(change(part(seed)), SIDE) for seed in range(24)], SIDE)
        assert same.reasons(change(part(100))) == ()
    assert same.reasons(part(100))[0] == "Colour differs from training images: colour instead of grey"


def test_fewer_images_widen_the_limits() -> None:
    spread = np.linspace(100, 180, 8).tolist()
    few, many = (fit_limit(STATISTICS["brightness"], spread * copies) for copies in (1, 10))
    assert few.low < many.low < 100 and 180 < many.high < few.high
    assert fit_limit(STATISTICS["blocks"], [0.0]).low is None
    assert not fit_limit(STATISTICS["blocks"], [0.0]).excludes(-9) and many.excludes(float("nan"))


def test_blocks_are_found_in_images_of_any_size() -> None:
    for width, height in ((15, 200), (16, 16), (900, 700), (41, 33)):
        image = part(0, width, height)
        plain, packed = (picture_statistics(one, 32)["blocks"] for one in (image, jpeg(image, 10)))
        assert 0 <= plain < 0.4 if min(width, height) > 16 else plain >= 0
        assert packed > plain + 0.5 or min(width, height) < 40


def test_it_is_part_of_a_trained_and_saved_model(trained_run: Run, pictures: list[Path], tmp_path: Path) -> None:
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu")
    check = detector.comparability
    assert check.images == 12
    detector.save(tmp_path / "model")
    assert AnomalyDetector.load(tmp_path / "model", "cpu").comparability == check
    good = next(path for path in pictures if path.parent.name == "good")
    grey = tmp_path / "grey.png"
    Image.open(good).convert("L").save(grey)
    said = {path.name: detector.predict(path).at(detector.threshold) for path in (good, grey)}
    assert said[good.name].kind != "not comparable" and said[good.name].reasons == ()
    assert said["grey.png"].kind == "not comparable" and "grey instead of colour" in said["grey.png"].reasons[0]
    rows = []
    predict_to_folder(detector, [good, grey], tmp_path / "out", on_row=rows.append)
    assert [row["verdict"] == "not comparable" for row in rows] == [False, True]
    assert "grey instead of colour" in (tmp_path / "out/predictions.csv").read_text()


def test_a_model_without_it_refuses_no_image(model_dir: Path, pictures: list[Path]) -> None:
    config = json.loads((model_dir / CONFIG_FILE).read_text())
    assert config.pop("comparability")
    (model_dir / CONFIG_FILE).write_text(json.dumps(config))
    old = AnomalyDetector.load(model_dir, "cpu")
    assert old.comparability is None
    assert old.predict(Image.new("RGB", (40, 10))).reasons == ()


@pytest.mark.parametrize("value", [{"images": 0}, [], {"limits": {"red": {"low": "x"}}}, {"side": 1 << 40}])
def test_a_damaged_one_is_refused(model_dir: Path, value: object) -> None:
    config = json.loads((model_dir / CONFIG_FILE).read_text())
    config["comparability"] = config["comparability"] | value if isinstance(value, dict) else value
    (model_dir / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="is damaged"):
        AnomalyDetector.load(model_dir, "cpu")


def test_numbers_of_an_image_that_was_read_reduced_or_is_scaled_already() -> None:
    whole = part(3, 400)
    small = whole.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert picture_statistics(whole, SIDE, small=small) == picture_statistics(whole, SIDE)
    found = picture_statistics(whole.reduce(2), SIDE, size=(500, 400))
    assert found["blocks"] == 0.0 and found["aspect"] == pytest.approx(math.log(500 / 400))
