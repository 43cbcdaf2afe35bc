"""Does the embedded model earn its place? Measures it on speech that it has never heard.

    python examples/evaluate_tiny.py                                   # cospeech-tiny, synthetic and espeak speech
    python examples/evaluate_tiny.py --speech talk.wav other.mp3       # ... and recordings, cut into clips of 8 s
    python examples/evaluate_tiny.py --model my-tiny --long-minutes 5  # another model; and what five minutes do to it

Every claim is printed beside its bound, as a Markdown table; the exit status tells whether all hold.

Needs: nothing but cospeech; where espeak-ng is installed its speech is used too.
Takes: a minute; more with long speech.
CI: --clips 16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech import load_pipeline
from cospeech.audio import load_audio, onset_strength
from cospeech.data.synthetic import SPEAKERS, SyntheticClip, animate_speech, find_stresses, make_clip
from cospeech.data.synthetic.espeak import TEST_VOICES, espeak_installed, talk
from cospeech.data.synthetic.speech import record_speech
from cospeech.metrics import beat_consistency, bootstrap_mean_interval, foot_slide, mean_jerk, motion_beats, onset_peaks
from cospeech.motion import Motion
from cospeech.pipelines import Pipeline
from cospeech.rotations import matrix_to_axis_angle
from cospeech.skeleton import SMPLX, forward_kinematics

RATE_HZ, FRAME_RATE_HZ = 16_000, 30.0
CLIP_SECONDS, RECORDED_SECONDS = 12.0, 8.0
FIRST_HELD_OUT_SEED = 90_000
WRISTS = [SMPLX.index("left_wrist"), SMPLX.index("right_wrist")]
BALLS = [SMPLX.index("left_foot"), SMPLX.index("right_foot")]
FEET = list(SMPLX.groups["feet"])
NUM_SPEAKERS = len(SPEAKERS)


class Clip(NamedTuple):
    """Speech to be answered with motion, and the corpus's own answer where it has one."""

    kind: str  # "synthetic", "espeak" or "recorded"
    waveform: Tensor
    speaker: int
    truth: SyntheticClip | None


class Claim(NamedTuple):
    """Something that must hold, in words, as measured, and whether it does; a bound of "-" only informs."""

    what: str
    measured: str
    bound: str
    holds: bool


def held_out_clips(recordings: Sequence[Path], num_clips: int, seed: int) -> list[Clip]:
    """Synthetic speech of new seeds, new sentences in voices of espeak that were left out, and recordings."""
    clips = []
    for number in range(num_clips):
        speaker = number % NUM_SPEAKERS + 1
        truth = make_clip(CLIP_SECONDS, speaker, seed + number)
        clips.append(Clip("synthetic", truth.waveform, speaker, truth))
    generator = np.random.default_rng(seed)
    for number in range(num_clips if espeak_installed() else 0):
        clean = talk(CLIP_SECONDS, TEST_VOICES, generator)
        speaker, stresses = number % NUM_SPEAKERS + 1, find_stresses(clean.astype(np.float32))
        truth = animate_speech(record_speech(clean, generator), speaker, generator, stresses)
        clips.append(Clip("espeak", truth.waveform, speaker, truth))
    length = round(RECORDED_SECONDS * RATE_HZ)
    for path in recordings:
        pieces = load_audio(path, RATE_HZ).split(length)
        clips += [
            Clip("recorded", piece, number % NUM_SPEAKERS + 1, None)
            for number, piece in enumerate(pieces)
            if len(piece) == length
        ]
    return clips


def generate(pipeline: Pipeline, clips: Sequence[Clip], seed: int = 0) -> list[Motion]:
    """Motion for each clip."""
    speakers, seeds = [clip.speaker for clip in clips], [seed + number for number in range(len(clips))]
    return pipeline.batch([clip.waveform for clip in clips], speakers=speakers, seeds=seeds, source_rate_hz=RATE_HZ)


def joints_of(motion: Motion | SyntheticClip) -> Tensor:
    """Joint positions, ``(T, 55, 3)``, on the average skeleton."""
    local = motion.local_rotations() if isinstance(motion, Motion) else motion.local_rotations
    return forward_kinematics(local, SMPLX, motion.translation)


def stress_seconds(clip: Clip) -> Tensor:
    return torch.from_numpy(find_stresses(clip.waveform.numpy(), RATE_HZ).seconds).float()


def onset_seconds(clip: Clip) -> Tensor:
    hop = 160
    return onset_peaks(onset_strength(clip.waveform, rate_hz=RATE_HZ, hop_samples=hop), hop / RATE_HZ)


def own_minus_shuffled(beats: Sequence[Tensor], references: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Per clip: consistency with its own audio, and its mean over the audio of all other clips of its kind."""
    own = torch.stack([consistency(a, b) for a, b in zip(beats, references, strict=True)])
    other = [
        torch.stack([consistency(beat, reference) for row, reference in enumerate(references) if row != number]).mean()
        for number, beat in enumerate(beats)
    ]
    return own, torch.stack(other)


def consistency(beats: Tensor, references: Tensor) -> Tensor:
    """Both directions: do hands stop at the stresses, and is there a stress where hands stop?"""
    return (beat_consistency(beats, references) + beat_consistency(references, beats)) / 2


def beat_claims(clips: Sequence[Clip], joints: Sequence[Tensor]) -> list[Claim]:
    """The motion follows its own audio more than other audio."""
    claims = []
    beats = [motion_beats(positions[:, WRISTS], FRAME_RATE_HZ) for positions in joints]
    references: dict[str, Callable[[Clip], Tensor]] = {"stresses": stress_seconds, "onsets": onset_seconds}
    kinds = [kind for kind in ("synthetic", "espeak", "recorded") if any(clip.kind == kind for clip in clips)]
    for name, seconds_of in references.items():
        audio = [seconds_of(clip) for clip in clips]
        owns, others = torch.zeros(len(clips)), torch.zeros(len(clips))
        for kind in kinds:  # shuffled within a kind: clips are equally long, and voices alike
            rows = [row for row, clip in enumerate(clips) if clip.kind == kind]
            owns[rows], others[rows] = own_minus_shuffled([beats[row] for row in rows], [audio[row] for row in rows])
        for kind in ["all", *kinds]:
            rows = [row for row, clip in enumerate(clips) if kind in ("all", clip.kind)]
            own, other = owns[rows], others[rows]
            low, high = bootstrap_mean_interval(own - other, generator=torch.Generator().manual_seed(0))
            claims.append(
                Claim(
                    f"beat consistency with {name}, {kind} ({len(rows)} clips)",
                    f"own {own.mean():.3f}, shuffled {other.mean():.3f}, difference [{low:+.3f}, {high:+.3f}]",
                    "interval above 0" if len(rows) >= 30 else "-",
                    low > 0 or len(rows) < 30,
                )
            )
    return claims


def smoothness_claims(clips: Sequence[Clip], joints: Sequence[Tensor]) -> list[Claim]:
    """Jerk and foot slide against the corpus, on clips that have both."""
    rows = [row for row, clip in enumerate(clips) if clip.truth is not None]
    truths = [joints_of(truth) for row in rows if (truth := clips[row].truth) is not None]
    ours = torch.stack([mean_jerk(joints[row], FRAME_RATE_HZ) for row in rows]).mean()
    corpus = torch.stack([mean_jerk(truth, FRAME_RATE_HZ) for truth in truths]).mean()
    claims = [
        Claim("jerk, m/s^3", f"{ours:.1f} (corpus {corpus:.1f})", "at most 1.5 x corpus", bool(ours <= 1.5 * corpus))
    ]
    recorded = [row for row, clip in enumerate(clips) if clip.kind == "recorded"]
    if recorded:
        real = torch.stack([mean_jerk(joints[row], FRAME_RATE_HZ) for row in recorded]).mean()
        claims.append(Claim("jerk on recordings", f"{real:.1f}", "at most 1.5 x corpus", bool(real <= 1.5 * corpus)))
    ours_slide = [foot_slide(positions[:, BALLS], FRAME_RATE_HZ) for positions in joints]
    corpus_slide = [foot_slide(positions[:, BALLS], FRAME_RATE_HZ) for positions in truths]
    shares = [float(torch.stack([slide.share for slide in slides]).mean()) for slides in (ours_slide, corpus_slide)]
    speeds = [
        float(torch.stack([slide.mean_speed for slide in slides]).mean()) for slides in (ours_slide, corpus_slide)
    ]
    claims.append(
        Claim(
            "foot contacts that slide (faster than 5 cm/s)",
            f"{shares[0]:.2%} (corpus {shares[1]:.2%})",
            "not beyond the corpus",
            shares[0] <= shares[1] + 1e-9,
        )
    )
    claims.append(
        Claim("mean speed of planted feet", f"{1000 * speeds[0]:.1f} mm/s (corpus {1000 * speeds[1]:.1f})", "-", True)
    )
    return claims


def speaker_claims(pipeline: Pipeline, clips: Sequence[Clip], num_clips: int = 4) -> list[Claim]:
    """The same speech by the four speakers, and by one speaker with other seeds."""
    chosen = [clip for clip in clips if clip.kind != "synthetic"][:num_clips] or list(clips[:num_clips])
    poses, gestures, spread = [], [], []
    for speaker in range(1, NUM_SPEAKERS + 1):
        runs = [generate(pipeline, [clip._replace(speaker=speaker) for clip in chosen], seed) for seed in (0, 1000)]
        first, second = ([joints_of(motion) for motion in motions] for motions in runs)
        wrists = torch.cat([joints[:, WRISTS] - joints[:, :1] for joints in first])
        speed = torch.cat([(joints[:, WRISTS].diff(dim=0) * FRAME_RATE_HZ).norm(dim=-1) for joints in first])
        poses.append(wrists.mean(0))
        gestures.append(speed.mean(0))
        spread.append(torch.stack([(a - b)[:, WRISTS].norm(dim=-1).mean() for a, b in zip(first, second, strict=True)]))
    apart = min(
        float((poses[one] - poses[other]).norm(dim=-1).max()) for one in range(NUM_SPEAKERS) for other in range(one)
    )
    claims = [
        Claim("speakers: least distance between mean wrists of two", f"{100 * apart:.1f} cm", "over 3 cm", apart > 0.03)
    ]
    for number, speed in enumerate(gestures):
        what = f"speaker {number + 1}: mean wrist speed, left and right"
        claims.append(Claim(what, f"{speed[0]:.2f} and {speed[1]:.2f} m/s", "-", True))
    handed = bool(gestures[0][1] > 1.5 * gestures[0][0]) and bool(gestures[2][0] > 1.5 * gestures[2][1])
    claims.append(Claim("speaker 1 is right-handed, speaker 3 left-handed", str(handed), "true", handed))
    least = float(torch.stack(spread).mean())
    claims.append(
        Claim("seeds: mean distance of wrists between two", f"{100 * least:.1f} cm", "over 0.5 cm", least > 0.005)
    )
    return claims


def limit_claims(motions: Sequence[Motion]) -> list[Claim]:
    """Human limits, on every frame of every clip."""
    angles = torch.cat([matrix_to_axis_angle(motion.local_rotations()) for motion in motions])
    joints = torch.cat([joints_of(motion) for motion in motions])
    claims = []
    limits = {"shoulder": 2.4, "wrist": 1.3, "collar": 0.6, "hip": 1.2, "ankle": 0.9, "foot": 0.6}
    for name, limit in limits.items():
        most = max(float(angles[:, SMPLX.index(f"{side}_{name}")].norm(dim=-1).max()) for side in ("left", "right"))
        claims.append(Claim(f"largest {name} rotation", f"{most:.2f} rad", f"at most {limit}", most <= limit))
    local = torch.cat([motion.local_rotations() for motion in motions])
    for root, name, end in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        folds = torch.stack([hinge_angle(local, side, root, name, end) for side in ("left", "right")])
        most, wrong = float(folds.max()), max(0.0, -float(folds.min()))
        claims.append(Claim(f"largest fold of {name}s", f"{most:.2f} rad", "at most 2.6", most <= 2.6))
        claims.append(Claim(f"{name}s bent the wrong way", f"{wrong:.2f} rad", "at most 0.1", wrong <= 0.1))
    fingers = float(angles[:, list(SMPLX.groups["hands"])].norm(dim=-1).max())
    claims.append(Claim("largest rotation of a finger joint", f"{fingers:.2f} rad", "at most 1.6", fingers <= 1.6))
    lowest = float(joints[..., 1].min())
    claims.append(Claim("lowest joint above the ground", f"{100 * lowest:.1f} cm", "over 0", lowest > 0))
    return claims


def hinge_angle(local_rotations: Tensor, side: str, root: str, hinge: str, end: str) -> Tensor:
    """How far elbow or knee is folded from straight, seen along its axis; negative is the wrong way, ``(T)``."""
    joints = [SMPLX.index(f"{side}_{name}") for name in (root, hinge, end)]
    upper_bone, lower_bone = SMPLX.rest_joints[joints].diff(dim=0)
    sign = 1.0 if side == "left" else -1.0

    def angle(way: Tensor) -> Tensor:  # elbows fold forward from the T-pose, knees backward
        along = sign * way[..., 0] if hinge == "elbow" else -way[..., 1]
        return torch.atan2(way[..., 2] if hinge == "elbow" else -way[..., 2], along)

    return angle(local_rotations[:, joints[1]] @ lower_bone) - angle(upper_bone)


def long_claims(pipeline: Pipeline, minutes: float) -> list[Claim]:
    """Nothing drifts and nothing grows over minutes of speech."""
    claims, growth = [], []
    minute = torch.cat([make_clip(30.0, 1, FIRST_HELD_OUT_SEED + 500 + half).waveform for half in range(2)])
    waveform = minute.repeat(max(2, round(minutes)))  # the last minute hears what the first one heard
    for speaker in range(1, NUM_SPEAKERS + 1):
        motion = pipeline(waveform, speaker=speaker, source_rate_hz=RATE_HZ, progress=False)
        joints = joints_of(motion)
        frames = round(60 * FRAME_RATE_HZ)
        drift = float((joints[:frames, 0] - joints[-frames:, 0]).mean(0).norm())
        jerks = [float(mean_jerk(part, FRAME_RATE_HZ)) for part in (joints[:frames], joints[-frames:])]
        reach = float((joints[:, 0] - joints[0, 0]).norm(dim=-1).max())
        claims.append(
            Claim(
                f"{minutes:g} minutes, speaker {speaker}: pelvis, first against last minute",
                f"{1000 * drift:.1f} mm (farthest from its start {1000 * reach:.0f} mm)",
                "under 20 mm (100 mm)",
                drift < 0.02 and reach < 0.1,
            )
        )
        growth.append(jerks)
    first, last = torch.tensor(growth).mean(0).tolist()  # one speaker's jerk varies with the hands that happen to move
    what = f"{minutes:g} minutes, all speakers: jerk, first and last minute"
    claims.append(Claim(what, f"{first:.1f}, {last:.1f}", "last at most 1.2 x first", last <= 1.2 * first))
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cospeech-tiny", help="bundled name or folder")
    parser.add_argument("--speech", type=Path, nargs="*", default=[], help="recordings")
    parser.add_argument("--clips", type=int, default=20, help="clips of 12 s, as many synthetic as spoken by espeak")
    parser.add_argument("--long-minutes", type=float, default=0.0, help="also generate this much at once")
    parser.add_argument("--seed", type=int, default=FIRST_HELD_OUT_SEED, help="draws the clips; training had 0")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    pipeline = load_pipeline(arguments.model)
    clips = held_out_clips(arguments.speech, arguments.clips, arguments.seed)
    motions = generate(pipeline, clips)
    joints = [joints_of(motion) for motion in motions]
    claims = beat_claims(clips, joints) + smoothness_claims(clips, joints)
    claims += speaker_claims(pipeline, clips) + limit_claims(motions)
    if arguments.long_minutes:
        claims += long_claims(pipeline, arguments.long_minutes)
    print("| What | Measured | Bound | Holds |")
    print("| --- | --- | --- | --- |")
    for claim in claims:
        verdict = "-" if claim.bound == "-" else "yes" if claim.holds else "**no**"
        print(f"| {claim.what} | {claim.measured} | {claim.bound} | {verdict} |")
    failed = sum(not claim.holds for claim in claims)
    bound = sum(claim.bound != "-" for claim in claims)
    print(f"\n{bound - failed} of {bound} hold.")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
