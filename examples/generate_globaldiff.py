"""GlobalDiff: speech to motion of any length, four speakers, several seeds, whole and as a file to look at.

    python examples/generate_globaldiff.py --audio talk.wav --speaker 3 --out out

No denoiser of GlobalDiff was ever published. The weights here are those of ``cospeech-tiny``, a small GlobalDiff of our
own that comes with the package; a folder trained by ``examples/train_globaldiff.py`` goes in its place by ``--model``.

Needs: nothing but cospeech (MP3 and the like: the extra ``audio``).
Takes: seconds.
CI: --out out
"""

import argparse
from importlib.resources import files
from pathlib import Path

from cospeech import load_pipeline
from cospeech.skeleton import SMPLX
from cospeech.viz import save_html

WRISTS = [SMPLX.index("left_wrist"), SMPLX.index("right_wrist")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--model", default="cospeech-tiny")
    parser.add_argument("--speaker", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    pipe = load_pipeline(options.model)
    motion = pipe(options.audio, speaker=options.speaker, seed=7)
    print(motion)
    options.out.mkdir(parents=True, exist_ok=True)
    for suffix in (".npz", ".bvh"):
        motion.save(options.out / f"globaldiff{suffix}")
    save_html(motion, options.out / "globaldiff.html", audio=options.audio)

    # Another seed is another take of the same speech; all speakers at once are one batch.
    other = pipe(options.audio, speaker=options.speaker, seed=8)
    apart = (motion.joints()[:, WRISTS] - other.joints()[:, WRISTS]).norm(dim=-1).mean()
    print(f"wrists of two seeds are {100 * apart:.1f} cm apart on average")
    speakers = range(1, pipe.num_speakers + 1)
    for speaker, take in zip(speakers, pipe.batch([options.audio] * len(speakers), speakers=speakers), strict=True):
        speed = take.joints()[:, WRISTS].diff(dim=0).norm(dim=-1).mean(0) * take.rate_hz
        print(f"speaker {speaker}: wrists move at {speed[0]:.2f} (left) and {speed[1]:.2f} m/s (right)")


if __name__ == "__main__":
    main()
