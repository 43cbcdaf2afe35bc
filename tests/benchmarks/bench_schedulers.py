"""Sampling loops on a free model: ours, diffusers', and the arithmetic in place that none can do without.

Run: ``OMP_NUM_THREADS=1 python tests/benchmarks/bench_schedulers.py``
"""

from __future__ import annotations

import warnings

import diffusers
import torch
from timing import compare

from cospeech.samplers import denoise
from cospeech.schedulers import (
    NoiseSchedule,
    ddim_steps,
    ddpm_steps,
    flow_euler_steps,
    flow_times,
    leading_spacing,
    linear_betas,
)

NUM_STEPS = 50
SCHEDULE = NoiseSchedule(linear_betas(1000)).respace(leading_spacing(1000, NUM_STEPS))


def contestants(shape):
    """For each sampler, loops over all steps with a prediction that costs nothing."""
    noisy, prediction, noise = torch.randn(3, *shape)
    generator = torch.Generator().manual_seed(0)

    def ours(steps, draw=None):
        return lambda: denoise(lambda x, t: prediction, noisy, steps, draw=draw)

    def in_place(steps):
        def run():
            x = noisy.clone()
            for timestep in steps.clock:
                drawn = noise.normal_(generator=generator) if steps.takes_noise(timestep) else None
                steps.step(prediction, timestep, x, drawn, out=x)

        return run

    def diffusers_loop(scheduler, **options):
        # Its flow scheduler counts steps inside and is wound back before each walk.
        def run():
            x = noisy
            if hasattr(scheduler, "_step_index"):
                scheduler._step_index = 0
            for timestep in scheduler.timesteps:
                x = scheduler.step(prediction, timestep, x, return_dict=False, **options)[0]
            return x

        return run

    def two_passes():
        x = noisy.clone()
        for _ in range(NUM_STEPS):
            x.mul_(0.99).add_(prediction, alpha=0.01)

    def one_pass():
        x = noisy.clone()
        for _ in range(NUM_STEPS):
            x.add_(prediction, alpha=0.02)

    def three_passes_and_noise():
        x, drawn = noisy.clone(), noise.clone()
        for _ in range(NUM_STEPS):
            x.mul_(0.99).add_(prediction, alpha=0.01).add_(drawn.normal_(generator=generator), alpha=0.1)

    ddim = diffusers.DDIMScheduler(1000, clip_sample=False)
    ddpm = diffusers.DDPMScheduler(1000, clip_sample=False)
    ddim.set_timesteps(NUM_STEPS)
    ddpm.set_timesteps(NUM_STEPS)
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(NUM_STEPS)
    return {
        "DDIM": {
            "arithmetic": two_passes,
            "ours": ours(ddim_steps(SCHEDULE)),
            "in place": in_place(ddim_steps(SCHEDULE)),
            "diffusers": diffusers_loop(ddim),
        },
        "DDPM": {
            "arithmetic": three_passes_and_noise,
            "ours": ours(ddpm_steps(SCHEDULE), draw=lambda: torch.randn(shape, generator=generator)),
            "in place": in_place(ddpm_steps(SCHEDULE)),
            "diffusers": diffusers_loop(ddpm, generator=generator),
        },
        "Flow Euler": {
            "arithmetic": one_pass,
            "ours": ours(flow_euler_steps(flow_times(NUM_STEPS))),
            "in place": in_place(flow_euler_steps(flow_times(NUM_STEPS))),
            "diffusers": diffusers_loop(flow),
        },
    }


def main() -> None:
    """Print a Markdown table of microseconds per step."""
    warnings.simplefilter("ignore")
    print("| sampler | shape | arithmetic, us | ours | ours, in place | diffusers | diffusers / ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        for shape in ((1, 64, 330), (1, 16)):
            for name, loops in contestants(shape).items():
                us = {who: 1e6 * seconds / NUM_STEPS for who, seconds in compare(loops, seconds=1.0).items()}
                least = us["arithmetic"]
                ours, in_place, peer = (
                    f"{us[who]:.1f} ({us[who] / least:.2f}x)" for who in ("ours", "in place", "diffusers")
                )
                ratio = us["diffusers"] / us["ours"]
                print(f"| {name} | {shape} | {least:.1f} | {ours} | {in_place} | {peer} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
