"""The training loop around a network of your own: resume, validation, any number of devices.

    python examples/train_your_network.py --folder run     # stop it, start it again: it goes on

A task says what the loop cannot know: network, batches by number, terms of the loss. Here a recurrent network learns
from prosody how the procedural corpus turns its arms; its error on held-out clips stands beside the mean pose's.

Needs: the extra ``train``.
Takes: half a minute on one CPU core.
CI: --folder run --steps 6 --clips 3
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cospeech.audio import ProsodyFeatures
from cospeech.data.synthetic import make_clip
from cospeech.hub import save_tensors
from cospeech.rotations import geodesic_distance, mean_rotation, rot6d_to_matrix
from cospeech.skeleton import SMPLX
from cospeech.training import Clock, OptimizerConfig, RunConfig, TrainingTask, read_metrics, train

FRAMES, HELD_OUT_CLIPS = 60, 3
ARMS = [SMPLX.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist")]


class ArmNetwork(nn.Module):
    def __init__(self, num_features: int):
        super().__init__()
        self.recurrent = nn.GRU(num_features, 64, batch_first=True, bidirectional=True)
        self.out = nn.Linear(128, len(ARMS) * 6)

    def forward(self, features: Tensor) -> Tensor:
        return rot6d_to_matrix(self.out(self.recurrent(features)[0]).unflatten(-1, (-1, 6)))  # (B, T, 6, 3, 3)


class ArmTask(TrainingTask):
    def __init__(self, num_clips: int):
        clips = [make_clip(10.0, speaker=2, seed=seed) for seed in range(num_clips + HELD_OUT_CLIPS)]
        self.features = torch.cat([ProsodyFeatures()(clip.waveform)[:300].unflatten(0, (-1, FRAMES)) for clip in clips])
        self.rotations = torch.cat([clip.local_rotations[:300, ARMS].unflatten(0, (-1, FRAMES)) for clip in clips])
        self.num_held_out = 300 // FRAMES * HELD_OUT_CLIPS  # the last ones
        self.num_items = len(self.features) - self.num_held_out
        self.model = ArmNetwork(self.features.shape[-1])

    def batch(self, items: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.features[list(items)], self.rotations[list(items)]

    def losses(self, model: nn.Module, batch: tuple[Tensor, Tensor], clock: Clock) -> dict[str, Tensor]:
        angle = geodesic_distance(model(batch[0]), batch[1]).mean()
        return {"total": angle, "degrees": angle.detach().rad2deg()}

    def save(self, folder: str) -> None:  # the loop itself saves models that have a `config`
        save_tensors(self.model.state_dict(), f"{folder}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="run")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--clips", type=int, default=24)
    options = parser.parse_args()
    torch.manual_seed(0)
    task = ArmTask(options.clips)
    run = RunConfig(folder=options.folder, steps=options.steps, batch_size=16, checkpoint_every=50, validate_every=50)
    train(task, run, OptimizerConfig(learning_rate=2e-3, clip_norm=1.0))

    mean = mean_rotation(task.rotations[: task.num_items].flatten(0, 1).transpose(0, 1))
    mean_pose = geodesic_distance(mean, task.rotations[task.num_items :]).mean().rad2deg()
    for line in read_metrics(options.folder):
        if "validation/degrees" in line:
            print(f"step {line['step']:4}: {line['validation/degrees']:5.2f} degrees off (mean pose {mean_pose:.2f})")


if __name__ == "__main__":
    main()
