"""MotionStreamer: text to motion as a stream, four frames at a time, the prompt changed on the way.

    python examples/generate_motionstreamer.py --model motionstreamer --say "a person walks" "and waves"
    python examples/generate_motionstreamer.py                                 # small and untrained

The published weights are ``lxxiao/MotionStreamer`` on the Hugging Face Hub. Without ``--model`` the networks are SMALL
AND UNTRAINED and texts are embedded at random: all the wiring is real, the motion is noise.

Needs: nothing but cospeech; with published weights the extra ``text`` and a text model of 5 billion weights.
Takes: seconds; with published weights ten times as long as the motion lasts, on one CPU core.
CI:
"""

import argparse
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from cospeech import Motion, load_pipeline
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.pipelines import MotionStreamerPipeline, MotionStreamerSettings, TextPrompt
from cospeech.representations import FeatureStats


def embed_at_random(texts: Sequence[str]) -> Tensor:
    """The same numbers for the same text."""
    seeds = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in texts]
    return torch.stack([torch.randn(32, generator=seed) for seed in seeds])


def small_untrained() -> MotionStreamerPipeline:
    torch.manual_seed(0)
    sizes = {"dim": 32, "num_layers": 2, "num_heads": 2, "feedforward_dim": 64, "head_dim": 32, "head_layers": 2}
    model = MotionStreamer(MotionStreamerConfig(text_dim=32, latent_dim=8, **sizes))
    tae = CausalTAE(CausalTAEConfig(hidden_dim=16, latent_dim=8))
    stats = FeatureStats(mean=torch.zeros(272), std=0.1 * torch.ones(272))
    settings = MotionStreamerSettings(num_steps=10)
    return MotionStreamerPipeline(model, tae, stats, embed=embed_at_random, settings=settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="motionstreamer, a folder or a Hub id; without, small untrained networks")
    parser.add_argument("--say", nargs="+", default=["a person walks", "a person sits down"])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each prompt")
    options = parser.parse_args()

    pipe = load_pipeline(options.model) if options.model else small_untrained()
    pieces = []
    for piece in pipe.stream([TextPrompt(text, options.seconds) for text in options.say], seed=1):
        pieces.append(piece)  # four frames, as soon as they are known
        root = piece.translation[-1]
        print(f"{len(pieces) * 4 / 30:5.2f} s: the root is at ({root[0]:+.2f}, {root[2]:+.2f}) m")
    print(Motion.concatenate(pieces))


if __name__ == "__main__":
    main()
