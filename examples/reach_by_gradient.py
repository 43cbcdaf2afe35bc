"""Forward kinematics as a layer in a loss: rotations that bring both wrists where they should be.

    python examples/reach_by_gradient.py --save reach.bvh

Joint positions are differentiable in the rotations, so any wish about positions is a loss: for a network's output, or,
as here, for the rotations themselves. The wrists are to draw circles; joints shall turn little and smoothly.

Needs: nothing but cospeech.
Takes: seconds.
CI: --steps 40
"""

import argparse
import math

import torch

from cospeech import Motion
from cospeech.rotations import exp_map
from cospeech.skeleton import SMPLX, forward_kinematics

FRAMES, RATE_HZ = 60, 30
ARMS = [SMPLX.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("collar", "shoulder", "elbow")]
WRISTS = [SMPLX.index("left_wrist"), SMPLX.index("right_wrist")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save", help="a .bvh or .npz file for the motion")
    options = parser.parse_args()

    turn = torch.linspace(0, 2 * math.pi, FRAMES)
    circle = torch.stack([0.12 * torch.cos(turn), 0.12 * torch.sin(turn), torch.zeros(FRAMES)], dim=-1)
    chest = SMPLX.rest_joints[SMPLX.index("spine3")]
    sides = torch.tensor([[0.2, 0.0, 0.35], [-0.2, 0.0, 0.35]])  # left and right, in front of the chest, metres
    target = chest + sides + circle[:, None] * torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])

    arms = torch.zeros(FRAMES, len(ARMS), 3, requires_grad=True)  # axis-angle, radians
    optimizer = torch.optim.Adam([arms], 0.05)
    rest = torch.eye(3).repeat(FRAMES, 55, 1, 1)
    for step in range(options.steps):
        rotations = rest.index_copy(1, torch.tensor(ARMS), exp_map(arms))
        joints = forward_kinematics(rotations, SMPLX, translation=torch.zeros(FRAMES, 3))  # (T, 55, 3) metres
        missed = (joints[:, WRISTS] - target).norm(dim=-1).mean()
        effort = 1e-3 * arms.square().mean() + 0.1 * arms.diff(dim=0).square().mean()
        optimizer.zero_grad()
        (missed + effort).backward()
        optimizer.step()
        if step % 20 == 0 or step == options.steps - 1:
            print(f"step {step:3}: wrists {100 * missed:5.2f} cm off")
    assert missed < 0.1
    if options.save:
        motion = Motion.from_local_rotations(rotations.detach(), translation=torch.zeros(FRAMES, 3), rate_hz=RATE_HZ)
        motion.save(options.save)
        print(f"{motion} in {options.save}")


if __name__ == "__main__":
    main()
