"""A server on the loopback with ranges and faults, and archives of small MVTec AD categories for it to serve."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

HUB_COMMIT = "a" * 40


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def category_files(name: str, top: str = "") -> dict[str, bytes]:
    return {
        f"{top}{name}/license.txt": b"CC BY-NC-SA 4.0",
        f"{top}{name}/train/good/000.png": png(),
        f"{top}{name}/test/good/000.png": png(),
        f"{top}{name}/test/hole/000.png": png(),
        f"{top}{name}/ground_truth/hole/000_mask.png": png(),
    }


def tar_of(files: dict[str, bytes], mode: str = "w:xz", extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server:
    """Serves ``files`` with ETag and ranges, remembers the requests, and can drop connections."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.drop_after: list[int] = []  # for the next responses: bytes of the body before the connection drops
        self.content_type = "application/octet-stream"
        self.ranges = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
                server.requests.append((self.path, asked, condition))
                body = server.files.get(self.path.partition("?")[0])
                if body is None:
                    self.send_error(404)
                    return
                etag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
                start = 0
                if server.ranges and asked and condition in (None, etag):
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(body):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                else:
                    self.send_response(200)
                self.send_header("ETag", etag)
                self.send_header("X-Repo-Commit", HUB_COMMIT)
                self.send_header("Content-Type", server.content_type)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                rest = body[start:] if self.command == "GET" else b""
                if server.drop_after:
                    self.wfile.write(rest[: server.drop_after.pop(0)])
                    self.close_connection = True
                    return
                self.wfile.write(rest)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def names(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
