"""A Hugging Face Hub on 127.0.0.1: what huggingface_hub's own client asks of it, and everything that can go wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

# Forks a child for each request: torch and cospeech are imported once, huggingface_hub in the child, with its own
# environment.
_FORGE = """
import json, os, sys, traceback
import cospeech.pipelines, cospeech.hub.convert.networks
assert "huggingface_hub" not in sys.modules, "importing cospeech must not import huggingface_hub"
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
    else:
        answer = os.fork()
        if not answer:
            for number, path in ((1, request["out"]), (2, request["err"])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.environ.clear()
            os.environ.update(request["environment"])
            code = 0
            try:
                exec(request["code"], {"__name__": "__main__"})
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(answer, flush=True)
"""


@dataclass
class ForkedProcess:
    """A process that runs a piece of Python."""

    forge: Forge
    pid: int
    out: Path
    err: Path

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        code = self.forge.ask({"wait": self.pid})
        return subprocess.CompletedProcess("", code, self.out.read_text(), self.err.read_text())

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)
        self.forge.ask({"wait": self.pid})


@dataclass
class Forge:
    """Makes processes in which cospeech is imported and huggingface_hub is not."""

    process: subprocess.Popen[str]
    count: int = 0

    def ask(self, request: dict[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, code: str, environment: dict[str, str], folder: Path) -> ForkedProcess:
        self.count += 1
        out, err = (folder / f"process-{self.count}.{name}" for name in ("out", "err"))
        request = {"code": code, "environment": environment, "out": str(out), "err": str(err)}
        return ForkedProcess(self, self.ask(request), out, err)


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    process = subprocess.Popen(
        [sys.executable, "-c", _FORGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    yield Forge(process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait()
    process.stdout.close()


@dataclass
class LoopbackHub:
    """Repositories to serve, how the Hub behaves, and what was asked for.

    Attributes:
        repositories: Files by repository; those of data sets under ``datasets/owner/name``.
        gated: Repositories for those only who accepted their terms.
        private: Repositories for those only who send this token.
        moved: Repositories that lie elsewhere now.
        statuses: What to answer first when a path is asked for, one after the other: 429, 503.
        cut_after: How many bytes of a file are sent before the connection breaks, once for each number.
        seconds_per_chunk: How slowly files are sent.
        chunk_bytes: How much of a file is sent at once.
        large_bytes: From which size on files are sent from another place, as those in LFS are.
        write_token: Of the account that may write.
        requests: Every request, with the range that it asked for.
    """

    cache: Path
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    seconds_per_chunk: float = 0.0
    chunk_bytes: int = 1 << 16
    large_bytes: int = 1 << 14
    write_token: str = "hf_writer"
    requests: list[str] = field(default_factory=list)
    url: str = ""
    forge: Forge | None = None

    def commit_of(self, repository: str) -> str:
        files = self.repositories[repository].items()
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in files})
        return hashlib.sha1(content.encode()).hexdigest()

    @property
    def other_host(self) -> str:
        """The same server under another name: the client leaves the Hub for large files."""
        return self.url.replace("127.0.0.1", "localhost")

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            "HF_HUB_ETAG_TIMEOUT": "3",
            "NO_PROXY": "127.0.0.1,localhost",
            **variables,
        }

    def start(self, code: str, **variables: str) -> ForkedProcess:
        """Start Python in a process of its own, since huggingface_hub reads its environment when it is imported."""
        assert self.forge is not None
        return self.forge.start(code, self.environment(**variables), self.cache.parent)

    def run(self, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a process of its own to its end."""
        return self.start(code, **variables).finish()

    def count(self, part: str) -> int:
        """How many requests name ``part``."""
        return sum(part in request for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {self.hub.write_token}":
            self.send(401, {"X-Error-Message": "Invalid username or password."}, b"{}")
        elif path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            name = "/".join(part for part in (json.loads(body).get("organization"), json.loads(body)["name"]) if part)
            self.hub.repositories.setdefault(name, {})
            self.answer_json({"url": f"{self.hub.url}/{name}"})
        else:
            self.upload(*path.strip("/").split("/")[2:5], body)

    def upload(self, account: str, name: str, kind: str, body: bytes) -> None:
        files = self.hub.repositories[f"{account}/{name}"]
        if kind == "preupload":
            asked = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer_json({"files": asked})
            return
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = self.hub.commit_of(f"{account}/{name}")
        self.answer_json({"commitUrl": f"{self.hub.url}/{account}/{name}/commit/{commit}", "commitOid": commit})

    def answer_json(self, content: object) -> None:
        self.send(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range", "")
        self.hub.requests.append(f"{self.command} {path} {asked}".strip())
        for name, statuses in self.hub.statuses.items():
            if name in path and statuses:
                return self.send(statuses.pop(0), {"Retry-After": "0"}, b'{"error": "busy"}')
        parts = path.strip("/").split("/")
        if parts[0] == "lfs":  # where large files really lie
            return self.send_file("/".join(parts[1:-1]), bytes.fromhex(parts[-1]).decode())
        is_api = parts[0] == "api"
        parts = parts[1:] if is_api else parts
        kind = "datasets/" if parts[0] == "datasets" else ""
        parts = parts[1:] if parts[0] in ("models", "datasets") else parts
        repository, rest = kind + "/".join(parts[:2]), parts[2:]
        if repository in self.hub.moved:
            new = self.path.replace(quote(repository), quote(self.hub.moved[repository]))
            return self.send(307, {"Location": new}, b"")
        if repository in self.hub.private:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token != self.hub.private[repository]:
                headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}
                return self.send(401, headers, b"{}")
        if repository not in self.hub.repositories:
            return self.send(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if repository in self.hub.gated:
            return self.send(403, {"X-Error-Code": "GatedRepo"}, b"{}")
        commit = self.hub.commit_of(repository)
        if len(rest) > 1 and rest[1] not in ("main", commit):
            return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        if is_api:
            return self.send_json(repository, commit, rest)
        name = "/".join(rest[2:])
        data = self.hub.repositories[repository].get(name)
        if data is None:
            return self.send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"")
        if len(data) >= self.hub.large_bytes:
            headers = {
                "Location": f"{self.hub.other_host}/lfs/{repository}/{name.encode().hex()}",
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
            }
            return self.send(302, headers, b"")
        return self.send_file(repository, name, commit)

    def send_json(self, repository: str, commit: str, rest: list[str]) -> None:
        files = self.hub.repositories[repository]
        content: object = {
            "id": repository.removeprefix("datasets/"),
            "sha": commit,
            "private": False,
            "siblings": [{"rfilename": name, "size": len(data)} for name, data in files.items()],
        }
        if rest[:1] == ["tree"]:
            content = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                | (
                    {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
                    if len(data) >= self.hub.large_bytes
                    else {}
                )
                for name, data in files.items()
            ]
        self.send(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def send_file(self, repository: str, name: str, commit: str | None = None) -> None:
        data = self.hub.repositories[repository][name]
        is_large = len(data) >= self.hub.large_bytes
        etag = (hashlib.sha256 if is_large else hashlib.sha1)(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if commit is not None:
            headers["X-Repo-Commit"] = commit
        begin, status = 0, 200
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last) + 1 if last else len(data)
            if begin >= len(data):
                self.send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
            data, status = data[begin:end], 206
        self.send(status, headers, data, is_file=is_large)

    def send(self, status: int, headers: dict[str, str], data: bytes, *, is_file: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if not is_file:
            self.wfile.write(data)
            return
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after else None
        try:
            for start in range(0, len(data), self.hub.chunk_bytes):
                if cut is not None and start >= cut:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.wfile.write(data[start : start + self.hub.chunk_bytes])
                time.sleep(self.hub.seconds_per_chunk)
        except OSError:  # the client has left
            self.close_connection = True


@pytest.fixture
def hub(tmp_path: Path, forge: Forge) -> Iterator[LoopbackHub]:
    state = LoopbackHub(cache=tmp_path / "hf_home", forge=forge)
    handler = type("Handler", (_Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
