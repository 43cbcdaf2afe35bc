import torch

from cospeech.motion import Motion
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPL22, SMPLX, Skeleton
from cospeech.viz.skeleton import figure_of, figure_points


def turning(skeleton: Skeleton, generator: torch.Generator, num_frames: int = 5) -> Motion:
    return Motion(
        local_axis_angle=0.4 * torch.randn(num_frames, skeleton.num_joints, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator),
        rate_hz=30,
        skeleton=skeleton,
    )


def stick() -> Skeleton:
    rest = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0], [0.2, 0.5, 0.0]])
    return Skeleton(names=("Root", "Mast", "LeftArm"), parents=(-1, 0, 1), rest_joints=rest)


def test_joints_come_first_and_sites_ride_on_their_joint(generator: torch.Generator) -> None:
    for skeleton in (SMPLX, SMPL22, stick()):
        motion, figure = turning(skeleton, generator), figure_of(skeleton)
        points = figure_points(motion, figure)
        joints, rotations = motion.joints(), motion.global_rotations()
        assert torch.equal(points[:, : skeleton.num_joints], joints)
        for i, (parent, offset) in enumerate(zip(figure.site_parents, figure.site_offsets.float(), strict=True)):
            expected = joints[:, parent] + rotations[:, parent] @ offset
            torch.testing.assert_close(points[:, skeleton.num_joints + i], expected, atol=1e-5, rtol=0)


def test_every_finger_has_a_tip_and_the_limbs_name_points_that_exist() -> None:
    figure = figure_of(SMPLX)
    num_points = SMPLX.num_joints + len(figure.site_parents)
    assert all(0 <= limb.start < num_points and 0 <= limb.end < num_points for limb in figure.limbs)
    assert all(limb.start_radius > 0 and limb.end_radius > 0 for limb in figure.limbs)
    fingertips = [limb for limb in figure.limbs if limb.start in SMPLX.groups["hands"] and limb.end >= SMPLX.num_joints]
    assert len(fingertips) == 10
    # Nothing is left out but the face, which is drawn as a whole.
    drawn = {limb.end for limb in figure.limbs}
    left_out = {SMPLX.names[j] for j in range(1, SMPLX.num_joints) if j not in drawn}
    assert left_out == {"jaw", "left_eye_smplhf", "right_eye_smplhf"}


def test_sides_are_the_figures_own() -> None:
    figure = figure_of(SMPLX)
    rest = SMPLX.rest_joints
    for limb in figure.limbs:
        if limb.end < SMPLX.num_joints and limb.side != "middle":
            assert (rest[limb.end, 0] > 0) == (limb.side == "left")  # SMPL-X looks along +Z: its left is +X


def test_an_open_jaw_opens_the_mouth(generator: torch.Generator) -> None:
    motion, figure = turning(SMPLX, generator, num_frames=2), figure_of(SMPLX)
    axis_angle = torch.zeros_like(motion.local_axis_angle)
    axis_angle[1, SMPLX.index("jaw"), 0] = 0.3
    points = figure_points(Motion(local_axis_angle=axis_angle, translation=torch.zeros(2, 3), rate_hz=30), figure)
    gap = points[:, figure.anchors["upper_lip"], 1] - points[:, figure.anchors["lower_lip"], 1]
    assert gap[1] - gap[0] > 0.02  # metres


def test_a_skeleton_of_unknown_names_is_drawn_with_sticks() -> None:
    figure = figure_of(stick())
    assert [(limb.start, limb.end, limb.side) for limb in figure.limbs] == [(0, 1, "middle"), (1, 2, "left")]
    assert figure.site_offsets.shape == (0, 3)


def test_fingerless_hands_get_a_mitten() -> None:
    figure = figure_of(SMPL22)
    wrists = {SMPL22.index("left_wrist"), SMPL22.index("right_wrist")}
    assert {limb.start for limb in figure.limbs if limb.start in wrists and limb.end >= 22} == wrists


def test_sites_follow_a_rotation_about_the_root() -> None:
    figure = figure_of(SMPLX)
    axis_angle = torch.zeros(2, 55, 3)
    axis_angle[1, 0] = torch.tensor([0.0, 0.6, 0.0])
    points = figure_points(Motion(local_axis_angle=axis_angle, translation=torch.zeros(2, 3), rate_hz=30), figure)
    turned = (points[0] - points[0, 0]) @ axis_angle_to_matrix(axis_angle[1, 0]).T + points[0, 0]
    torch.testing.assert_close(points[1], turned, atol=1e-5, rtol=0)
