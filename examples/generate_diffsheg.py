"""DiffSHEG: expression first, gesture informed by it; clips of any length by FOPPAS, whole or streamed.

    python examples/generate_diffsheg.py --model my-diffsheg   # a folder with fgd_best.tar and its statistics
    python examples/generate_diffsheg.py                       # small and untrained, hears prosody

The checkpoints are on the authors' drive, under no stated licence (docs/guides/weights.md says what the folder holds).
Without ``--model`` the network is SMALL AND UNTRAINED: all the wiring is real, the motion is noise.

Needs: nothing but cospeech; with published weights the extra ``speech`` (HuBERT, downloaded once).
Takes: seconds; with published weights two to ten times as long as the speech, on one CPU core.
CI: --out out
"""

import argparse
from importlib.resources import files
from pathlib import Path

import torch

from cospeech import Motion, load_pipeline
from cospeech.audio import ProsodyFeatures
from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.pipelines import DiffSHEGPipeline, DiffSHEGSampling, ProsodyTrack
from cospeech.representations import DiffSHEGShow


def small_untrained() -> DiffSHEGPipeline:
    torch.manual_seed(0)
    speech = ProsodyTrack(ProsodyFeatures())
    sizes = {"hidden_dim": 32, "num_layers": 1, "num_heads": 2, "feedforward_dim": 32, "fusion_dim": 32}
    sizes |= {"condition_dim": 32, "audio_dim": 16, "speech_dim": 8, "num_speakers": 4}
    config = DiffSHEGConfig(gesture_dim=129, expression_dim=103, speech_feature_dim=speech.feature_dim, **sizes)
    representation = DiffSHEGShow(mean=torch.zeros(232), std=0.05 * torch.ones(232))
    sampling = DiffSHEGSampling(num_steps=10, window_frames=60, overlap_frames=8)
    return DiffSHEGPipeline(DiffSHEGDenoiser(config), representation, speech, sampling=sampling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--model", help="a folder; without, a small untrained network")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    pipe = load_pipeline(options.model) if options.model else small_untrained()
    motion = pipe(options.audio, speaker=2)
    options.out.mkdir(parents=True, exist_ok=True)
    motion.save(options.out / "diffsheg.bvh")
    print(f"{motion} in {options.out / 'diffsheg.bvh'}")

    pieces = list(pipe.stream(options.audio, speaker=2))  # the same frames, window by window
    joined = Motion.concatenate(pieces)
    print(f"streamed in {len(pieces)} pieces of {pieces[0].num_frames} frames")
    torch.testing.assert_close(joined.local_axis_angle, motion.local_axis_angle, rtol=0, atol=1e-4)


if __name__ == "__main__":
    main()
