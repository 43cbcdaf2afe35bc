"""Motion to feature vectors and back, with named channels."""

from cospeech.representations.diffsheg import (
    DiffSHEGBeat,
    DiffSHEGRepresentation,
    DiffSHEGShow,
    beat_euler_degrees,
)
from cospeech.representations.emage337 import Emage337, emage_foot_contact, emage_matrix_to_axis_angle
from cospeech.representations.global_rot6d import GlobalRot6D, globaldiff_flip
from cospeech.representations.layout import Layout
from cospeech.representations.local_upper import LOCAL_UPPER_JOINTS, scatter_joints, upsample_linear
from cospeech.representations.published_rotations import (
    globaldiff_matrix_to_axis_angle,
    globaldiff_rot6d_to_matrix,
    old_pytorch3d_matrix_to_quaternion,
    pytorch3d_quaternion_to_axis_angle,
)
from cospeech.representations.representation import Representation
from cospeech.representations.statistics import FeatureStats
from cospeech.representations.streamer272 import (
    STREAMER_LAYOUT,
    RootPath,
    RootState,
    Streamer272,
    face_forward,
    recover_root,
    streamer_features,
    streamer_joints,
    streamer_smpl85,
)

__all__ = [
    "LOCAL_UPPER_JOINTS",
    "STREAMER_LAYOUT",
    "DiffSHEGBeat",
    "DiffSHEGRepresentation",
    "DiffSHEGShow",
    "Emage337",
    "FeatureStats",
    "GlobalRot6D",
    "Layout",
    "Representation",
    "RootPath",
    "RootState",
    "Streamer272",
    "beat_euler_degrees",
    "emage_foot_contact",
    "emage_matrix_to_axis_angle",
    "face_forward",
    "globaldiff_flip",
    "globaldiff_matrix_to_axis_angle",
    "globaldiff_rot6d_to_matrix",
    "old_pytorch3d_matrix_to_quaternion",
    "pytorch3d_quaternion_to_axis_angle",
    "recover_root",
    "scatter_joints",
    "streamer_features",
    "streamer_joints",
    "streamer_smpl85",
    "upsample_linear",
]
