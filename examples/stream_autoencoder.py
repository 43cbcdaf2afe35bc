"""MotionStreamer's causal autoencoder on its own: a clip in chunks of any size, with the result of the whole clip.

    python examples/stream_autoencoder.py --chunks 1 3 8

What the convolutions remember is a value that is passed in and handed back, so two streams share one set of weights,
and a stream can be kept, copied or resumed. The weights are random: equality does not depend on them.

Needs: nothing but cospeech.
Takes: seconds.
CI: --hidden 32
"""

import argparse
from itertools import cycle

import torch

from cospeech.models import CausalTAE, CausalTAEConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=256, help="1024 is the published width")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 3, 8], help="latents a chunk, over and over")
    options = parser.parse_args()

    torch.manual_seed(0)
    tae = CausalTAE(CausalTAEConfig(hidden_dim=options.hidden)).eval()
    motion = torch.randn(1, 240, 272)  # 8 s of 272-channel motion at 30 Hz
    with torch.no_grad():
        latents = tae.encode(motion).mean  # one for every four frames: (1, 60, 16)
        whole = tae.decode(latents)

        state, pieces, heard = tae.decoder.init_state(batch_size=1), [], 0
        for count in cycle(options.chunks):
            piece, state = tae.decoder.step(latents[:, heard : heard + count], state)
            pieces.append(piece)
            heard += count
            if heard >= latents.shape[1]:
                break
        streamed = torch.cat(pieces, dim=1)
        difference = (streamed - whole).abs().max() / whole.abs().max()
        print(f"{len(pieces)} chunks, {streamed.shape[1]} frames; they differ from the whole clip by {difference:.1e}")
        assert difference < 1e-5

        # Causal: what comes later changes nothing that has been shown.
        changed = latents.clone()
        changed[:, 30:] += 1.0
        same = torch.equal(tae.decode(changed)[:, :120], whole[:, :120])
        print(f"other latents from the 30th on leave the first 120 frames as they are, bit for bit: {same}")
        assert same


if __name__ == "__main__":
    main()
