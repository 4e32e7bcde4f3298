"""What the endpoint for machines takes and gives, for programs (OpenAPI) and for people."""

from __future__ import annotations

import html
from typing import Any

from altub.version import __version__

__all__ = ["docs_page", "openapi"]

_FIELDS: dict[str, tuple[str, str]] = {
    "image": ("file", "The image, in any format that the page reads."),
    "run": ("text", 'Id of a run, or "latest" (default): the newest finished run of this machine.'),
    "category": ("text", "That the model must be for; empty takes any."),
    "map": ("text", '"png16" adds the anomaly map; "none" is the default.'),
}
_NUMBER, _TEXT, _NULLABLE = {"type": "number"}, {"type": "string"}, {"type": ["number", "null"]}
_ANSWER: dict[str, tuple[dict[str, Any], str]] = {
    "verdict": (
        {"type": "string", "enum": ["good", "borderline", "defect", "not comparable"]},
        "The verdict at the model's own threshold.",
    ),
    "is_anomalous": ({"type": "boolean"}, "The score is above the threshold."),
    "reasons": ({"type": "array", "items": _TEXT}, "Why the image is not comparable with the training images."),
    "anomaly_score": (_NUMBER, "0: as a typical good part; 1: as the most unusual good part known."),
    "score": (_NUMBER, "The raw score."),
    "p_value": (_NUMBER, "Estimated share of good images that score at least as high."),
    "marked_area": (_NUMBER, "Share of the image's pixels that are marked."),
    "threshold": (
        {
            "type": "object",
            "properties": {
                "anomaly_value": _NUMBER,
                "value": _NUMBER,
                "pixel_value": _NUMBER,
                "origin": {"type": "object"},
                "band": {"type": ["array", "null"], "items": _NUMBER},
                "promise": _TEXT,
                "warning": {"type": ["string", "null"]},
            },
        },
        "Where the line is, where it comes from and what it promises.",
    ),
    "model": (
        {
            "type": "object",
            "properties": {"run": _TEXT, "category": _TEXT, "version": _NULLABLE, "weights_sha256": _TEXT},
        },
        "Which model said it.",
    ),
    "map": (
        {
            "type": "object",
            "properties": {"png": _TEXT, "width": _NUMBER, "height": _NUMBER, "low": _NUMBER, "high": _NUMBER},
        },
        "On request: the map as a 16-bit grey PNG in base64; low + v / 65535 * (high - low) is a pixel's raw value.",
    ),
}
_PROBLEMS = {
    400: "The form is malformed, or has no image.",
    401: "The token is missing or wrong.",
    403: "The endpoint is off, or the Host or Origin is not this server's.",
    404: "There is no such run.",
    413: "The image is too large.",
    415: "It is no multipart/form-data.",
    422: "The file is no image, or a damaged one.",
    503: "The server is ending.",
}


def openapi() -> dict[str, Any]:
    """The description by OpenAPI 3.1."""
    form = {
        name: {"type": "string", "description": about, **({"format": "binary"} if kind == "file" else {})}
        for name, (kind, about) in _FIELDS.items()
    }
    problem = {"type": "object", "properties": {"error": _TEXT}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AltUB", "version": __version__, "summary": "Finds defects in pictures of parts."},
        "paths": {
            "/v1/inspect": {
                "post": {
                    "operationId": "inspect",
                    "summary": "Inspects one image.",
                    "security": [{"token": []}],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "multipart/form-data": {
                                "schema": {"type": "object", "required": ["image"], "properties": form}
                            }
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "What the model says.",
                            "content": {
                                "application/json": {
                                    "schema": {
                                        "type": "object",
                                        "required": [name for name in _ANSWER if name != "map"],
                                        "properties": {
                                            name: {**kind, "description": about}
                                            for name, (kind, about) in _ANSWER.items()
                                        },
                                    }
                                }
                            },
                        },
                        **{
                            str(status): {"description": about, "content": {"application/json": {"schema": problem}}}
                            for status, about in _PROBLEMS.items()
                        },
                    },
                }
            }
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def docs_page() -> str:
    """A page for people, without a script."""
    fields = _table(("field", "kind", "about"), [(name, *about) for name, about in _FIELDS.items()])
    answer = _table(("key", "about"), [(name, about) for name, (_, about) in _ANSWER.items()])
    problems = _table(("status", "about"), [(str(status), about) for status, about in _PROBLEMS.items()])
    example = (
        'curl -H "Authorization: Bearer $ALTUB_API_TOKEN" -F image=@part.png -F run=latest \\\n'
        "     http://localhost:7860/v1/inspect"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>AltUB for machines</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; vertical-align: top }}
pre {{ overflow-x: auto; padding: .8rem; border: 1px solid #8886; border-radius: 6px }}
</style></head><body><main>
<h1>AltUB for machines</h1>
<p>One image in, one JSON answer out: <code>POST /v1/inspect</code>, multipart/form-data. For programs there is
<a href="/v1/openapi.json">openapi.json</a>.</p>
<pre>{html.escape(example)}</pre>
<h2>Fields</h2>{fields}
<h2>Answer</h2>{answer}
<h2>Problems</h2><p>Each answers <code>{{"error": "..."}}</code>.</p>{problems}
</main></body></html>"""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join(
        f"<tr><td><code>{html.escape(first)}</code></td>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
