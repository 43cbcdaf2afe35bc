"""A network of your own that predicts rotations: six numbers per joint as its output layer, an angle as its loss.

    python examples/predict_rotations.py

Six numbers suit a network because no jump separates neighbouring rotations; any six that are not parallel become a
rotation. Here a small network learns to say the rotation of a cube from where its corners went, half turns included.

Needs: nothing but cospeech.
Takes: seconds.
CI: --steps 60
"""

import argparse

import torch
from torch import Tensor, nn

from cospeech.rotations import exp_map, geodesic_distance, rot6d_to_matrix


class RotationHead(nn.Module):
    """Your network up to here; then `num_joints` rotations."""

    def __init__(self, in_features: int, num_joints: int):
        super().__init__()
        self.linear = nn.Linear(in_features, num_joints * 6)

    def forward(self, features: Tensor) -> Tensor:
        """Rotations ``(..., J, 3, 3)``."""
        return rot6d_to_matrix(self.linear(features).unflatten(-1, (-1, 6)))


def draw_cubes(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rotations anywhere on SO(3), and the corners of cubes turned by them."""
    corners = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 1.0])]) * torch.tensor([1.0, 0.7, 0.4])
    rotations = exp_map(2 * torch.randn(count, 3, generator=generator))
    return rotations, torch.einsum("bij,cj->bci", rotations, corners[:5]).flatten(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(nn.Linear(15, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), RotationHead(128, 1))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(options.steps):
        target, corners = draw_cubes(256, generator)
        angle = geodesic_distance(network(corners)[:, 0], target)  # radians; its gradient is finite at 0 and at pi
        optimizer.zero_grad()
        angle.mean().backward()
        optimizer.step()
        if step % 20 == 0 or step == options.steps - 1:
            print(f"step {step:4}: {angle.mean().rad2deg():6.2f} degrees off")
    target, corners = draw_cubes(1000, generator)
    error = geodesic_distance(network(corners)[:, 0], target).mean().rad2deg()
    print(f"unseen cubes: {error:.2f} degrees off")
    assert error < 60, "a rotation drawn at random is 126 degrees off"


if __name__ == "__main__":
    main()
