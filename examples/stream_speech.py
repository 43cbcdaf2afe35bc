"""Motion while somebody is still speaking: pieces of sound go in, frames come out window by window.

    python examples/stream_speech.py --live                           # the bundled speech at the pace of speaking
    python examples/stream_speech.py --audio talk.wav --speaker 4     # as fast as it goes

A stream takes what a call takes, and also any iterable of samples: a generator around a microphone is one. Printed is
how much had been heard when each piece came. Joined, the pieces are what one call gives; memory stays flat.

Needs: nothing but cospeech.
Takes: seconds; with ``--live`` as long as the speech.
CI:
"""

import argparse
import time
from collections.abc import Iterator
from importlib.resources import files

import torch
from torch import Tensor

from cospeech import Motion, load_pipeline
from cospeech.audio import load_audio

RATE_HZ, CHUNK_SECONDS = 16_000, 0.1


class Microphone:
    """Somebody who speaks; ``heard_seconds`` tells how much of it has been asked for."""

    def __init__(self, speech: Tensor, live: bool):
        self.speech, self.live, self.heard_seconds = speech, live, 0.0

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in self.speech.split(round(CHUNK_SECONDS * RATE_HZ)):
            if self.live:
                time.sleep(CHUNK_SECONDS)
            self.heard_seconds += len(chunk) / RATE_HZ
            yield chunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--model", default="cospeech-tiny")
    parser.add_argument("--speaker", type=int, default=2)
    parser.add_argument("--live", action="store_true")
    options = parser.parse_args()

    pipe = load_pipeline(options.model)
    microphone = Microphone(load_audio(options.audio, RATE_HZ), options.live)
    pieces = []
    for piece in pipe.stream(microphone, source_rate_hz=RATE_HZ, speaker=options.speaker, seed=7):
        pieces.append(piece)  # a player would show it and forget it
        shown = sum(piece.duration_seconds for piece in pieces)
        print(f"heard {microphone.heard_seconds:5.2f} s: motion up to {shown:5.2f} s")
    joined, whole = Motion.concatenate(pieces), pipe(options.audio, speaker=options.speaker, seed=7)
    assert torch.allclose(joined.local_axis_angle, whole.local_axis_angle, atol=1e-4)
    print(f"{joined}, the same as in one call")


if __name__ == "__main__":
    main()
