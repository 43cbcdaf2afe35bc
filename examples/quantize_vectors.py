"""A vector quantizer in an autoencoder of your own: codebook, commitment loss, and codes that none die of neglect.

    python examples/quantize_vectors.py

Short pieces of sines become one of 64 codes each. `VectorQuantizer` holds the codebook and passes gradients straight
through; `EmaCodebook` moves the codes by averages and revives those that nobody chooses.

Needs: nothing but cospeech.
Takes: seconds.
CI: --steps 60
"""

import argparse
import math

import torch
from torch import Tensor, nn

from cospeech.losses import code_perplexity
from cospeech.nn import EmaCodebook, VectorQuantizer


def draw_waves(count: int, generator: torch.Generator) -> Tensor:
    """Sines of 16 samples with any phase and one of four frequencies, ``(count, 16)``."""
    phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
    cycles = torch.randint(1, 5, (count, 1), generator=generator)
    return torch.sin(phase + cycles * torch.arange(16) * 2 * math.pi / 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    encoder = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 8))
    decoder = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 16))
    quantizer = VectorQuantizer(num_codes=64, dim=8)
    averages = EmaCodebook(quantizer, decay=0.9)
    with torch.no_grad():
        averages.start(encoder(draw_waves(512, generator)), generator=generator)  # codes where the latents are

    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 3e-3)
    for step in range(options.steps):
        waves = draw_waves(512, generator)
        latents = encoder(waves)
        quantized = quantizer(latents)
        reconstruction = (decoder(quantized.latents) - waves).square().mean()
        commitment = (latents - quantized.codes.detach()).square().mean()
        optimizer.zero_grad()
        (reconstruction + 0.25 * commitment).backward()
        optimizer.step()
        averages.update(latents.detach(), quantized.indices, generator=generator)
        if step % 20 == 0 or step == options.steps - 1:
            used = code_perplexity(quantized.indices, 64)
            print(f"step {step:4}: error {reconstruction:.4f}, {used:4.1f} codes in use")

    waves = draw_waves(1000, generator)
    codes = quantizer.nearest(encoder(waves))  # integers: what a transformer would learn to predict
    error = (decoder(quantizer.lookup(codes)) - waves).square().mean()
    print(f"unseen waves, from their codes alone: error {error:.4f}; their variance is {waves.var():.4f}")
    assert error < 0.5 * waves.var()


if __name__ == "__main__":
    main()
