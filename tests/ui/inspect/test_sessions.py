"""Sessions of visitors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from altub.errors import RunError
from altub.ui.inspect.sessions import SessionStore


def test_sessions_are_bounded_and_clean_up(tmp_path, batch):
    store = SessionStore(tmp_path / "store", max_images=2 * len(batch.items))
    ids = [store.new() for _ in range(3)]
    assert len(set(ids)) == 3 and all(store.knows(session) and store.get(session) is None for session in ids)
    for session in ids:
        store.put(session, replace(batch, folder=store.new_folder()))
    assert [store.get(session) is not None for session in ids] == [False, True, True]
    assert len(list(store.root.iterdir())) == 2
    store.discard(ids[1])
    assert len(list(store.root.iterdir())) == 1
    assert store.get(None) is None and store.get(["x"]) is None
    with pytest.raises(RunError):
        store.require(ids[0])
