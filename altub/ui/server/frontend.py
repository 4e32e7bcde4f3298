"""Slow spots of Gradio's own page, replaced in its scripts while they are served.

A page with hundreds of components spends seconds in them on every load, and a part of a second on every event (seen
in Gradio 6.31 with Chromium's profiler):

* Whatever event changes its status, *every* component that was ever an output is told its status again, which takes a
  snapshot of it and of all that is in it. Here those are told whose status is another one than they were told last.
* Every component is looked up by walking through all components before it, each step through a reactive proxy. Here the
  way to each is kept and gone again; where another component is at its end, all ways are noted anew.
* Of every component the events that it starts are searched in all dependencies, through such proxies as well. Here they
  are gathered in one pass over the dependencies.
* The page that was just made is made once more, by an effect for apps that are reloaded while they are developed. Here
  that effect runs only then.

Nothing else changes, and what a page shows is the same. The texts are looked for in the scripts of the Gradio that is
installed; where they are not found, as in another version, its scripts are served as they are. `ALTUB_PLAIN_FRONTEND=1`
asks for that.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import gradio
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from altub.settings import plain_frontend

__all__ = ["QuickerFrontend", "quicker", "quicker_scripts"]

# The statuses: told only where they differ, by value, from the ones told last.
_TELL_ALL = re.compile(
    r"async update_loading_stati_state\(\)\{await Promise\.all\(Object\.entries\(this\.loading_stati\.current\)"
    r"\.map\(\(\[([\w$]+),([\w$]+)\]\)=>this\.update_state_cb\(Number\(\1\),\{loading_status:\2\},!1\)\)\)\}"
)
_TELL_CHANGED = (
    "async update_loading_stati_state(){"
    "const told=this.altub_told??=new Map,equal=(a,b)=>{if(!a)return!1;const names=Object.keys(b);"
    "return names.length===Object.keys(a).length&&names.every(name=>a[name]===b[name])},changed=[];"
    "for(const[id,status]of Object.entries(this.loading_stati.current))"
    "equal(told.get(id),status)||(told.set(id,{...status}),"
    "changed.push(this.update_state_cb(Number(id),{loading_status:status},!1)));"
    "await Promise.all(changed)}"
)
# The walk: function f(e, t) { if (e.id === t) return e; if (e.children) for (let n of e.children) { ... } return null }
_WALK = re.compile(
    r"function ([\w$]+)\(([\w$]+),([\w$]+)\)\{if\(\2\.id===\3\)return \2;"
    r"if\(\2\.children\)for\(let ([\w$]+) of \2\.children\)\{let ([\w$]+)=\1\(\4,\3\);if\(\5\)return \5\}return null\}"
)
_KEPT_WAY = (
    "function NAME(root,id){if(id===null)return null;"
    "const all=NAME.ways??=new WeakMap;let ways=all.get(root);ways||all.set(root,ways=new Map);"
    "const known=ways.get(id);"
    "if(known){let node=root;for(const place of known){node=node.children?.[place];if(!node)break}"
    "if(node&&node.id===id)return node}"
    "ways.clear();let found=null;const way=[],walk=node=>{const own=node.id,children=node.children;"
    "if(!ways.has(own)){ways.set(own,[...way]);if(own===id)found=node}"
    "if(children)for(let place=0;place<children.length;place++){way.push(place);walk(children[place]);way.pop()}};"
    "walk(root);return found}"
)
# The events of a component: of every dependency the first one that the component starts it by.
_SEARCH_EVENTS = re.compile(
    r"find_attached_events\(([\w$]+),([\w$]+)\)\{"
    r"let ([\w$]+)=\2\.filter\(([\w$]+)=>\4\.targets\.find\(\(\[\4\]\)=>\4===\1\.id\)\)"
    r"\.map\(\4=>\{let \3=\4\.targets\.find\(\(\[\4\]\)=>\4===\1\.id\);return \3\?\3\[1\]:null\}\)\.filter\(Boolean\);"
    r"return \1\.props\.shared_props\.attached_events=\3,\1\}"
)
_KNOWN_EVENTS = (
    "find_attached_events(node,dependencies){"
    "if(!this.altub_events||node.id===this.root.id){const all=this.altub_events=new Map;"
    "for(const{targets}of dependencies){const seen=new Set;for(const[id,event]of targets){"
    "if(seen.has(id))continue;seen.add(id);if(!event)continue;"
    "const known=all.get(id);known?known.push(event):all.set(id,[event])}}}"
    "node.props.shared_props.attached_events=this.altub_events.get(node.id)??[];return node}"
)
# The effect that makes the page again whenever its count goes up runs at 0 as well, when it was just made.
_MAKE_AGAIN = re.compile(
    r"(,([\w$]+)=[\w$]+\([\w$]+,`reload_count`,\d+,0\)[,;].*?"
    r"[\w$]+\(\(\)=>\{)\2\(\),([\w$]+\(\(\)=>\{[\w$]+\.reload\()",
    re.DOTALL,
)
_MAKE_ONCE = r"\1if(!\2())return;\3"
_SCRIPTS = ("core-*.js", "Blocks-*.js")
_PATH = re.compile(r"/assets/([\w-]+\.js)$")


def quicker(script: str) -> str:
    """A script of Gradio's page with the slow spots replaced; the script itself where it has none."""
    script = _TELL_ALL.sub(lambda _: _TELL_CHANGED, script)
    script = _SEARCH_EVENTS.sub(lambda _: _KNOWN_EVENTS, script)
    script = _MAKE_AGAIN.sub(_MAKE_ONCE, script)
    return _WALK.sub(lambda found: _KEPT_WAY.replace("NAME", found[1]), script)


@cache
def quicker_scripts() -> dict[str, bytes]:
    """The scripts of the installed Gradio that change, by their file names."""
    folder = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    changed = {}
    for pattern in _SCRIPTS:
        for path in folder.glob(pattern):
            script = path.read_text(encoding="utf-8")
            if (other := quicker(script)) != script:
                changed[path.name] = other.encode()
    return changed


class QuickerFrontend:
    """ASGI middleware that answers for those scripts; everything else it passes on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        scripts = {} if plain_frontend() else quicker_scripts()
        self.tagged = {
            name: (script, f'"{hashlib.sha256(script).hexdigest()[:32]}"') for name, script in scripts.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.search(scope["path"]) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        tagged = self.tagged.get(found[1]) if found else None
        if tagged is None:
            await self.app(scope, receive, send)
            return
        script, tag = tagged
        # The name is of Gradio's own text: the browser must ask whether it still has this one.
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        known = dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1")
        if tag in known:
            answer = Response(status_code=304, headers=headers)
        else:
            answer = Response(script, media_type="text/javascript", headers=headers)
        await answer(scope, receive, send)
