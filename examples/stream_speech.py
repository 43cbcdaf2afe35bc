"""Motion while speech is being read: frames leave window by window, memory stays flat, the result is the same.

    python examples/stream_speech.py --audio lecture.wav --speaker 4

Prints when each piece came, and how long it plays: the first is there long before the file has been read to its end.

Needs: nothing but cospeech.
Takes: less than the speech lasts, on one CPU core.
CI:
"""

import argparse
import time
from importlib.resources import files

import torch

from cospeech import Motion, load_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--model", default="cospeech-tiny")
    parser.add_argument("--speaker", type=int, default=2)
    options = parser.parse_args()

    pipe = load_pipeline(options.model)
    start, played, pieces = time.perf_counter(), 0.0, []
    for piece in pipe.stream(options.audio, speaker=options.speaker, seed=7):
        print(
            f"after {time.perf_counter() - start:5.2f} s: {piece.num_frames:3} frames, {played:5.2f} s into the speech"
        )
        played += piece.duration_seconds
        pieces.append(piece)  # a player would show it and forget it
    whole = pipe(options.audio, speaker=options.speaker, seed=7)
    joined = Motion.concatenate(pieces)
    assert torch.allclose(joined.local_axis_angle, whole.local_axis_angle, atol=1e-4)
    print(f"{joined}, the same as in one call")


if __name__ == "__main__":
    main()
