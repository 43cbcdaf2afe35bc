"""Metrics on two folders of clips: how far is what was generated from what was recorded, and what is that worth?

    python examples/score_folders.py --reference recorded --generated ours --audio wavs --protocol legacy
    python examples/score_folders.py     # without folders: procedural motion, and the same with trembling hands

Folders hold ``.npz`` files in the BEAT2 layout under the same names. The same from a shell: ``cospeech evaluate``.

Needs: nothing but cospeech; for FGD the extractor's weights, for published numbers a licensed body (docs/metrics.md).
Takes: seconds for a dozen clips.
CI: --clips 3
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from cospeech.data.synthetic import make_clip
from cospeech.evaluation import evaluate_folders
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX


def make_folders(root: Path, num_clips: int) -> tuple[Path, Path]:
    """Clips to play with: procedural motion, and the same with hands that tremble by 3 degrees."""
    generator = torch.Generator().manual_seed(0)
    reference, generated = root / "reference", root / "trembling"
    reference.mkdir()
    generated.mkdir()
    hands = [*SMPLX.groups["left_hand"], *SMPLX.groups["right_hand"]]
    for i in range(num_clips):
        clip = make_clip(6.0, 1 + i % 4, seed=i)
        motion = Motion.from_local_rotations(
            clip.local_rotations, translation=clip.translation, rate_hz=30, expressions=clip.expressions
        )
        motion.save(reference / f"{i:03}.npz")
        shaken = motion.local_axis_angle.clone()
        shaken[:, hands] += 0.05 * torch.randn(len(shaken), len(hands), 3, generator=generator)
        replace(motion, local_axis_angle=shaken).save(generated / f"{i:03}.npz")
    return reference, generated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--audio", type=Path, help="folder of the clips' audio, for beat consistency")
    parser.add_argument("--extractor", type=Path, help="AESKConv_240_100.bin, for FGD")
    parser.add_argument("--protocol", default="cospeech")
    parser.add_argument("--clips", type=int, default=8)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as root:
        reference, generated = options.reference, options.generated
        if reference is None or generated is None:
            reference, generated = make_folders(Path(root), options.clips)
        result = evaluate_folders(
            generated, reference, audio=options.audio, extractor=options.extractor, protocol=options.protocol
        )
    print(result.to_markdown())
    print(f"jerk: {result['jerk'].value:.0f} m/s^3, recorded {result['jerk'].reference:.0f}")


if __name__ == "__main__":
    main()
