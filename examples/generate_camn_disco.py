"""CaMN and DisCo: speech to gestures of upper body and hands, two systems behind one pipeline.

    python examples/generate_camn_disco.py --models camn disco --audio talk.wav   # published weights
    python examples/generate_camn_disco.py                                        # small and untrained

Without ``--models`` both networks are SMALL AND UNTRAINED: all the wiring is real, the motion is noise.

Needs: nothing but cospeech; a network connection once for the published weights.
Takes: seconds.
CI: --out out
"""

import argparse
from importlib.resources import files
from pathlib import Path

import torch

from cospeech import load_pipeline
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel
from cospeech.pipelines import UpperBodyPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--models", nargs="+", help="camn, disco, folders or Hub ids")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    torch.manual_seed(0)
    if options.models:
        pipes = {Path(name).name: load_pipeline(name) for name in options.models}
    else:
        pipes = {
            "camn": UpperBodyPipeline(CamnModel(CamnConfig(hidden_dim=16, num_layers=1))),
            "disco": UpperBodyPipeline(DiscoModel(DiscoConfig(hidden_dim=16, num_layers=1))),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, pipe in pipes.items():
        motion = pipe(options.audio)
        motion.save(options.out / f"{name}.npz")
        published = pipe(options.audio, strict_upstream=True)
        print(f"{name}: {motion}; the published program gives {published.num_frames} frames")


if __name__ == "__main__":
    main()
