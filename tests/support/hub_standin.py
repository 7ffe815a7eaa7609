"""A stand-in for the Hugging Face hub on this machine: the few HTTP answers that pinned downloads need."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Repositories = dict[tuple[str, str], tuple[str, dict[str, bytes]]]  # (kind, id) -> (commit, files)


@contextmanager
def serve(repositories: Repositories) -> Iterator[str]:
    """Serve `repositories` until the block ends; yields the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, headers = _respond(repositories, self.path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *arguments: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _respond(repositories: Repositories, url: str) -> tuple[int, bytes, dict[str, str]]:
    path = unquote(urlsplit(url).path)
    for (kind, name), (commit, files) in repositories.items():
        web = f"/datasets/{name}/resolve/" if kind == "dataset" else f"/{name}/resolve/"
        if path.startswith(web):
            return _file(commit, files, path.removeprefix(web).partition("/")[2])
        api = f"/api/{kind}s/{name}"
        if path == api or path.startswith(f"{api}/"):
            return _question(name, commit, files, path.removeprefix(api), "recursive=true" in url.lower())
    return 404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}


def _file(commit: str, files: dict[str, bytes], name: str) -> tuple[int, bytes, dict[str, str]]:
    headers = {"X-Repo-Commit": commit}
    if name not in files:
        return 404, b"", {**headers, "X-Error-Code": "EntryNotFound"}
    return 200, files[name], {**headers, "ETag": f'"{_digest(files[name])}"'}


def _question(
    name: str, commit: str, files: dict[str, bytes], rest: str, recursive: bool
) -> tuple[int, bytes, dict[str, str]]:
    entries = [
        {"type": "file", "path": file, "rfilename": file, "size": len(content), "oid": _digest(content)}
        for file, content in files.items()
    ]
    if not rest.startswith("/tree/"):
        facts = {"id": name, "_id": "1", "sha": commit, "siblings": entries, "private": False, "gated": False}
        return 200, json.dumps({**facts, "disabled": False, "tags": []}).encode(), {}
    folder = "".join(f"{part}/" for part in rest.split("/")[3:])
    inside = [entry for entry in entries if entry["path"].startswith(folder)]
    if not inside:
        return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
    if not recursive:
        names = {entry["path"].removeprefix(folder) for entry in inside}
        folders = sorted({folder + part.split("/")[0] for part in names if "/" in part})
        inside = [entry for entry in inside if "/" not in entry["path"].removeprefix(folder)]
        inside += [{"type": "directory", "path": part, "oid": "d" * 40, "size": 0} for part in folders]
    return 200, json.dumps(inside).encode(), {}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
