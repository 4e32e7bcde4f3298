"""Jobs, which nobody runs: submitted, described, cancelled."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hub.state import Hub, error, user

__all__ = ["routes"]


def routes(hub: Hub) -> list[Route]:
    """Endpoints under /api/jobs."""

    async def run_job(request: Request) -> Response:
        owner = request.path_params["user"]
        if user(request) is None:
            return error(401, words="Invalid credentials in Authorization header")
        if user(request) != owner:
            return error(403, words="Forbidden: pass a token with the right to run jobs")
        if hub.take("status_jobs"):
            return error(int(hub.faults["job_status"]), words="ordered by the test")
        wish = await request.json()
        job = f"{len(hub.jobs):024x}"
        hub.jobs[job] = {"request": wish, "owner": owner, "stage": "SCHEDULING", "message": None}
        return JSONResponse(describe_job(job))

    def describe_job(job: str) -> dict[str, Any]:
        known = hub.jobs[job]
        return {
            "id": job,
            "createdAt": "2026-01-02T03:04:05.000Z",
            "dockerImage": known["request"].get("dockerImage"),
            "command": known["request"]["command"],
            "arguments": [],
            "environment": known["request"]["environment"],
            "secrets": dict.fromkeys(known["request"].get("secrets", {}), None),
            "flavor": known["request"]["flavor"],
            "status": {"stage": known["stage"], "message": known["message"]},
            "owner": {"id": known["owner"], "name": known["owner"], "type": "user"},
        }

    async def job_of(request: Request) -> Response:
        if hub.take("status_jobs"):
            return error(int(hub.faults["job_status"]), words="ordered by the test")
        job, owner = request.path_params["job"], request.path_params["user"]
        if user(request) != owner or hub.jobs.get(job, {}).get("owner") != owner:
            return error(404, words="Job not found")
        if request.method == "POST":
            hub.jobs[job]["stage"] = "CANCELED"
        return JSONResponse(describe_job(job))

    return [
        Route("/api/jobs/{user}", run_job, methods=["POST"]),
        Route("/api/jobs/{user}/{job}", job_of),
        Route("/api/jobs/{user}/{job}/cancel", job_of, methods=["POST"]),
    ]
