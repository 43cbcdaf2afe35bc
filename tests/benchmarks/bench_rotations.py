"""Rotations against roma, kornia, SciPy and the formulas of pytorch3d: ``python tests/benchmarks/bench_rotations.py``.

One process, one thread, float32 tensors (SciPy: float64 inside, forward only), contestants in turns, medians.
``--rows`` and ``--ops`` choose sizes and operations; ``--full`` adds a million rows and takes longer medians.
The pytorch3d-style contestants are written here from the formulas, in its manner: whole arrays, ``unbind`` and
``stack``, four square roots for matrix to quaternion (inexact near 0 and pi, and here for its speed).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import kornia.geometry.conversions as kornia
import numpy as np
import roma
import torch
from scipy.spatial.transform import Rotation
from timing import compare
from torch import Tensor
from torch.nn.functional import normalize

from cospeech import rotations as ours

Contestants = dict[str, Callable[..., object]]


# --- pytorch3d style -----------------------------------------------------------------------------------------------


def p3d_quaternion_to_matrix(q: Tensor) -> Tensor:
    r, i, j, k = torch.unbind(q, -1)
    s = 2.0 / (q * q).sum(-1)
    entries = (
        1 - s * (j * j + k * k), s * (i * j - k * r), s * (i * k + j * r),
        s * (i * j + k * r), 1 - s * (i * i + k * k), s * (j * k - i * r),
        s * (i * k - j * r), s * (j * k + i * r), 1 - s * (i * i + j * j),
    )  # fmt: skip
    return torch.stack(entries, -1).reshape((*q.shape[:-1], 3, 3))


def p3d_axis_angle_to_quaternion(v: Tensor) -> Tensor:
    angle = torch.norm(v, p=2, dim=-1, keepdim=True)
    half = 0.5 * angle
    small = angle.abs() < 1e-6
    scale = torch.empty_like(angle)
    scale[~small] = torch.sin(half[~small]) / angle[~small]
    scale[small] = 0.5 - (angle[small] * angle[small]) / 48
    return torch.cat([torch.cos(half), v * scale], dim=-1)


def p3d_quaternion_to_axis_angle(q: Tensor) -> Tensor:
    norm = torch.norm(q[..., 1:], p=2, dim=-1, keepdim=True)
    half = torch.atan2(norm, q[..., :1])
    angle = 2 * half
    small = angle.abs() < 1e-6
    scale = torch.empty_like(angle)
    scale[~small] = torch.sin(half[~small]) / angle[~small]
    scale[small] = 0.5 - (angle[small] * angle[small]) / 48
    return q[..., 1:] / scale


def p3d_matrix_to_quaternion(m: Tensor) -> Tensor:
    def root(x: Tensor) -> Tensor:
        return 0.5 * torch.sqrt(torch.clamp(1 + x, min=1e-12))

    def with_sign(x: Tensor, like: Tensor) -> Tensor:
        return torch.where((x < 0) != (like < 0), -x, x)

    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    parts = (
        root(m00 + m11 + m22),
        with_sign(root(m00 - m11 - m22), m[..., 2, 1] - m[..., 1, 2]),
        with_sign(root(-m00 + m11 - m22), m[..., 0, 2] - m[..., 2, 0]),
        with_sign(root(-m00 - m11 + m22), m[..., 1, 0] - m[..., 0, 1]),
    )
    return torch.stack(parts, -1)


def p3d_rot6d_to_matrix(x: Tensor) -> Tensor:
    a, b = x[..., :3], x[..., 3:]
    a = normalize(a, dim=-1)
    b = normalize(b - (a * b).sum(-1, keepdim=True) * a, dim=-1)
    return torch.stack((a, b, torch.cross(a, b, dim=-1)), dim=-2)


def p3d_euler_to_matrix(angles: Tensor, order: str) -> Tensor:
    def about(axis: str, angle: Tensor) -> Tensor:
        cos, sin, one, zero = torch.cos(angle), torch.sin(angle), torch.ones_like(angle), torch.zeros_like(angle)
        rows = {
            "X": (one, zero, zero, zero, cos, -sin, zero, sin, cos),
            "Y": (cos, zero, sin, zero, one, zero, -sin, zero, cos),
            "Z": (cos, -sin, zero, sin, cos, zero, zero, zero, one),
        }[axis]
        return torch.stack(rows, -1).reshape((*angle.shape, 3, 3))

    a, b, c = (about(axis, angle) for axis, angle in zip(order, angles.unbind(-1), strict=True))
    return a @ b @ c


def p3d_quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    parts = (a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
             a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w)  # fmt: skip
    return torch.stack(parts, -1)


def p3d_quaternion_apply(q: Tensor, v: Tensor) -> Tensor:
    inverse = q * q.new_tensor([1, -1, -1, -1])
    real = torch.cat([v.new_zeros((*v.shape[:-1], 1)), v], -1)
    return p3d_quaternion_multiply(p3d_quaternion_multiply(q, real), inverse)[..., 1:]


def p3d_geodesic(a: Tensor, b: Tensor) -> Tensor:
    trace = (a @ b.transpose(-1, -2)).diagonal(dim1=-1, dim2=-2).sum(-1)
    return torch.acos(((trace - 1) / 2).clamp(-1 + 1e-6, 1 - 1e-6))


# --- what is compared ----------------------------------------------------------------------------------------------


def scipy(function: Callable[..., object]) -> Callable[..., object]:
    def run(*tensors: Tensor) -> object:
        return function(*(x.numpy() for x in tensors))

    run.forward_only = True  # type: ignore[attr-defined]
    return run


def operations(rows: int) -> dict[str, tuple[tuple[Tensor, ...], Contestants]]:
    """Inputs and contestants by operation. Quaternions are wxyz for all: only the labels matter to speed."""
    generator = torch.Generator().manual_seed(0)
    v, v2 = (torch.randn(rows, 3, generator=generator) for _ in range(2))
    q, q2 = ours.axis_angle_to_quaternion(v), ours.axis_angle_to_quaternion(v2)
    m, m2 = ours.axis_angle_to_matrix(v), ours.axis_angle_to_matrix(v2)
    six = torch.randn(rows, 6, generator=generator)
    t = torch.rand(rows, generator=generator)
    weights = torch.rand(rows // 10, 10, generator=generator)
    groups = m[: rows // 10 * 10].reshape(-1, 10, 3, 3)

    def scipy_slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> object:
        a, b = Rotation.from_quat(a), Rotation.from_quat(b)
        return (a * Rotation.from_rotvec(t[:, None] * (a.inv() * b).as_rotvec())).as_quat()

    return {
        "axis_angle_to_matrix": ((v,), {
            "cospeech": ours.axis_angle_to_matrix, "roma": roma.rotvec_to_rotmat,
            "kornia": kornia.axis_angle_to_rotation_matrix,
            "scipy": scipy(lambda v: Rotation.from_rotvec(v).as_matrix()),
            "pytorch3d": lambda v: p3d_quaternion_to_matrix(p3d_axis_angle_to_quaternion(v)),
        }),
        "matrix_to_axis_angle": ((m,), {
            "cospeech": ours.matrix_to_axis_angle, "roma": roma.rotmat_to_rotvec,
            "kornia": kornia.rotation_matrix_to_axis_angle,
            "scipy": scipy(lambda m: Rotation.from_matrix(m).as_rotvec()),
            "pytorch3d": lambda m: p3d_quaternion_to_axis_angle(p3d_matrix_to_quaternion(m)),
        }),
        "axis_angle_to_quaternion": ((v,), {
            "cospeech": ours.axis_angle_to_quaternion, "roma": roma.rotvec_to_unitquat,
            "kornia": kornia.axis_angle_to_quaternion,
            "scipy": scipy(lambda v: Rotation.from_rotvec(v).as_quat()), "pytorch3d": p3d_axis_angle_to_quaternion,
        }),
        "quaternion_to_axis_angle": ((q,), {
            "cospeech": ours.quaternion_to_axis_angle, "roma": roma.unitquat_to_rotvec,
            "kornia": kornia.quaternion_to_axis_angle,
            "scipy": scipy(lambda q: Rotation.from_quat(q).as_rotvec()), "pytorch3d": p3d_quaternion_to_axis_angle,
        }),
        "quaternion_to_matrix": ((q,), {
            "cospeech": ours.quaternion_to_matrix, "roma": roma.unitquat_to_rotmat,
            "kornia": kornia.quaternion_to_rotation_matrix,
            "scipy": scipy(lambda q: Rotation.from_quat(q).as_matrix()), "pytorch3d": p3d_quaternion_to_matrix,
        }),
        "matrix_to_quaternion": ((m,), {
            "cospeech": ours.matrix_to_quaternion, "roma": roma.rotmat_to_unitquat,
            "kornia": kornia.rotation_matrix_to_quaternion,
            "scipy": scipy(lambda m: Rotation.from_matrix(m).as_quat()), "pytorch3d": p3d_matrix_to_quaternion,
        }),
        "rot6d_to_matrix": ((six,), {
            "cospeech": ours.rot6d_to_matrix, "roma": lambda x: roma.special_gramschmidt(x.reshape(-1, 3, 2)),
            "pytorch3d": p3d_rot6d_to_matrix,
        }),
        "matrix_to_rot6d": ((m,), {
            "cospeech": ours.matrix_to_rot6d, "pytorch3d": lambda m: m[..., :2, :].clone().reshape(-1, 6),
        }),
        "axis_angle_to_rot6d": ((v,), {
            "cospeech": ours.axis_angle_to_rot6d, "roma": lambda v: roma.rotvec_to_rotmat(v)[..., :2, :].reshape(-1, 6),
            "pytorch3d": lambda v: p3d_quaternion_to_matrix(p3d_axis_angle_to_quaternion(v))[..., :2, :].reshape(-1, 6),
        }),
        "rot6d_to_axis_angle": ((six,), {
            "cospeech": ours.rot6d_to_axis_angle,
            "roma": lambda x: roma.rotmat_to_rotvec(roma.special_gramschmidt(x.reshape(-1, 3, 2))),
            "pytorch3d": lambda x: p3d_quaternion_to_axis_angle(p3d_matrix_to_quaternion(p3d_rot6d_to_matrix(x))),
        }),
        "euler_to_matrix": ((v,), {
            "cospeech": lambda v: ours.euler_to_matrix(v, "ZXY"),
            "roma": lambda v: roma.euler_to_rotmat("ZXY", list(v.unbind(-1))),
            "scipy": scipy(lambda v: Rotation.from_euler("ZXY", v).as_matrix()),
            "pytorch3d": lambda v: p3d_euler_to_matrix(v, "ZXY"),
        }),
        "matrix_to_euler": ((m,), {
            "cospeech": lambda m: ours.matrix_to_euler(m, "ZXY"),
            "roma": lambda m: roma.rotmat_to_euler("ZXY", m),
            "scipy": scipy(lambda m: Rotation.from_matrix(m).as_euler("ZXY")),
        }),
        "quaternion_multiply": ((q, q2), {
            "cospeech": ours.quaternion_multiply, "roma": roma.quat_product,
            "scipy": scipy(lambda a, b: (Rotation.from_quat(a) * Rotation.from_quat(b)).as_quat()),
            "pytorch3d": p3d_quaternion_multiply,
        }),
        "quaternion_apply": ((q, v), {
            "cospeech": ours.quaternion_apply, "roma": roma.quat_action,
            "scipy": scipy(lambda q, v: Rotation.from_quat(q).apply(v)), "pytorch3d": p3d_quaternion_apply,
        }),
        "geodesic_distance": ((m, m2), {
            "cospeech": ours.geodesic_distance, "roma": roma.rotmat_geodesic_distance,
            "scipy": scipy(lambda a, b: (Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude()),
            "pytorch3d": p3d_geodesic,
        }),
        "slerp": ((q, q2, t), {
            "cospeech": ours.slerp, "roma": lambda a, b, t: roma_slerp(a, b, t), "scipy": scipy(scipy_slerp),
        }),
        "mean_rotation, N = 10": ((groups, weights), {
            "cospeech": ours.mean_rotation,
            "roma": lambda m, w: roma.special_procrustes((w[..., None, None] * m).sum(-3)),
        }),
    }  # fmt: skip


def roma_slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """As ``roma.unitquat_slerp`` does, for one weight per row: it takes one list of weights for all rows."""
    return roma.quat_product(a, roma.rotvec_to_unitquat(t[:, None] * roma.unitquat_to_rotvec(
        roma.quat_product(roma.quat_conjugation(a), b))))  # fmt: skip


def with_backward(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    grad = torch.randn_like(function(*leaves))
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--full", action="store_true", help="also 1,000,000 rows, and three times as long")
    parser.add_argument("--ops", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=0.1, help="per contestant")
    arguments = parser.parse_args()
    if arguments.full:
        arguments.rows, arguments.seconds = sorted({*arguments.rows, 1_000_000}), 3 * arguments.seconds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    peers = ["roma", "kornia", "scipy", "pytorch3d"]
    print(
        "| operation | rows | pass | cospeech us |",
        *(f"{p} us |" for p in peers),
        "fastest / ours | pytorch3d / ours |",
    )
    print("|---" * (6 + len(peers)), "|", sep="")
    for rows in arguments.rows:
        for name, (inputs, contestants) in operations(rows).items():
            if arguments.ops and not any(op in name for op in arguments.ops):
                continue
            forward = {who: (lambda f=f, x=inputs: f(*x)) for who, f in contestants.items()}
            both = {who: with_backward(f, inputs) for who, f in contestants.items() if not hasattr(f, "forward_only")}
            for label, runs in {"forward": forward, "forward + backward": both}.items():
                times = compare(runs, seconds=arguments.seconds)
                mine = times["cospeech"]
                fastest = (
                    min(times[p] for p in times if p in ("roma", "kornia", "scipy")) if set(times) & {"roma"} else None
                )
                cells = [f"{times[p] * 1e6:,.0f}" if p in times else "–" for p in peers]
                ratios = [f"{x / mine:.2f}" if x else "–" for x in (fastest, times.get("pytorch3d"))]
                print(
                    "|",
                    name,
                    "|",
                    f"{rows:.0e}",
                    "|",
                    label,
                    f"| {mine * 1e6:,.0f} |",
                    " | ".join(cells + ratios),
                    "|",
                    flush=True,
                )


if __name__ == "__main__":
    main()
