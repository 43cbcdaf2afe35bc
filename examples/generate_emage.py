"""EMAGE: speech to holistic motion, and gesture hints: any joints in any frames given, the rest completed.

    python examples/generate_emage.py --model emage --audio talk.wav   # published weights, 0.6 GB once
    python examples/generate_emage.py                                  # small and untrained

Without ``--model`` the networks are SMALL AND UNTRAINED: all the wiring is real, the motion is noise.

Needs: nothing but cospeech; a network connection once for the published weights.
Takes: seconds, with published weights too.
CI: --out out
"""

import argparse
from importlib.resources import files
from pathlib import Path

import torch

from cospeech import load_pipeline
from cospeech.models import EmageConfig, EmageGlobalMotion, EmageTransformer, EmageVQVAE, EmageVQVAEConfig
from cospeech.pipelines import EmagePipeline, GestureHints, make_emage_codec
from cospeech.skeleton import SMPLX


def small_untrained() -> EmagePipeline:
    torch.manual_seed(0)
    dims = {"face": 106, "upper": 78, "hands": 180, "lower": 61}  # channels of the four parts
    configs = {part: EmageVQVAEConfig(motion_dim=dim, latent_dim=16, num_codes=32) for part, dim in dims.items()}
    codec = make_emage_codec({part: EmageVQVAE(c) for part, c in configs.items()}, EmageGlobalMotion(configs["lower"]))
    sizes = {"hidden_dim": 32, "feedforward_dim": 32, "audio_dim": 16, "code_dim": 16, "num_codes": 32}
    return EmagePipeline(EmageTransformer(EmageConfig(**sizes, num_audio_layers=1, num_face_layers=1)), codec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", default=str(files("cospeech") / "assets/speech.wav"))
    parser.add_argument("--model", help="emage, a folder or a Hub id; without, small untrained networks")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()

    pipe = load_pipeline(options.model) if options.model else small_untrained()
    motion = pipe(options.audio)
    options.out.mkdir(parents=True, exist_ok=True)
    motion.save(options.out / "emage.npz")
    print(f"{motion} in {options.out / 'emage.npz'}")

    # A hint: the left hand as it was, for a second; seen by the network (as published), or kept exactly.
    visible = torch.zeros(motion.num_frames, 55, dtype=torch.bool)
    visible[90:120, list(SMPLX.groups["left_hand"])] = True
    other = pipe(options.audio, hints=GestureHints(motion, visible, exact=True))
    kept = torch.equal(other.local_axis_angle[visible], motion.local_axis_angle[visible])
    print(f"hinted joints kept exactly: {kept}")
    assert kept


if __name__ == "__main__":
    main()
