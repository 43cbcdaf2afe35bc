"""Motion to feature vectors and back, with named channels."""

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

__all__ = [
    "LOCAL_UPPER_JOINTS",
    "Emage337",
    "GlobalRot6D",
    "Layout",
    "Representation",
    "emage_foot_contact",
    "emage_matrix_to_axis_angle",
    "globaldiff_flip",
    "globaldiff_matrix_to_axis_angle",
    "globaldiff_rot6d_to_matrix",
    "old_pytorch3d_matrix_to_quaternion",
    "pytorch3d_quaternion_to_axis_angle",
    "scatter_joints",
    "upsample_linear",
]
