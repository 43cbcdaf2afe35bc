"""One table of methods on procedural speech: a model, a retrieval baseline, mean pose, other clips' motion, the truth.

    python examples/compare_methods.py --clips 24 --model cospeech-tiny --markdown methods.md

Needs: nothing but cospeech.
Takes: a minute.
Needs: nothing but cospeech; for the plots the extra ``viz``.
Takes: about two minutes for 24 clips of 12 s with the bundled model.
CI: --clips 5 --seconds 8 --resamples 20
"""

from __future__ import annotations

import argparse
import tempfile
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from cospeech.audio import onset_strength
from cospeech.data.synthetic import SyntheticClip, make_clip
from cospeech.evaluation import comparison_table, evaluate_folders, save_evaluation_plots
from cospeech.motion import Motion

RATE_HZ = 16_000
FIRST_TEST_SEED, FIRST_LIBRARY_SEED = 95_000, 1_000


def motion_of(clip: SyntheticClip) -> Motion:
    return Motion.from_local_rotations(
        clip.local_rotations, translation=clip.translation, rate_hz=30, expressions=clip.expressions
    )


def nearest(clip: SyntheticClip, library: list[SyntheticClip]) -> Motion:
    """Retrieval: the motion of the recording of the same speaker whose onset strength resembles this one's most."""

    def curve(waveform: Tensor) -> Tensor:
        strength = onset_strength(waveform, rate_hz=RATE_HZ)
        return (strength - strength.mean()) / strength.std().clamp_min(1e-6)

    wanted = curve(clip.waveform)
    choices = [other for other in library if other.speaker == clip.speaker] or library
    return motion_of(max(choices, key=lambda other: float(wanted @ curve(other.waveform)[: len(wanted)])))


def mean_pose(motion: Motion) -> Motion:
    still = motion.local_axis_angle.mean(0, keepdim=True).expand_as(motion.local_axis_angle)
    return replace(motion, local_axis_angle=still.contiguous())


def save_wav(path: Path, waveform: Tensor) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((waveform.clamp(-1, 1).numpy() * 32767).astype(np.int16).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--model", help="a pipeline's name or folder; without, the table has no model")
    parser.add_argument("--protocol", default="cospeech")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--markdown", type=Path, help="write the table")
    parser.add_argument("--plots", type=Path, help="draw comparison, distributions, beats of a clip")
    options = parser.parse_args()

    clips = [make_clip(options.seconds, 1 + i % 4, FIRST_TEST_SEED + i) for i in range(options.clips)]
    library = [make_clip(options.seconds, 1 + i % 4, FIRST_LIBRARY_SEED + i) for i in range(options.clips)]
    motions = [motion_of(clip) for clip in clips]
    methods: dict[str, Callable[[int], Motion]] = {
        "truth": lambda i: motions[i],
        "retrieval": lambda i: nearest(clips[i], library),
        "shuffled audio": lambda i: motions[(i + 4) % len(motions)],  # true motion, of another clip's speech
        "mean pose": lambda i: mean_pose(motions[i]),
    }
    if options.model:
        from cospeech import load_pipeline

        pipeline = load_pipeline(options.model)

        def speak(i: int, heard: int) -> Motion:
            speech, speaker = clips[heard].waveform, clips[i].speaker
            return pipeline(speech, source_rate_hz=RATE_HZ, speaker=speaker, seed=i, progress=False)

        methods["model"] = lambda i: speak(i, i)
        methods["model, shuffled audio"] = lambda i: speak(i, (i + 4) % len(clips))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("reference", "audio", *methods):
            (root / folder).mkdir()
        for i, clip in enumerate(clips):
            motions[i].save(root / "reference" / f"{i:03}.npz")
            save_wav(root / "audio" / f"{i:03}.wav", clip.waveform)
            for method, make in methods.items():
                make(i).save(root / method / f"{i:03}.npz")
        results = [
            evaluate_folders(
                root / method,
                root / "reference",
                audio=root / "audio",
                protocol=options.protocol,
                num_resamples=options.resamples,
            )
            for method in methods
        ]
        if options.plots:
            folders = [root / method for method in methods]
            save_evaluation_plots(options.plots, results, generated=folders, audio=root / "audio")
    table = comparison_table(results)
    print(table, end="")
    if options.markdown:
        options.markdown.write_text(table)


if __name__ == "__main__":
    main()
