"""DiffSHEG's sampling against the published program: single steps, DDIM, FOPPAS and its variants."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import pytest
import torch

from cospeech.audio.diffsheg import stretch_frames
from cospeech.hub.convert.diffsheg import diffsheg_config, diffsheg_from_published
from cospeech.models import BufferedDiffSHEG
from cospeech.models.diffsheg import diffsheg_positions
from cospeech.pipelines.diffsheg_windows import bind_denoiser
from cospeech.samplers import Foppas, OutpaintedWindows, denoise, outpainting_windows
from cospeech.schedulers import NoiseSchedule, ddim_steps, ddpm_steps, linear_betas, strided_spacing

NUM_STEPS = 25


@dataclass(frozen=True)
class Weights:
    """What the filled weights depend on; ``case`` only reads them."""

    layout: str
    salt: str
    case: Any = field(compare=False)


@lru_cache(maxsize=2)  # 0.6 GB each, and seconds to fill
def filled(weights):
    form = weights.case.layout(weights.layout)
    keep = {}
    for key, shape, _, status in form["keys"]:
        if status == "keep":
            keep[key] = torch.cat([diffsheg_positions(shape[2])] * 2)[None] if shape else torch.tensor(0)
    state = weights.case.published_state(weights.layout, keep=keep)
    return diffsheg_from_published(state, diffsheg_config(state, num_heads=form["config"]["num_heads"]))


def denoiser_of(case, layout):
    """The filled denoiser with the case's scale of the output; all other weights are shared."""
    base = filled(Weights(layout, case.salt, case))
    shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    denoiser = copy.deepcopy(base, memo=shared)
    for branch in denoiser.branches.values():
        branch.out = copy.deepcopy(branch.out)
        for parameter in branch.out.parameters():
            parameter.data.mul_(float(case.settings["out_scale"]))
    return denoiser


def schedules(num_timesteps):
    full = NoiseSchedule(linear_betas(num_timesteps))
    return full, full.respace(strided_spacing(num_timesteps, NUM_STEPS))


def inputs_of(case):
    """Inputs in float32 (some are stored in half precision), the speaker as a number."""
    given = {key: value.float() if value.dtype == torch.float16 else value for key, value in case.inputs.items()}
    given["speaker"] = given["person_onehot"].argmax(-1)
    return given


def assert_near(actual, expected, tolerance=2e-5):
    """Within a share of the expected values' spread."""
    error = (actual - expected).abs().max() / expected.std(correction=0)
    assert error < tolerance, f"{error:.2e} of the spread"


@pytest.mark.case("diffsheg_small_steps")
@torch.inference_mode()
def test_single_steps(case):
    denoiser, given, expected = denoiser_of(case, case.settings["layout"]), inputs_of(case), case.outputs
    full, few = schedules(denoiser.config.num_timesteps)
    for name, schedule in (("full", full), (f"ddim{NUM_STEPS}", few)):
        levels = given[f"{name}.t"].tolist()
        timesteps = torch.tensor([schedule.timesteps[level] for level in levels])
        prediction = denoiser(given["x"], timesteps, given["mel"], given["hubert"], given["speaker"])
        tables = {
            "p_sample": ddpm_steps(schedule),
            "mean": ddpm_steps(schedule, temperature=0.0),
            "ddim_eta0": ddim_steps(schedule),
            "ddim_eta0.7": ddim_steps(schedule, eta=0.7),
        }
        for row, (level, timestep) in enumerate(zip(levels, timesteps.tolist(), strict=True)):
            noisy, noise = given["x"][row], given["noise"][row]

            def check(what, actual):
                published = expected[f"{name}.{what}"]  # noqa: B023 (called at once)
                error = (actual[: published.shape[1]] - published[row]).abs().max()  # noqa: B023
                assert error < 1e-5 * published.std(), what

            for what, table in tables.items():
                check(what, table.step(prediction[row], timestep, noisy, noise))
            mixture = schedule.mixture(timestep)
            check("pred_xstart", (noisy - mixture.sigma * prediction[row]) / mixture.signal)
            variance = schedule.posterior_variances[max(level, 1)]
            log_variance = expected[f"{name}.log_variance"][row]
            torch.testing.assert_close(torch.tensor(variance).log(), log_variance, rtol=1e-5, atol=1e-5)
            beta = schedule.betas[level]
            check("undo", (1 - beta) ** 0.5 * noisy + beta**0.5 * noise)


@pytest.mark.case("diffsheg_beat_ddim", "diffsheg_show_ddim")
@torch.inference_mode()
def test_ddim(case):
    denoiser, given, expected = denoiser_of(case, case.settings["layout"]), inputs_of(case), case.outputs
    full, _ = schedules(denoiser.config.num_timesteps)
    schedule = full.respace(strided_spacing(len(full.betas), int(case.settings["steps"])))
    steps = ddim_steps(schedule, eta=float(case.settings["eta"]))
    predict = bind_denoiser(
        denoiser,
        given["mel"],
        given["hubert"],
        given["speaker"],
        steps.clock,
        guidance_scale=float(case.settings["cond_scale"]),
    )
    trace, cleans, before = [], [], given["noise"]

    def follow(step):
        nonlocal before
        mixture = schedule.mixture(step.timestep)
        trace.append(step.noisy)
        cleans.append((before - mixture.sigma * step.prediction) / mixture.signal)
        before = step.noisy

    assert_near(denoise(predict, given["noise"], steps, callback=follow), expected["sample"])
    for i, step in enumerate(json.loads(case.settings["trace_steps"])):
        count = expected["trace_sample"].shape[1]
        assert_near(trace[step][0, :count], expected["trace_sample"][i])
        assert_near(cleans[step][0, :count], expected["trace_x0"][i])


class NamedNoise:
    """The case's noise: every draw of a window has a name."""

    def __init__(self, case, window):
        self.case, self.window = case, window
        self.calls = self.jumps = 0

    def __call__(self, name, shape):
        tag = f"w{self.window}.{name}"
        return 10 * self.case.fill(tag, (prod(shape),), salt="").view(*shape)

    def counting(self, predict):
        def counted(noisy, timestep):
            self.calls += 1
            return predict(noisy, timestep)

        return counted

    def draw(self, shape):
        """The sampler's draws; ours of known frames only are the first of the published ones."""

        def of_kind(kind, wanted):
            if kind == "known":
                return self(f"gt{self.calls - 1}", shape)[:, : wanted[1]]
            self.jumps += 1
            return self(f"undo{self.jumps - 1}", wanted)

        return of_kind


def generate(case, denoiser, foppas, window_lengths, tracks, *, overlap, known=None, tails=None, guidance=1.0, keep=()):
    """The clip of a case, window by window; ``keep`` collects the windows."""
    mel, speech, speaker = tracks
    windows = outpainting_windows(mel.shape[1], window_lengths[0], overlap)
    assert [window.stop - window.start for window in windows] == window_lengths
    modulations = {}

    def sample(number, seed):
        where, noise = windows[number], NamedNoise(case, number)
        shape = (1, where.stop - where.start, denoiser.config.motion_dim)
        start = noise("init0", shape) * (float(case.settings["first_init_scale"]) if number == 0 else 1)
        timesteps = foppas.timesteps(inpainted=seed is not None and seed.shape[1] > 0)
        new = [timestep for timestep in timesteps if timestep not in modulations]
        modulations.update(zip(new, denoiser.modulate(speaker, torch.tensor(new)), strict=True) if new else ())
        predict = bind_denoiser(
            denoiser,
            mel[:, where],
            speech[:, where],
            speaker,
            timesteps,
            modulations=modulations,
            guidance_scale=guidance,
        )
        window = foppas.sample_window(
            noise.counting(predict), start, seed, draw=noise.draw(shape), tails=tails, tail_frames=overlap
        )
        if isinstance(keep, list):
            keep.append((window, noise.calls, noise.jumps))
        return window

    return torch.cat(list(OutpaintedWindows(sample, overlap_frames=overlap).run(range(len(windows)), known)), dim=1)


def foppas_of(denoiser, options):
    _, schedule = schedules(denoiser.config.num_timesteps)
    if options.get("no_repaint"):
        return Foppas.ddim(schedule, start_level=NUM_STEPS, jump_length=1, num_visits=1)
    if options.get("no_resample"):
        return Foppas.ddim(schedule, jump_length=1, num_visits=1)
    return Foppas.ddim(
        schedule,
        jump_length=options.get("jump_length", 3),
        num_visits=options.get("jump_n_sample", 2),
        blend_below=0.2 if options.get("addBlend", True) else 0.0,
    )


@pytest.mark.case("diffsheg_small_foppas")
@torch.inference_mode()
def test_foppas_variants(case):
    given = inputs_of(case)
    check = given["check_noise"]
    drawn = NamedNoise(case, 1)("undo0", (1, int(case.settings["n_poses"]), given["motion"].shape[2]))
    torch.testing.assert_close(drawn[0, : check.shape[0], : check.shape[1]], check)

    denoiser, num_frames = denoiser_of(case, case.name), given["mel"].shape[1]
    tracks = (given["mel"], stretch_frames(given["hubert_knots"], num_frames), given["speaker"])
    for name, variant in json.loads(case.settings["variants"]).items():
        options, kept = variant["options"], []
        overlap = options["overlap_len"]
        known = None
        if options.get("fix_very_first"):  # published: the tail of the true first window, not its head
            known = given["motion"][:, : variant["window_lengths"][0]][:, -overlap:]
        clip = generate(
            case,
            denoiser,
            foppas_of(denoiser, options),
            variant["window_lengths"],
            tracks,
            overlap=overlap,
            known=known,
            tails={} if options.get("same_overlap_noisy") else None,
            keep=kept,
        )
        for (_, calls, jumps), published in zip(kept, variant["noise_calls"], strict=True):
            assert (calls, jumps) == (published["ddim"], published.get("undo", 0)), name
        expected = case.outputs[name]
        part = clip[0] if len(expected) == num_frames else clip[0, 26 : 26 + len(expected)]
        assert_near(part, expected)


@pytest.mark.slow
@pytest.mark.case("diffsheg_beat_foppas", "diffsheg_show_foppas")
@torch.inference_mode()
def test_foppas(case):
    """The published scripts' settings at full size, on the layers that are fastest here."""
    given, kept = inputs_of(case), []
    denoiser = BufferedDiffSHEG(denoiser_of(case, case.settings["layout"]))
    overlap = int(case.settings["overlap_len"])
    options = {name: int(case.settings[name]) for name in ("jump_length", "jump_n_sample")}
    mel, speech = given["mel"][None], given["hubert_native"][None]
    clip = generate(
        case,
        denoiser,
        foppas_of(denoiser, options),
        json.loads(case.settings["window_lengths"]),
        (mel, stretch_frames(speech, mel.shape[1]), given["speaker"]),
        overlap=overlap,
        guidance=float(case.settings["cond_scale"]),
        keep=kept,
    )
    for i, tail in enumerate(case.outputs["window_tail"]):
        assert_near(kept[i][0][0, -overlap:], tail)
    if "norm_motion" in case.outputs:
        assert_near(clip[0, ::3], case.outputs["norm_motion"].reshape(-1, clip.shape[2]))
    else:
        gesture = case.outputs["norm_axis_angle"]
        assert_near(clip[..., : gesture.shape[2]], gesture)
        assert_near(clip[..., gesture.shape[2] :], case.outputs["norm_face"])
