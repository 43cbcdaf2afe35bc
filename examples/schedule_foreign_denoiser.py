"""Our schedulers and sampling loop around somebody else's denoiser, here a U-Net of the library diffusers.

    python examples/schedule_foreign_denoiser.py

A sampler sees a callable from the noisy sample and the timestep to a prediction, never a model class. The same U-Net
is also run by diffusers' own DDIM loop; the two results agree. The weights are random: what is shown is the wiring.

Needs: the package diffusers.
Takes: seconds.
CI: --steps 10
"""

import argparse

import torch
from diffusers import DDIMScheduler, UNet1DModel
from torch import Tensor

from cospeech.samplers import denoise, guide
from cospeech.schedulers import NoiseSchedule, ddim_steps, leading_spacing, linear_betas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()

    torch.manual_seed(0)
    network = UNet1DModel(
        sample_size=64,
        in_channels=6,
        out_channels=6,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D"),
        up_block_types=("UpBlock1D", "UpBlock1DNoSkip"),
        extra_in_channels=64,
    ).eval()
    noise = torch.randn(2, 6, 64)

    def predict(noisy: Tensor, timestep: float) -> Tensor:
        return network(noisy, torch.tensor(timestep)).sample

    schedule = NoiseSchedule(linear_betas(1000))
    steps = ddim_steps(schedule.respace(leading_spacing(1000, options.steps)), prediction="noise")
    with torch.no_grad():
        ours = denoise(predict, noise, steps)

    theirs = noise
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(options.steps)
    for timestep in scheduler.timesteps:
        with torch.no_grad():
            theirs = scheduler.step(network(theirs, timestep).sample, timestep, theirs).prev_sample
    difference = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"{options.steps} DDIM steps: ours and diffusers' differ by {difference:.1e} of the largest value")
    assert difference < 1e-4

    # Guidance is a callable around callables, so it fits around any network too.
    weak = guide(predict, lambda noisy, timestep: 0.5 * predict(noisy, timestep), 1.5)
    with torch.no_grad():
        guided = denoise(weak, noise, steps)
    print(f"guided by 1.5 away from a weaker one: spread {guided.std():.2f} instead of {ours.std():.2f}")


if __name__ == "__main__":
    main()
