"""The quicker parts of Gradio's scripts: found in the installed one, served, and equal to what they replace."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import gradio
import httpx
import pytest
from packaging.version import Version
from starlette.responses import PlainTextResponse

from altub.ui.server.frontend import QuickerFrontend, quicker, quicker_scripts

WALK = (
    "function Z(e,t){if(e.id===t)return e;if(e.children)for(let n of e.children)"
    "{let e=Z(n,t);if(e)return e}return null}"
)
TELL = (
    "async update_loading_stati_state(){await Promise.all(Object.entries(this.loading_stati.current)"
    ".map(([e,t])=>this.update_state_cb(Number(e),{loading_status:t},!1)))}"
)
EVENTS = (
    "find_attached_events(e,t){let n=t.filter(t=>t.targets.find(([t])=>t===e.id))"
    ".map(t=>{let n=t.targets.find(([t])=>t===e.id);return n?n[1]:null}).filter(Boolean);"
    "return e.props.shared_props.attached_events=n,e}"
)
AGAIN = (
    "let _=A(r,`ready`,15,!1),v=A(r,`reload_count`,11,0),b=A(r,`x`,15);f(v);"
    "le(()=>{v(),oe(()=>{O.reload(r.components,r.layout)})});"
)
SPOTS = (TELL, WALK, EVENTS, AGAIN)
KNOWN = (Version("6.31.0"), Version("6.31.999"))  # the versions in which all were seen


def get(path: str, **headers: str) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=QuickerFrontend(PlainTextResponse("behind")))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(call())


@pytest.mark.skipif(
    not KNOWN[0] <= Version(gradio.__version__) <= KNOWN[1], reason="another Gradio, whose scripts may be others"
)
def test_the_installed_gradio_has_all_spots() -> None:
    scripts = {name.split("-")[0]: script.decode() for name, script in quicker_scripts().items()}
    assert sorted(scripts) == ["Blocks", "core"]
    for new in (".ways??=", "this.altub_events="):
        assert scripts["core"].count(new) == 1
    assert "this.altub_told??=" in scripts["Blocks"]
    assert re.search(r"\(\(\)=>\{if\(!\w+\(\)\)return;\w+\(\(\)=>\{\w+\.reload\(", scripts["Blocks"])


def test_scripts_are_served_with_the_spots_replaced_and_asked_for_again() -> None:
    for name, script in quicker_scripts().items():
        answer = get(f"/assets/{name}")
        assert answer.content == script and answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "no-cache"
        again = get(f"/some/root/assets/{name}", **{"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
    for path in ("/assets/other-1234.js", "/", "/assets/", "/assets/../core.js"):
        assert get(path).text == "behind"


def test_who_asks_for_it_gets_gradios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_PLAIN_FRONTEND", "1")
    for name in quicker_scripts():
        assert get(f"/assets/{name}").text == "behind"


def test_what_is_not_known_stays_as_it_is() -> None:
    others = (
        WALK.replace("return null", "return 1"),
        TELL.replace("!1", "!0"),
        EVENTS.replace("n[1]", "n[2]"),
        AGAIN.replace("v(),oe", "b(),oe"),  # another one's count
        AGAIN.replace("reload_count`,11,0", "reload_count`,11,1"),
    )
    for script in ("", "function Z(e,t){return e}", *others):
        assert quicker(script) == script
    script = f"a();{WALK};class A{{{TELL}{EVENTS}}}{AGAIN}"
    assert not any(spot in quicker(script) for spot in SPOTS)
    assert "le(()=>{if(!v())return;oe(()=>{O.reload(r.components" in quicker(script)
    assert quicker(script.replace("Z(", "$q(")).count("$q.ways") == 1, "names are those of the build"


@pytest.mark.browser
def test_the_quicker_parts_do_what_the_slow_ones_do(chromium) -> None:
    page = chromium.new_page()
    try:
        answer = page.evaluate(
            """([slow, quick, tell, searched, known]) => {
              const one = eval(`(${slow})`), other = eval(`(${quick})`);
              let seed = 1;
              const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
              const tree = (depth) => ({id: random(60), children: depth && random(4)
                ? Array.from({length: random(5)}, () => tree(depth - 1)) : undefined});
              const root = tree(5);
              const nodes = [];
              const list = (node) => { nodes.push(node); (node.children || []).forEach(list); };
              for (let round = 0; round < 300; round++) {
                nodes.length = 0;
                list(root);
                nodes.forEach((node, place) => { node.id = place; });
                // Parts of the tree change, move, come and go between the questions.
                const some = nodes[random(nodes.length)];
                if (some.children) random(2) ? some.children.reverse() : some.children.splice(random(3), 1);
                else if (nodes.length < 300) some.children = [tree(2)];
                nodes.length = 0;
                list(root);
                nodes.forEach((node, place) => { node.id = place; });
                for (let id = -1; id <= nodes.length; id++)
                  if (one(root, id) !== other(root, id)) return `round ${round}, id ${id}`;
              }

              // Statuses: everybody ends with the newest, and nobody is told the same twice in a row.
              const Teller = eval(`(class { ${tell} })`);
              const teller = new Teller(), last = {};
              let told = 0;
              teller.update_state_cb = (id, {loading_status}) => {
                if (JSON.stringify(last[id]) === JSON.stringify(loading_status)) throw Error('told twice');
                last[id] = {...loading_status};
                told += 1;
              };
              const current = Object.fromEntries(Array.from({length: 20}, (_, id) => [id, {status: 'pending', n: 0}]));
              teller.loading_stati = {current};
              for (let round = 0; round < 200; round++) {
                const id = random(20);
                if (random(2)) current[id] = {...current[id], n: random(3)};
                else current[id].status = ['pending', 'complete', 'error'][random(3)];
                teller.update_loading_stati_state();
                if (JSON.stringify(last) !== JSON.stringify(current)) return `statuses of round ${round}`;
              }
              if (told >= 20 + 200) return `told ${told} times`;

              // Events: of every component the same, also when the dependencies change before the tree is made again.
              const Slow = eval(`(class { ${searched} })`), Quick = eval(`(class { ${known} })`);
              const slower = new Slow(), quicker = new Quick();
              const node = (id) => ({id, props: {shared_props: {}}});
              quicker.root = node(0);
              const dependencies = [];
              for (let round = 0; round < 50; round++) {
                for (let more = 0; more < 5; more++)
                  dependencies.push({targets: Array.from({length: random(4)}, () =>
                    [[null, ...Array(30).keys()][random(31)], ['click', 'change', 'load', null][random(4)]])});
                const seen = new Set();
                for (let id = 0; id < 30; id++) {
                  const [a, b] = [node(id), node(id)];
                  if (slower.find_attached_events(a, dependencies) !== a) return 'slow';
                  if (quicker.find_attached_events(b, dependencies) !== b) return 'quick';
                  const events = b.props.shared_props.attached_events;
                  if (JSON.stringify(a) !== JSON.stringify(b) || seen.has(events)) return `events of ${id}`;
                  seen.add(events);
                }
              }
              return 'equal';
            }""",
            [WALK, quicker(WALK), quicker(TELL), EVENTS, quicker(f"class A{{{EVENTS}}}")[len("class A{") : -1]],
        )
        assert answer == "equal"
    finally:
        page.close()


def test_no_build_of_the_page_has_a_name_of_its_own_that_is_taken() -> None:
    folder = Path(gradio.__file__).parent / "templates/frontend/assets"
    for name in quicker_scripts():
        assert not re.search(r"altub_told|altub_events|\.ways\b", (folder / name).read_text(encoding="utf-8"))
