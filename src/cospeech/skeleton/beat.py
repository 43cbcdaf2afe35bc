"""The skeleton of the BEAT captures (Xsens, 75 joints), and a pose of it.

Rotations are in the parent's frame, ``R = R_x R_y R_z``, the rest pose a T-pose that faces +Z.
"""

from __future__ import annotations

import torch

from cospeech.skeleton.skeleton import Skeleton

__all__ = ["BEAT", "BEAT_ARKIT_NAMES", "BEAT_BASE_DEGREES", "BEAT_BASE_POSITION", "BEAT_GESTURE_JOINTS"]

# Name, parent, offset from the parent in centimetres, rotation in degrees in the base pose. Names, tree and numbers are
# those of the BEAT data (Liu et al., ECCV 2022), as the template of DiffSHEG (Chen et al., CVPR 2024) has them.
_JOINTS: tuple[tuple[str, int, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("Hips", -1, (0.0, 0.0, 0.0), (-21.00948, -1.5018, -7.117338)),
    ("Spine", 0, (0.0, 6.269896, -2.264934), (10.09048, 0.389938, 0.238962)),
    ("Spine1", 1, (0.0, 12.478628, -2.20032), (2.012058, 0.352687, -0.684536)),
    ("Spine2", 2, (0.0, 12.622911, -1.104362), (18.36785, 0.942389, 3.217709)),
    ("Spine3", 3, (0.0, 12.671129, 0.0), (3.578974, 0.5259, 4.462284)),
    ("Neck", 4, (0.0, 16.291454, 1.629145), (6.936295, -5.379726, 3.326402)),
    ("Neck1", 5, (0.0, 3.456791, 0.30243), (-0.473694, -3.978598, -8.181224)),
    ("Head", 6, (0.0, 3.417274, 0.602559), (0.369311, 0.48048, -2.694839)),
    ("HeadEnd", 7, (0.0, 9.72773, -0.0), (-1e-06, 1e-06, 1e-06)),
    ("RightShoulder", 4, (0.0, 11.636753, 5.87917), (-6e-06, -18.83142, 9.49796)),
    ("RightArm", 9, (-19.553394, 8e-06, 0.0), (2.898227, 58.88811, 34.56235)),
    ("RightForeArm", 10, (-30.623638, 1.1e-05, 0.0), (-63.20056, 155.4541, 39.43452)),
    ("RightHand", 11, (-25.458359, 8e-06, 0.0), (-0.928413, -20.60821, -2.636092)),
    ("RightHandMiddle1", 12, (-9.328308, 4e-06, 0.0), (9.08386, -3.801505, 67.4775)),
    ("RightHandMiddle2", 13, (-4.931488, 0.0, 0.0), (-0.0, 3e-06, 54.78042)),
    ("RightHandMiddle3", 14, (-3.177132, 0.0, 0.0), (-2e-06, 0.0, 25.52975)),
    ("RightHandMiddle4", 15, (-1.92765, 0.0, 0.0), (-0.0, 1e-06, 2e-06)),
    ("RightHandRing", 12, (-0.25, -0.25, -0.855603), (3.472703, -1.852783, -3.132228)),
    ("RightHandRing1", 17, (-8.228668, 4e-06, -0.742586), (-2.745793, -4.489555, 76.1856)),
    ("RightHandRing2", 18, (-4.579102, 0.0, -0.413236), (-4.731855, -3.078569, 66.07938)),
    ("RightHandRing3", 19, (-3.089668, 0.0, -0.278823), (-2.170132, -0.477381, 24.8097)),
    ("RightHandRing4", 20, (-1.908813, 0.0, -0.172259), (-1e-06, 1e-06, 1e-06)),
    ("RightHandPinky", 17, (-0.172089, -0.25, -0.87461), (-4.308964, -2.875014, -3.362745)),
    ("RightHandPinky1", 22, (-6.812508, 4e-06, -1.523409), (-17.82858, -2.846744, 60.09881)),
    ("RightHandPinky2", 23, (-3.617294, 0.0, -0.808899), (-11.53915, -7.148608, 63.44999)),
    ("RightHandPinky3", 24, (-2.311783, 0.0, -0.516959), (-10.47363, -5.39167, 54.38168)),
    ("RightHandPinky4", 25, (-1.725502, 0.0, -0.385855), (-2e-06, 2e-06, 0.0)),
    ("RightHandIndex", 12, (-0.25, -0.25, 0.855603), (0.496069, 5.529242, -0.127735)),
    ("RightHandIndex1", 27, (-9.013367, 4e-06, 0.8134), (14.3337, -17.43623, 33.3331)),
    ("RightHandIndex2", 28, (-4.737785, 0.0, 0.427556), (2.127955, 0.458123, 24.29638)),
    ("RightHandIndex3", 29, (-2.835075, 0.0, 0.255847), (1.822103, 0.331653, 20.63035)),
    ("RightHandIndex4", 30, (-1.745514, 0.0, 0.157522), (-1e-06, 0.0, 3e-06)),
    ("RightHandThumb1", 27, (-0.172089, -0.75, 0.87461), (40.81759, 5.461215, -4.747158)),
    ("RightHandThumb2", 32, (-5.4757, 0.845421, 2.271264), (-11.80053, -2.922132, -19.55176)),
    ("RightHandThumb3", 33, (-3.582893, 0.553185, 1.486152), (-0.146344, 0.294446, -0.464708)),
    ("RightHandThumb4", 34, (-2.19529, 0.338943, 0.910584), (-2e-06, -3e-06, 1e-06)),
    ("LeftShoulder", 4, (0.0, 11.636753, 5.87917), (-2e-06, 10.75874, -12.89298)),
    ("LeftArm", 36, (19.553394, 8e-06, 0.0), (0.360449, -38.41192, -63.25619)),
    ("LeftForeArm", 37, (30.623638, 1.1e-05, 0.0), (10.83968, -27.72061, 5.08979)),
    ("LeftHand", 38, (25.458359, 8e-06, 0.0), (0.083537, 1.175138, -4.066026)),
    ("LeftHandMiddle1", 39, (9.327454, 4e-06, 0.0), (1.448756, 2.748421, -27.80886)),
    ("LeftHandMiddle2", 40, (4.935944, 0.0, 0.0), (3e-06, -2e-06, -19.6726)),
    ("LeftHandMiddle3", 41, (3.187286, 0.0, 0.0), (2e-06, -0.0, -17.30637)),
    ("LeftHandMiddle4", 42, (1.919037, 0.0, 0.0), (2e-06, 3e-06, 0.0)),
    ("LeftHandRing", 39, (0.25, -0.25, -0.911864), (-9.223304, 0.624124, -0.044034)),
    ("LeftHandRing1", 44, (8.228249, 4e-06, -0.742548), (-1.38237, 2.157439, -24.66074)),
    ("LeftHandRing2", 45, (4.570602, 0.0, -0.412469), (-1.988153, 0.397465, -22.60864)),
    ("LeftHandRing3", 46, (3.097679, 0.0, -0.279546), (-1.151565, 0.12986, -12.86764)),
    ("LeftHandRing4", 47, (1.900299, 0.0, -0.17149), (0.0, 2e-06, -1e-06)),
    ("LeftHandPinky", 44, (0.16703, -0.25, -0.930643), (-10.26966, -0.115417, 0.10633)),
    ("LeftHandPinky1", 49, (6.794594, 4e-06, -1.519404), (-0.885651, 9.560883, -15.85126)),
    ("LeftHandPinky2", 50, (3.623344, 0.0, -0.810251), (-4.482712, 0.809287, -20.45761)),
    ("LeftHandPinky3", 51, (2.307434, 0.0, -0.515988), (-4.597924, 0.852896, -21.00678)),
    ("LeftHandPinky4", 52, (1.717804, 0.0, -0.384134), (1e-06, 1e-06, -5e-06)),
    ("LeftHandIndex", 39, (0.25, -0.25, 0.911864), (-7.207472, -5.693244, 0.932058)),
    ("LeftHandIndex1", 54, (8.99826, 4e-06, 0.812038), (8.126328, 14.19075, -23.1767)),
    ("LeftHandIndex2", 55, (4.745354, 0.0, 0.428239), (1.756728, -0.307555, -19.85872)),
    ("LeftHandIndex3", 56, (2.836342, 0.0, 0.255961), (1.264798, -0.157071, -14.15786)),
    ("LeftHandIndex4", 57, (1.737732, 0.0, 0.15682), (-4e-06, -1e-06, -1e-06)),
    ("LeftHandThumb1", 54, (0.16703, -0.75, 0.930643), (48.17804, -1.731034, -2.119913)),
    ("LeftHandThumb2", 59, (5.434509, 0.839062, 2.254179), (-1.550178, 11.23724, 0.699243)),
    ("LeftHandThumb3", 60, (3.593353, 0.554794, 1.490485), (3.97922, 6.344404, -10.83751)),
    ("LeftHandThumb4", 61, (2.185493, 0.337429, 0.906521), (-1e-06, 3e-06, 2e-06)),
    ("RightUpLeg", 0, (-8.246678, 0.0, 0.0), (28.25133, 0.176269, -2.891968)),
    ("RightLeg", 63, (0.0, -42.827576, 0.0), (1.028059, 0.0, 1e-06)),
    ("RightFoot", 64, (0.0, -43.165855, 0.0), (12.64849, -20.51066, 12.48781)),
    ("RightForeFoot", 65, (0.0, -2.559708, 0.0), (1e-06, 2e-06, 0.0)),
    ("RightToeBase", 66, (0.0, 0.0, 10.024612), (-16.95796, -2e-06, -0.0)),
    ("RightToeBaseEnd", 67, (0.0, 0.0, 14.750254), (-0.0, 0.0, 0.0)),
    ("LeftUpLeg", 0, (8.246678, 0.0, 0.0), (28.80768, 7.309762, 9.737518)),
    ("LeftLeg", 69, (0.0, -42.827576, 0.0), (-7.026965, 0.0, -1e-06)),
    ("LeftFoot", 70, (0.0, -43.165855, 0.0), (12.35021, 15.5756, -9.126267)),
    ("LeftForeFoot", 71, (0.0, -2.559708, 0.0), (-1e-06, -2e-06, 0.0)),
    ("LeftToeBase", 72, (0.0, 0.0, 10.024612), (-11.40034, -0.0, 0.0)),
    ("LeftToeBaseEnd", 73, (0.0, 0.0, 14.330561), (0.0, 1e-06, -0.0)),
)


def _rest_joints() -> torch.Tensor:
    positions: list[torch.Tensor] = []
    for _, parent, offset, _ in _JOINTS:
        origin = positions[parent] if parent >= 0 else torch.zeros(3, dtype=torch.float64)
        positions.append(origin + torch.tensor(offset, dtype=torch.float64) / 100)
    return torch.stack(positions).float()


_NAMES = tuple(name for name, _, _, _ in _JOINTS)


def _limb(side: str) -> tuple[int, ...]:
    """The 22 joints of an arm that are captured, in the order of the data; the tips and palm bones are not."""
    arm = ("Shoulder", "Arm", "ForeArm", "Hand")
    fingers = (
        *(f"HandMiddle{i}" for i in (1, 2, 3)),
        *(f"Hand{finger}{i}" for finger in ("Ring", "Pinky", "Index") for i in ("", 1, 2, 3)),
        *(f"HandThumb{i}" for i in (1, 2, 3)),
    )
    return tuple(_NAMES.index(f"{side}{part}") for part in (*arm, *fingers))


BEAT_GESTURE_JOINTS = (*(_NAMES.index(name) for name in ("Spine", "Neck", "Neck1")), *_limb("Right"), *_limb("Left"))
"""The 47 joints of BEAT's gesture data, in its order."""

BEAT = Skeleton(
    names=_NAMES,
    parents=tuple(parent for _, parent, _, _ in _JOINTS),
    rest_joints=_rest_joints(),
    mirror_pairs=tuple(
        (joint, _NAMES.index(f"Right{name.removeprefix('Left')}"))
        for joint, name in enumerate(_NAMES)
        if name.startswith("Left")
    ),
    groups={
        "gesture": BEAT_GESTURE_JOINTS,
        "right_hand": BEAT_GESTURE_JOINTS[7:25],
        "left_hand": BEAT_GESTURE_JOINTS[29:],
        "legs": tuple(range(63, 75)),
    },
)
"""The 75 joints of a BEAT recording, the proportions those of the published template."""

BEAT_BASE_DEGREES = tuple(degrees for _, _, _, degrees in _JOINTS)
"""A pose: X, Y and Z angle of each joint. It gives hips, legs and whatever else is not generated."""

BEAT_BASE_POSITION = (0.00295, -0.00796, -0.01234)
"""Where the hips are in it, centimetres."""

BEAT_ARKIT_NAMES = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""Names of the 51 facial weights of BEAT, in its order: ARKit's without the tongue."""
