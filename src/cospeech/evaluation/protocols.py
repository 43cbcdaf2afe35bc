"""Which program's numbers: every choice of a published protocol as data, quirks included.

A protocol is quoted by name and version; the version rises when a number changes. ``cospeech`` is the one that we
recommend: what it does otherwise, and why, is in its ``notes`` and in ``docs/metrics.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from cospeech.metrics import BeatRule, FrechetRule
from cospeech.metrics.frechet import FRECHET_RULES

__all__ = ["BEAT2_MEAN_SPEEDS", "PROTOCOLS", "FeatureRule", "Protocol", "get_protocol"]

BEAT2_MEAN_SPEEDS = (
    0.0832699388,
    0.0842123479,
    0.084825635,
    0.0849827603,
    0.0802743211,
    0.0803209245,
    0.0874055251,
    0.0491741672,
    0.0522552691,
    0.0883115754,
    0.0470638871,
    0.0517033525,
    0.0960930288,
    0.0920161009,
    0.0924064294,
    0.103271507,
    0.105029687,
    0.103748187,
    0.157094911,
    0.160256356,
    0.250890642,
    0.269602299,
    0.103241846,
    0.108541653,
    0.108700648,
    0.33719179,
    0.369543552,
    0.369703442,
    0.343488663,
    0.367981017,
    0.361523569,
    0.325054735,
    0.335645825,
    0.332727939,
    0.334152192,
    0.354011297,
    0.346855402,
    0.283575058,
    0.305817217,
    0.330255926,
    0.365297049,
    0.401571453,
    0.402261436,
    0.3720074,
    0.396856397,
    0.389964551,
    0.35113427,
    0.364496291,
    0.36084345,
    0.361371219,
    0.382171482,
    0.374994129,
    0.305668205,
    0.330873191,
    0.357686728,
)
"""Mean speed of the 55 SMPL-X joints over the English part of BEAT2, m/s, as the published programs divide by it."""


@dataclass(frozen=True, kw_only=True)
class FeatureRule:
    """How clips become the features of a Fréchet distance.

    Attributes:
        crop_frames: Whole clips are cut to a multiple of this.
        window_frames: Instead of whole clips, windows of this length; the network normalises over what it sees, so
            features of other lengths are other features.
        stride_frames: From window to window; what is left at the end is dropped.
        batch_windows: Average the distances of so many windows at a time, in order, rather than taking one of all.
    """

    crop_frames: int = 32
    window_frames: int | None = None
    stride_frames: int = 20
    batch_windows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One published way to measure.

    Attributes:
        name: How to quote it.
        version: Rises when a number changes.
        data: What it measures: "beat2" (SMPL-X motion, npz), "beat" (BEAT 2022: BVH, and JSON for faces), "show"
            (SMPL-X motion in windows) or "humanml272" (text to motion, npy).
        frechet: What is done about singular covariances.
        features: How clips become features; None without a Fréchet distance of clips.
        face_lvd: Whose LVD of the face: "velocity", "velocity_over_frames" (the sum over ``T - 1`` steps divided by
            ``T``) or "position" (what the published tables hold, which is none).
        zeroed_joints: Joints whose rotations are set to zero before positions are taken. Translation always is.
        beat: Beat consistency; None without.
        rate_hz: Frames per second of the motion.
        measures: What is reported, by name.
        source: Whose program it is.
        notes: What to know when quoting it.
    """

    name: str
    version: int = 1
    data: str = "beat2"
    frechet: FrechetRule
    features: FeatureRule | None = None
    zeroed_joints: tuple[int, ...] = ()
    beat: BeatRule | None = None
    face_lvd: str = "velocity"
    rate_hz: float = 30.0
    measures: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def windows(self) -> tuple[int, int]:
        """Length and stride of the windows, in frames.

        Raises:
            ValueError: If the protocol has none.
        """
        if self.features is None or self.features.window_frames is None:
            raise ValueError(f"Protocol {self.name!r} measures whole clips, not windows.")
        return self.features.window_frames, self.features.stride_frames


_ROOT_AND_FACE = (0, 22, 23, 24)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="cospeech",
            frechet=FRECHET_RULES["exact"],
            features=FeatureRule(window_frames=64, stride_frames=32),
            beat=BeatRule(threshold=0.1, threshold_frame="same", still_joints="skip"),
            measures=(
                "fgd",
                "fgd_static",
                "fgd_kinematic",
                "fgd_hands",
                "bc",
                "l1div",
                "diversity",
                "variance",
                "face_mse",
                "face_lvd",
                "expression_error",
                "expression_mse",
                "expression_lvd",
                "mpjpe",
                "pa_mpjpe",
                "acceleration_error",
                "pck",
                "srgr",
                "jerk",
                "jitter_share",
                "foot_contact",
                "foot_slide",
                "ground_penetration",
                "ground_share",
            ),
            source="this library",
            notes=(
                "FGD on windows of 64 frames, so that clips of different length have comparable features; no epsilon.",
                "Speeds for beats are taken at the frame of the beat, from positions that nothing has overwritten.",
                "Joints that never move are left out of BC rather than counted as 0.",
                "Root rotation is kept: a turning body does move.",
            ),
        ),
        Protocol(
            name="legacy",
            frechet=FRECHET_RULES["legacy"],
            features=FeatureRule(),
            beat=BeatRule(threshold=0.3, rectify=True, audio="file"),
            measures=("fgd", "bc", "l1div", "face_mse", "face_lvd"),
            face_lvd="position",
            source="PantoMatrix scripts/EMAGE_2024; SemTalk, SynTalker, MambaTalk",
            notes=(
                "The published tables of EMAGE and what quotes them; they print FGD x 10 and BC x 10.",
                "BC differentiates |x - mean x|, since the L1 diversity overwrites its input.",
                "The speed threshold of a beat is looked up 60 frames too early.",
                "LVD is the error of positions, not of velocities; its author confirms it.",
            ),
        ),
        Protocol(
            name="evaltools",
            frechet=FRECHET_RULES["evaltools"],
            features=FeatureRule(),
            zeroed_joints=_ROOT_AND_FACE,
            beat=BeatRule(threshold=0.1),
            measures=("fgd", "bc", "l1div", "face_mse", "face_lvd"),
            face_lvd="velocity_over_frames",
            source="H-Liu1997/emage_evaltools, used by the PantoMatrix README since 2025",
            notes=(
                "1e-6 is added to both covariances: equal sets are at distance -4.8e-4.",
                "Joint 3 never moves once the root rotation is zero, so BC cannot exceed 12/13.",
            ),
        ),
        Protocol(
            name="globaldiff",
            frechet=FRECHET_RULES["globaldiff"],
            features=FeatureRule(window_frames=64, stride_frames=20, batch_windows=1024),
            measures=("fgd", "expression_error"),
            source="GlobalDiff Scripts/FM/Test_FID_From_Results.py, which its authors keep for choosing checkpoints",
            notes=("The mean of one distance per 1024 windows: a small last batch counts as much as a full one.",),
        ),
        Protocol(
            name="beat2022",
            data="beat",
            frechet=FRECHET_RULES["beat2022"],
            features=FeatureRule(window_frames=34, stride_frames=10),
            rate_hz=15.0,
            measures=("fid", "srgr", "align", "l1div"),
            source="PantoMatrix scripts/BEAT_2022/test.py (CaMN)",
            notes=(
                "The program never calls eval(): batch normalisation uses each clip's windows, so numbers depend on "
                "clip length.",
                "Audio times are scaled by 16000/22050.",
            ),
        ),
        Protocol(
            name="diffsheg",
            data="beat",
            frechet=FRECHET_RULES["diffsheg"],
            features=FeatureRule(window_frames=34, stride_frames=10),
            rate_hz=15.0,
            measures=("fmd", "fgd", "fed", "mse", "pck", "diversity"),
            source="DiffSHEG trainers, validation on BEAT",
            notes=("Windows as the training cache has them: whole seconds, and none in which nothing moves.",),
        ),
        Protocol(
            name="diffsheg_show",
            data="show",
            frechet=FRECHET_RULES["diffsheg"],
            features=FeatureRule(window_frames=88, stride_frames=88),
            measures=("fmd", "fgd", "fed", "mse", "pck", "diversity"),
            source="DiffSHEG trainers, validation on SHOW",
            notes=("PCK counts single numbers. How the published windows were cut is not known.",),
        ),
        Protocol(
            name="motionstreamer",
            data="humanml272",
            frechet=FRECHET_RULES["motionstreamer"],
            measures=(
                "fid",
                "r_precision_1",
                "r_precision_2",
                "r_precision_3",
                "mm_dist",
                "diversity",
                "multimodality",
                "mpjpe",
            ),
            source="MotionStreamer utils/eval_trans.py",
            notes=(
                "Batches of 32 are shuffled, and captions, cuts and lengths drawn, so R-precision and MM-Dist vary in "
                "the third digit; here the seed decides.",
            ),
        ),
    )
}
"""Protocols by name."""


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
