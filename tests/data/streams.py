"""A folder on the loopback, and small recordings to put there."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cospeech.data.beat2 import Recording
from cospeech.data.prepare import WindowMaker

MAKER = WindowMaker(window_frames=30, stride_frames=15)


@dataclasses.dataclass(frozen=True)
class Takes:
    """Recordings of random numbers, four windows each."""

    takes: int = 6

    def names(self) -> list[str]:
        return [f"take-{number}" for number in range(self.takes)]

    def fingerprint(self, name: str) -> str:
        return name

    def load(self, name: str) -> Recording:
        generator = torch.Generator().manual_seed(int(name[5:]))
        rotations = 0.1 * torch.randn(75, 55, 3, generator=generator)
        expressions = torch.randn(75, 100, generator=generator)
        waveform = torch.randn(40_000, generator=generator)
        translation = 0.01 * torch.randn(75, 3, generator=generator)
        return Recording(name, 3, rotations, translation, expressions, torch.zeros(300), torch.rand(75), waveform)


class Served:
    """What was asked for, and how many answers to tars are cut off from now on."""

    def __init__(self, url: str):
        self.url, self.asked, self.cut_off = url, list[str](), 0

    def tars(self) -> list[str]:
        """The tars and shards that were asked for since the last call."""
        found = [path for path in self.asked if path.endswith((".tar", ".safetensors"))]
        self.asked.clear()
        return found


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """A plain server of a folder, which does not know ranges."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if self.path.endswith(".tar") and served.cut_off:
                served.cut_off -= 1
                self.send_error(503)
            else:
                super().do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    served = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
