"""`python -m altub deploy` against the loopback Hub: what arrives, what a second deployment leaves alone."""

from __future__ import annotations

import json

from altub.runs.run import Run
from tests.hub.loopback import ANNA, BEN, Client, LoopbackHub


def test_a_space_arrives_whole_and_keeps_what_its_owner_wrote(hub: LoopbackHub, anna: Client, pushed_run: Run) -> None:
    deploy = ("deploy", "anna/space", "--model", str(pushed_run.model_dir))
    done = anna.altub(*deploy, "--private", "--hardware", "t4-small")
    assert done.returncode == 0, done.stderr
    state = hub.state()
    space = state["repos"]["spaces/anna/space"]
    assert space["private"] and state["hardware"] == {"spaces/anna/space": "t4-small"}
    assert done.stdout.strip().endswith(space["branches"]["main"])
    assembled = anna.altub("deploy", "--folder", "out", "--model", str(pushed_run.model_dir), "--hardware", "t4-small")
    assert assembled.returncode == 0, assembled.stderr
    out = anna.home / "out"
    local = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    first = hub.files("spaces/anna/space")
    assert set(first) - set(local) == {".gitattributes", "deployed.json"} and set(local) <= set(first)
    differing = {name for name in local if local[name] != first[name]}
    assert differing <= {"starting-model/status.json"}  # which tells when it was packed
    assert "app.py" in first and first["starting-model/model/model.safetensors"]
    for secret in (ANNA.encode(), str(anna.home).encode(), str(pushed_run.path).encode()):
        assert not [name for name, content in first.items() if secret in content]
    assert ANNA not in anna.logged

    # The owner writes a README and a file; a file of ours is gone from the next version.
    mine = {"README.md": first["README.md"] + b"\nMy own words.\n", "mine.txt": b"mine", "altub/old.py": b"x = 1\n"}
    hub.change("spaces/anna/space", mine)
    again = anna.altub(*deploy)
    assert again.returncode == 0 and "was edited on the Hub" in again.stderr, again.stderr
    second = hub.files("spaces/anna/space")
    assert second["README.md"] == mine["README.md"] and second["mine.txt"] == b"mine"
    assert "altub/old.py" not in second
    # As it was deployed, it follows the new version without a word.
    hub.change("spaces/anna/space", {"README.md": first["README.md"]})
    third = anna.altub(*deploy)
    assert third.returncode == 0 and "edited" not in third.stderr
    assert json.loads(hub.files("spaces/anna/space")["deployed.json"])


def test_what_the_hub_refuses_is_one_sentence(hub: LoopbackHub, anna: Client, pushed_run: Run) -> None:
    anna.token = BEN
    done = anna.altub("deploy", "anna/other", "--model", str(pushed_run.model_dir))
    assert done.returncode == 2 and "no right" in done.stderr and len(done.stderr.splitlines()) <= 2
    assert "spaces/anna/other" not in hub.state()["repos"]
