"""The embedded model from speech to motion: times real time, and peak memory of a process, by length.

python tests/benchmarks/bench_pipeline.py            # one minute
python tests/benchmarks/bench_pipeline.py 60 3600    # and one hour: two minutes of work each way
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from cospeech.audio import load_audio

SAMPLE = Path(__file__).resolve().parents[2] / "src/cospeech/assets/speech.wav"
# Each way has a process of its own, so that its peak is its own.
WORKER = """
import resource, sys, time, torch
torch.set_num_threads(1)
import cospeech
path, way, optimized = sys.argv[1:]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pipe = cospeech.load_pipeline("cospeech-tiny")
pipe = pipe.optimize() if optimized == "optimized" else pipe
start = time.perf_counter()
frames = pipe(path).num_frames if way == "call" else sum(piece.num_frames for piece in pipe.stream(path))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(frames / pipe.rate_hz / seconds, before // 1024, peak // 1024)
"""


def main(lengths: list[int]) -> None:
    """Print a row for each length and way."""
    speech = load_audio(SAMPLE, 16000).numpy()
    print("One thread. Memory in MB: torch and cospeech imported, then at the peak.\n")
    print("| seconds of speech | way | times real time | imported | peak |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            path = Path(folder) / f"{seconds}.wav"
            wavfile.write(path, 16000, (np.resize(speech, seconds * 16000) * 32767).astype(np.int16))
            for way, optimized in [("call", "plain"), ("call", "optimized"), ("stream", "plain")]:
                run = [sys.executable, "-c", WORKER, str(path), way, optimized]
                speed, before, peak = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
                print(f"| {seconds} | {way}, {optimized} | {float(speed):.1f} | {before} | {peak} |")


if __name__ == "__main__":
    main([int(length) for length in sys.argv[1:]] or [60])
