"""Random windows of motion and speech: prepared shards against reading the raw files, and both kinds of streams.

python tests/benchmarks/bench_loader.py [take.npz take.wav]   # by default a procedural take of 90 s
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile

sys.path.insert(0, str(Path(__file__).parent))
from timing import compare

from cospeech.audio import load_audio
from cospeech.data import FilesSource, RemoteWindows, WindowMaker, WindowShards, prepare, write_tars
from cospeech.data.synthetic import make_clip
from cospeech.io import load_npz
from cospeech.motion import Motion
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, local_to_global
from cospeech.training.order import ShardOrder

FRAMES, BATCH, SHARE = 64, 32, 4


def procedural(folder: Path) -> tuple[Path, Path]:
    """A take as files."""
    clip = make_clip(90.0, speaker=1, seed=0)
    motion = Motion.from_local_rotations(
        clip.local_rotations, translation=clip.translation, expressions=clip.expressions, rate_hz=30
    )
    motion.save(folder / "take.npz")
    wavfile.write(folder / "take.wav", 16000, (clip.waveform.numpy() * 32767).astype(np.int16))
    return folder / "take.npz", folder / "take.wav"


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """A plain http server of a folder, in a process of its own."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def streams(folder: Path, source: FilesSource) -> list[tuple[str, float, float]]:
    """Megabytes, windows per second while shards come, and once they are here, of this process's own time."""
    prepare(source, folder / "far" / "shards", WindowMaker(window_frames=FRAMES, stride_frames=20), progress=False)
    shards = WindowShards(folder / "far" / "shards")
    write_tars(shards, range(len(shards)), folder / "far" / "tars", windows_per_tar=64, progress=False)
    rows = []
    with serve(folder / "far") as url:
        for place, root in (("a loopback server", url), ("a disk", str(folder / "far"))):
            for kind in ("shards", "tars"):
                windows = RemoteWindows(f"{root}/{kind}", folder / f"{kind} from {place}")
                order = ShardOrder(tuple(windows.shard_sizes), 8, 0)
                seconds = []
                for _ in range(2):
                    start = time.process_time()
                    for number in range(len(windows) // 8):
                        windows.batch(order.items(number))
                    seconds.append((time.process_time() - start) / (len(windows) // 8 * 8))
                size = sum(path.stat().st_size for path in (folder / "far" / kind).iterdir()) / 1e6
                rows.append((f"{kind} from {place}, {size:.0f} MB", 1 / seconds[0], 1 / seconds[1]))
    return rows


def main(arguments: list[str]) -> None:
    """Print windows per second of each way."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        motion, audio = map(Path, arguments) if arguments else procedural(folder)
        source = FilesSource(motion=(str(motion),), audio=(str(audio),))
        start = time.thread_time()
        report = prepare(source, folder / "shards", WindowMaker(window_frames=FRAMES, stride_frames=1), progress=False)
        seconds = time.thread_time() - start
        shards, generator = WindowShards(folder / "shards"), torch.Generator().manual_seed(0)
        samples = shards[0].waveform.shape[0]

        def rows(count: int) -> list[int]:
            return torch.randint(len(shards), (count,), generator=generator).tolist()

        def raw() -> None:
            """Both files for each window, as the published program of EMAGE reads them."""
            for row in rows(BATCH // SHARE):
                arrays, waveform = load_npz(motion), load_audio(audio, 16000)
                local = arrays.local_axis_angle[row : row + FRAMES].double()
                _ = arrays.expressions[row : row + FRAMES], arrays.translation[row : row + FRAMES]
                matrix_to_axis_angle(local_to_global(axis_angle_to_matrix(local), SMPLX)).float()
                waveform[row * 1600 // 3 :][:samples].clone()

        far = streams(folder, source)
        seen = compare({"raw": raw, "shards": lambda: shards.batch(rows(BATCH))}, seconds=3.0, clock=time.thread_time)
    per_second = {"raw": BATCH / SHARE / seen["raw"], "shards": BATCH / seen["shards"]}
    print(
        f"A take of {report.windows + FRAMES - 1} frames, windows of {FRAMES} frames with sound, one thread's time.\n"
    )
    print("| | windows per second | |\n| --- | --- | --- |")
    print(f"| raw files, npz and wav, for each window | {per_second['raw']:.0f} | 1x |")
    print(f"| shards, memory-mapped | {per_second['shards']:.0f} | {per_second['shards'] / per_second['raw']:.0f}x |")
    print(f"\n| Streamed, windows of {FRAMES} frames every 20 | while they come | once here |\n| --- | --- | --- |")
    for name, first, again in far:
        print(f"| {name} | {first:.0f} | {again:.0f} |")
    print(f"\nPreparing took {seconds:.2f} s, as long as reading {seconds * per_second['raw']:.0f} windows raw.")


if __name__ == "__main__":
    main(sys.argv[1:])
