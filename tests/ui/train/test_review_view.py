"""The check of the images on the page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from altub.data import Category
from altub.data.review import review_images
from altub.ui.services import Services
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import OWN, SAMPLE, UPLOAD
from altub.ui.train.review_view import review_html
from altub.ui.train.uploads import store_upload
from tests.conftest import write_category


def test_an_uploaded_set_is_checked_and_changed(data: Path, tmp_path: Path) -> None:
    images = sorted((write_category(tmp_path / "weave") / "train/good").glob("*.png"))
    store_upload("lids", images)
    on = DataHandlers(Services(), is_local=True)

    def check() -> str:
        return on.review(OWN, UPLOAD + "lids", "")

    def press(action: str, sha: str, category: str = UPLOAD + "lids") -> None:
        on.change_image(OWN, category, SimpleNamespace(_data={"action": action, "sha": sha}))

    html = check()
    assert "12 images checked" in html and "Nothing stands out" in html and html.count("<tr>") == 13
    stored = data / "uploads/lids/good"
    copy = stored / "zz<b>.png"
    copy.write_bytes((stored / images[0].name).read_bytes())
    html = check()
    assert "more than once (1)" in html and "zz&lt;b&gt;.png" in html and "<b>.png" not in html
    sha = html.split('data-sha="')[1].split('"')[0]
    press("remove", sha)
    html = check()
    assert "Removed (1)" in html and "12 images checked" in html and "more than once" not in html
    press("restore", sha)
    assert "13 images checked" in check()
    for wrong in (lambda: press("remove", "../x"), lambda: press("remove", sha, "folder:lids"), lambda: press("x", "")):
        with pytest.raises(gr.Error):
            wrong()
    with pytest.raises(gr.Error, match="still being made"):
        on.review(SAMPLE, "fabric", "")


def test_images_of_other_sources_have_no_buttons(tmp_path: Path) -> None:
    good = sorted((write_category(tmp_path / "weave") / "train/good").glob("*.png"))
    found = review_images(Category.from_images("weave", [*good, good[0]]))
    html = review_html(found, [], may_remove=False)
    assert "more than once (1)" in html and "<button" not in html
