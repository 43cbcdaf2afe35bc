"""Long clips of the embedded model, window by window: GlobalDiff's own rule beside DiffSHEG's FOPPAS.

    python examples/window_rules.py

Both continue a window from the last frames of the one before. The paper's rule draws each prediction half-way towards
them and goes over from the earlier to the later window in a ramp (published: it takes the mean). FOPPAS noises the
known frames as the window is noised, puts them in place after every step, and can walk back up so that both get to
agree. Speech is procedural and new to the model. Accelerations are means over joints and clips, "at seams" those of the
shared frames and two either side; seconds are of one thread.

Needs: nothing but cospeech.
Takes: a minute on one CPU core.
Needs: nothing but cospeech.
Takes: minutes on one CPU core.
CI: --clips 1 --seconds 6
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import torch

import cospeech
from cospeech.data.synthetic import make_clip
from cospeech.metrics import mean_jerk
from cospeech.samplers import outpainting_windows
from cospeech.skeleton import SMPLX, forward_kinematics

RATE_HZ = 16_000
RULES = {
    "paper, published mean": {"seams": "flat"},
    "paper, ramp": {"seams": "ramp"},
    "FOPPAS, no jumps": {"foppas_visits": 1},
    "FOPPAS": {"foppas_visits": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each clip")
    arguments = parser.parse_args()

    pipeline = cospeech.load_pipeline("cospeech-tiny")
    clips = [make_clip(arguments.seconds, i % 4 + 1, seed=50_000 + i) for i in range(arguments.clips)]
    waveforms, speakers = [clip.waveform for clip in clips], [clip.speaker for clip in clips]
    print("| rule | acceleration at seams, m/s^2 | elsewhere | ratio | jerk, m/s^3 | calls a window | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, changes in RULES.items():
        sampler = dataclasses.replace(pipeline.sampler, **changes)
        changed = pipeline.with_sampler(sampler)
        start = time.thread_time()
        motions = changed.batch(waveforms, speakers=speakers, source_rate_hz=RATE_HZ, progress=False)
        seconds = time.thread_time() - start
        at_seams, elsewhere, jerks = [], [], []
        for motion in motions:
            joints = motion.joints()
            acceleration = joints.diff(n=2, dim=0).norm(dim=-1).mean(-1) * motion.rate_hz**2
            seams = torch.zeros(len(acceleration), dtype=torch.bool)
            overlap = sampler.overlap_frames
            for window in outpainting_windows(motion.num_frames, changed.clock.window_frames, overlap)[1:]:
                seams[window.start - 2 : window.start + overlap + 1] = True
            at_seams.append(acceleration[seams].mean())
            elsewhere.append(acceleration[~seams].mean())
            jerks.append(mean_jerk(joints, motion.rate_hz))
        seam, other, jerk = (torch.stack(values).mean().item() for values in (at_seams, elsewhere, jerks))
        calls = sampler.num_calls if sampler.foppas is None else sampler.foppas.num_calls(inpainted=True)
        print(f"| {name} | {seam:.2f} | {other:.2f} | {seam / other:.2f} | {jerk:.0f} | {calls} | {seconds:.1f} |")
    truth = [
        forward_kinematics(clip.local_rotations.float(), SMPLX, translation=clip.translation.float()) for clip in clips
    ]
    still = torch.stack([joints.diff(n=2, dim=0).norm(dim=-1).mean() * 900 for joints in truth]).mean().item()
    jerk = torch.stack([mean_jerk(joints, 30.0) for joints in truth]).mean().item()
    print(f"| the corpus itself | | {still:.2f} | | {jerk:.0f} | | |")


if __name__ == "__main__":
    main()
