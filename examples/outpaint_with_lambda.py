"""FOPPAS over a lambda: a signal of any length from a denoiser that knows windows of 34 frames and nothing of FOPPAS.

    python examples/outpaint_with_lambda.py --seconds 60

The denoiser is one line: for smooth Gaussian signals the best guess of the clean window is a matrix product. FOPPAS
paints each window on from the last frames of the one before; drawn one by one, windows do not meet.

Needs: nothing but cospeech.
Takes: seconds.
CI: --seconds 20
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from cospeech.samplers import DrawKind, Foppas, OutpaintedWindows
from cospeech.schedulers import NoiseSchedule, linear_betas, strided_spacing

WINDOW_FRAMES, OVERLAP_FRAMES, RATE_HZ = 34, 4, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    schedule = NoiseSchedule(linear_betas(1000)).respace(strided_spacing(1000, 25))
    foppas = Foppas.ddim(schedule, prediction="clean")
    frames = torch.arange(WINDOW_FRAMES)
    smooth = torch.exp(-0.5 * ((frames[:, None] - frames) / 5.0) ** 2) + 1e-4 * torch.eye(WINDOW_FRAMES)

    def gain(timestep: float) -> Tensor:
        """What takes a noisy window to the mean of the clean ones that it may come from."""
        level = schedule.mixture(int(timestep))
        noisy = level.signal**2 * smooth + level.sigma**2 * torch.eye(WINDOW_FRAMES)
        return level.signal * torch.linalg.solve(noisy, smooth)

    gains = {timestep: gain(timestep) for timestep in foppas.steps.clock}
    predict = lambda noisy, timestep: gains[timestep].T @ noisy  # noqa: E731 (the lambda)

    def draw(kind: DrawKind, shape: Sequence[int]) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def sample(_: int, known: Tensor | None) -> Tensor:
        return foppas.sample_window(predict, draw("step", (1, WINDOW_FRAMES, 3)), known, draw=draw)

    num_windows = round(options.seconds * RATE_HZ / (WINDOW_FRAMES - OVERLAP_FRAMES))
    seams = torch.arange(1, num_windows) * (WINDOW_FRAMES - OVERLAP_FRAMES)
    for name, overlap in (("one by one", 0), ("FOPPAS", OVERLAP_FRAMES)):
        clip = torch.cat(list(OutpaintedWindows(sample, overlap_frames=overlap).run(range(num_windows))), dim=1)
        seam = seams if overlap else torch.arange(1, num_windows) * WINDOW_FRAMES
        steps = clip.diff(dim=1).abs().mean((0, 2))
        around = torch.cat([steps[seam - 1], steps[seam + OVERLAP_FRAMES - 1]])  # where the overlap begins and ends
        worst = around.reshape(2, -1).amax(0).mean() / steps.mean()
        print(f"{name:>10}: {clip.shape[1]} frames; a seam moves {worst:.2f} times as fast as the signal does")
    assert worst < 2


if __name__ == "__main__":
    main()
