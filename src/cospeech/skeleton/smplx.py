"""SMPL-X with 55 joints and SMPL with 22: names, tree, mirror pairs, part groups and an average rest pose."""

from __future__ import annotations

import torch

from cospeech.skeleton.skeleton import Skeleton

__all__ = ["SMPL22", "SMPLX"]

# Name, parent and rest position in metres, rounded to 0.1 mm. Names and tree are those of SMPL-X (Pavlakos et al.,
# CVPR 2019). Positions are the mean of the rest joints of the 25 speakers of BEAT2 that GlobalDiff (Zhang et al., AAAI
# 2026) publishes; a mean of real people is close to symmetric, not exactly so.
_JOINTS: tuple[tuple[str, int, tuple[float, float, float]], ...] = (
    ("pelvis", -1, (0.0029, -0.3557, 0.0123)),
    ("left_hip", 0, (0.0592, -0.4473, -0.0123)),
    ("right_hip", 0, (-0.0582, -0.4588, -0.0072)),
    ("spine1", 0, (-0.0002, -0.2485, -0.0159)),
    ("left_knee", 1, (0.1137, -0.8126, -0.0202)),
    ("right_knee", 2, (-0.1019, -0.8075, -0.0231)),
    ("spine2", 3, (0.0102, -0.1148, -0.0224)),
    ("left_ankle", 4, (0.0678, -1.2051, -0.0479)),
    ("right_ankle", 5, (-0.0853, -1.2076, -0.0383)),
    ("spine3", 6, (-0.0013, -0.0623, 0.0076)),
    ("left_foot", 7, (0.1175, -1.2625, 0.0748)),
    ("right_foot", 8, (-0.1255, -1.2651, 0.0852)),
    ("neck", 9, (-0.0136, 0.1069, -0.0257)),
    ("left_collar", 9, (0.0443, 0.0245, -0.0004)),
    ("right_collar", 9, (-0.0486, 0.0238, -0.0067)),
    ("head", 12, (0.0114, 0.2653, -0.0048)),
    ("left_shoulder", 13, (0.1609, 0.0834, -0.0179)),
    ("right_shoulder", 14, (-0.1488, 0.078, -0.0207)),
    ("left_elbow", 16, (0.4026, 0.0121, -0.0592)),
    ("right_elbow", 17, (-0.4066, 0.0436, -0.0471)),
    ("left_wrist", 18, (0.6435, 0.0362, -0.0595)),
    ("right_wrist", 19, (-0.6454, 0.0393, -0.0595)),
    ("jaw", 15, (-0.0049, 0.2649, -0.0103)),
    ("left_eye_smplhf", 15, (0.0319, 0.3097, 0.0598)),
    ("right_eye_smplhf", 15, (-0.0319, 0.3097, 0.0598)),
    ("left_index1", 20, (0.7441, 0.0276, -0.04)),
    ("left_index2", 25, (0.7761, 0.03, -0.0376)),
    ("left_index3", 26, (0.7987, 0.0276, -0.0381)),
    ("left_middle1", 20, (0.7517, 0.0297, -0.0634)),
    ("left_middle2", 28, (0.7823, 0.0304, -0.0677)),
    ("left_middle3", 29, (0.8058, 0.0284, -0.072)),
    ("left_pinky1", 20, (0.7264, 0.0212, -0.1025)),
    ("left_pinky2", 31, (0.7422, 0.0201, -0.114)),
    ("left_pinky3", 32, (0.758, 0.0183, -0.1249)),
    ("left_ring1", 20, (0.7398, 0.0266, -0.0863)),
    ("left_ring2", 34, (0.768, 0.0282, -0.0915)),
    ("left_ring3", 35, (0.7908, 0.0268, -0.0985)),
    ("left_thumb1", 20, (0.6827, 0.0175, -0.0328)),
    ("left_thumb2", 37, (0.6999, 0.0185, -0.0077)),
    ("left_thumb3", 38, (0.7208, 0.0133, 0.0079)),
    ("right_index1", 21, (-0.7441, 0.0276, -0.04)),
    ("right_index2", 40, (-0.7761, 0.03, -0.0376)),
    ("right_index3", 41, (-0.7987, 0.0276, -0.0381)),
    ("right_middle1", 21, (-0.7517, 0.0297, -0.0634)),
    ("right_middle2", 43, (-0.7823, 0.0304, -0.0677)),
    ("right_middle3", 44, (-0.8058, 0.0284, -0.072)),
    ("right_pinky1", 21, (-0.7264, 0.0212, -0.1025)),
    ("right_pinky2", 46, (-0.7422, 0.0201, -0.114)),
    ("right_pinky3", 47, (-0.758, 0.0183, -0.1249)),
    ("right_ring1", 21, (-0.7398, 0.0266, -0.0863)),
    ("right_ring2", 49, (-0.768, 0.0282, -0.0915)),
    ("right_ring3", 50, (-0.7908, 0.0268, -0.0985)),
    ("right_thumb1", 21, (-0.6827, 0.0175, -0.0328)),
    ("right_thumb2", 52, (-0.6999, 0.0185, -0.0077)),
    ("right_thumb3", 53, (-0.7208, 0.0133, 0.0079)),
)

_LEFT_HAND, _RIGHT_HAND = tuple(range(25, 40)), tuple(range(40, 55))

SMPLX = Skeleton(
    names=tuple(name for name, _, _ in _JOINTS),
    parents=tuple(parent for _, parent, _ in _JOINTS),
    rest_joints=torch.tensor([position for _, _, position in _JOINTS]),
    mirror_pairs=(
        *((1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21), (23, 24)),
        *zip(_LEFT_HAND, _RIGHT_HAND, strict=True),
    ),
    groups={  # the order inside a part is that of the published part-wise models: feature channels follow it
        "upper": (3, 6, 9, *range(12, 22)),
        "lower": (0, 1, 2, 4, 5, 7, 8, 10, 11),
        "hands": (*_LEFT_HAND, *_RIGHT_HAND),
        "left_hand": _LEFT_HAND,
        "right_hand": _RIGHT_HAND,
        "face": (22, 23, 24),
        "feet": (7, 8, 10, 11),
    },
)
"""SMPL-X: 55 joints (22 body, jaw, 2 eyes, 2 x 15 fingers), with the mean rest pose of 25 BEAT2 speakers."""

SMPL22 = SMPLX.subset(SMPLX.names[:22])
"""The 22 body joints that SMPL, SMPL-H and SMPL-X share; wrists are the last ones."""
