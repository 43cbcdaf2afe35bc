"""Audio beside librosa and SoX, one thread: ``python tests/benchmarks/bench_audio.py [speech.wav]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import librosa
import numpy as np
import torch
from timing import compare

import cospeech
from cospeech.audio import ProsodyFeatures, detect_onsets, load_audio, mel_spectrogram, onset_strength, resample

MINUTES = 10


def main() -> None:
    torch.set_num_threads(1)
    source = sys.argv[1] if len(sys.argv) > 1 else Path(cospeech.__file__).parent / "assets" / "speech.wav"
    speech = load_audio(source, 16000)
    speech = speech.repeat(MINUTES * 60 * 16000 // len(speech) + 1)[: MINUTES * 60 * 16000]
    samples = speech.numpy()
    wide = resample(speech, 16000, 44100)
    windows, features = speech.reshape(-1, 32000)[:64], ProsodyFeatures()

    start = time.perf_counter()
    theirs = librosa.onset.onset_detect(y=samples, sr=16000)
    first_call = time.perf_counter() - start
    ours = detect_onsets(speech, rate_hz=16000).numpy()
    print(f"{MINUTES} minutes of speech at 16 kHz, one thread, milliseconds. Onsets: {len(ours)} of ours and")
    print(f"{len(theirs)} of librosa's, {np.intersect1d(ours, theirs).size} of them equal; its first call (numba)")
    print(f"takes {first_call:.1f} s.\n")

    pairs = {
        "mel spectrogram": (
            "librosa",
            lambda: mel_spectrogram(speech, rate_hz=16000),
            lambda: librosa.feature.melspectrogram(y=samples, sr=16000),
        ),
        "onset strength": (
            "librosa",
            lambda: onset_strength(speech, rate_hz=16000),
            lambda: librosa.onset.onset_strength(y=samples, sr=16000),
        ),
        "onsets": (
            "librosa",
            lambda: detect_onsets(speech, rate_hz=16000),
            lambda: librosa.onset.onset_detect(y=samples, sr=16000),
        ),
        "resample 44.1 to 16 kHz": (
            "soxr_hq",
            lambda: resample(wide, 44100, 16000),
            lambda: librosa.resample(wide.numpy(), orig_sr=44100, target_sr=16000),
        ),
    }
    print("| | cospeech | peer | | gain |\n|---|---|---|---|---|")
    with torch.inference_mode():
        for topic, (peer, mine, reference) in pairs.items():
            seconds = compare({"cospeech": mine, peer: reference}, seconds=2.0)
            gain = seconds[peer] / seconds["cospeech"]
            print(f"| {topic} | {seconds['cospeech'] * 1e3:.0f} | {seconds[peer] * 1e3:.0f} | {peer} | {gain:.1f}x |")
        one, many = windows[:1], windows[:16]
        seconds = compare({"one": lambda: features(one), "many": lambda: features(many)}, seconds=1.0)
    alone, each = seconds["one"] * 1e3, seconds["many"] / 16 * 1e3
    print(f"\nProsody features of a window of 2 s: {alone:.2f} ms alone, {each:.2f} ms in a batch of 16.")


if __name__ == "__main__":
    main()
