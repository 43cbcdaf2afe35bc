"""Rotations: conversions, interpolation and distances on tensors with any leading axes."""

from cospeech.rotations.conversions import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
)
from cospeech.rotations.distance import geodesic_distance
from cospeech.rotations.euler import euler_to_matrix, matrix_to_euler
from cospeech.rotations.interpolation import exp_map, log_map, mean_rotation, slerp
from cospeech.rotations.quaternion import quaternion_apply, quaternion_conjugate, quaternion_multiply
from cospeech.rotations.rot6d import (
    axis_angle_to_rot6d,
    matrix_to_rot6d,
    matrix_to_rot6d_columns,
    normalize_rot6d,
    rot6d_columns_to_matrix,
    rot6d_to_axis_angle,
    rot6d_to_matrix,
)

__all__ = [
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "axis_angle_to_rot6d",
    "euler_to_matrix",
    "exp_map",
    "geodesic_distance",
    "log_map",
    "matrix_to_axis_angle",
    "matrix_to_euler",
    "matrix_to_quaternion",
    "matrix_to_rot6d",
    "matrix_to_rot6d_columns",
    "mean_rotation",
    "normalize_rot6d",
    "quaternion_apply",
    "quaternion_conjugate",
    "quaternion_multiply",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
    "rot6d_columns_to_matrix",
    "rot6d_to_axis_angle",
    "rot6d_to_matrix",
    "slerp",
]
