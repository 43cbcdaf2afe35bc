"""A Hugging Face Hub on 127.0.0.1, as much of it as ``snapshot_download`` needs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class LoopbackHub:
    """Repositories to serve, and what was asked for; those of data sets are named ``datasets/owner/name``."""

    cache: Path
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def commit_of(self, repository: str) -> str:
        content = json.dumps({name: data.hex() for name, data in self.repositories[repository].items()})
        return hashlib.sha1(content.encode()).hexdigest()

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a process of its own, since huggingface_hub reads its environment when it is imported."""
        variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    state = LoopbackHub(cache=tmp_path / "hf_home")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            state.requests.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            is_api = parts[0] == "api"
            if is_api:
                parts = parts[2:] if parts[1] == "models" else parts[1:]
            owner = 1 if parts[0] == "datasets" else 0
            repository, rest = "/".join(parts[: owner + 2]), parts[owner + 2 :]
            if repository not in state.repositories:
                return self.send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", with_body=with_body)
            if repository in state.gated:
                return self.send(403, {"X-Error-Code": "GatedRepo"}, b"{}", with_body=with_body)
            files, commit = state.repositories[repository], state.commit_of(repository)
            if len(rest) > 1 and rest[1] not in ("main", commit):
                return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", with_body=with_body)
            if is_api and rest[:1] == ["tree"]:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
                return self.send_json(tree, with_body=with_body)
            if is_api:
                description = {
                    "id": repository,
                    "sha": commit,
                    "private": False,
                    "siblings": [{"rfilename": name, "size": len(data)} for name, data in files.items()],
                }
                return self.send_json(description, with_body=with_body)
            data = files.get("/".join(rest[2:]))
            if data is None:
                headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
                return self.send(404, headers, b"", with_body=with_body)
            headers = {
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                "X-Repo-Commit": commit,
                "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
            }
            return self.send(200, headers, data, with_body=with_body)

        def send_json(self, content: object, *, with_body: bool) -> None:
            self.send(200, {"Content-Type": "application/json"}, json.dumps(content).encode(), with_body=with_body)

        def send(self, status: int, headers: dict[str, str], data: bytes, *, with_body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
