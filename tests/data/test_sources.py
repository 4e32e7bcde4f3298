"""The list of sources: built in, or from the environment."""

from __future__ import annotations

import json

import pytest

from altub.data.sources import DEFAULT_SOURCES, mvtec_sources, parse_sources
from altub.errors import ConfigError


def test_sources_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("ALTUB_MVTEC_SOURCES", raising=False)
    assert mvtec_sources() == DEFAULT_SOURCES
    text = json.dumps(["https://a.example/{category}.tar", "hf:me/mvtec", {"url": "http://b/x", "sha256": "0" * 64}])
    monkeypatch.setenv("ALTUB_MVTEC_SOURCES", text)
    by_text = mvtec_sources()
    assert [(s.url, s.dataset, s.by_category) for s in by_text] == [
        ("https://a.example/{category}.tar", None, True),
        (None, "me/mvtec", True),
        ("http://b/x", None, False),
    ]
    (tmp_path / "sources.json").write_text(text)
    monkeypatch.setenv("ALTUB_MVTEC_SOURCES", str(tmp_path / "sources.json"))
    assert mvtec_sources() == by_text


@pytest.mark.parametrize(
    "text", ["[]", "[1]", "/not/there.json", '[{"url": "ftp://x/y"}]', '[{"adress": "x"}]', "[{}]"]
)
def test_bad_sources_are_refused(text):
    with pytest.raises(ConfigError):
        parse_sources(text)
