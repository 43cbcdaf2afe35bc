"""Takes and windows for EMAGE's training."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.data import EmageWindows, emage_take, emage_window_starts, load_emage_take, read_window_list
from cospeech.errors import MotionFileError
from cospeech.motion import Motion
from cospeech.representations import Emage337
from cospeech.skeleton import SMPL22


def clip(num_frames: int, seed: int = 0, **changes: object) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    fields = {
        "local_axis_angle": 0.3 * torch.randn(num_frames, 55, 3, generator=generator),
        "translation": torch.randn(num_frames, 3, generator=generator),
        "expressions": torch.randn(num_frames, 100, generator=generator),
        "rate_hz": 30,
    }
    return Motion(**(fields | changes))


def test_a_take_holds_the_networks_channels() -> None:
    motion = clip(10)
    take = emage_take(motion)
    features = Emage337().encode(motion)
    assert torch.equal(torch.cat([take.rot6d, take.translation, take.contact], dim=1), features)
    assert torch.equal(take.expressions, motion.expressions)
    assert take.parts == {"face", "upper", "hands", "lower"}
    assert emage_take(clip(5, expressions=None)).parts == {"upper", "hands", "lower"}


@pytest.mark.parametrize(("num_frames", "starts"), [(63, []), (64, []), (65, [0]), (84, [0]), (85, [0, 20])])
def test_published_window_starts(num_frames: int, starts: list[int]) -> None:
    """``range(0, T - L, stride)``: the window that would end with the take is left out."""
    assert list(emage_window_starts(num_frames)) == starts


def test_windows_are_slices() -> None:
    take = emage_take(clip(100), torch.arange(60000.0), speaker=3)
    windows = EmageWindows.cut([take, emage_take(clip(90, 1), torch.zeros(60000))], stride_frames=10)
    batch = windows.batch([1, 3])
    assert batch.waveform is not None
    assert torch.equal(batch.rot6d[0], take.rot6d[10:74])
    assert torch.equal(batch.waveform[0], torch.arange(60000.0)[533 * 10 : 533 * 74])
    assert batch.waveform.shape == (2, 533 * 64)
    assert batch.speaker.tolist() == [3, 3]
    assert len(windows.kinds()) == 1


def test_windows_do_not_outlast_their_sound() -> None:
    windows = EmageWindows.cut([emage_take(clip(100), torch.zeros(533 * 70))], stride_frames=5)
    assert [start for _, start in windows.windows] == [0, 5]


def test_kinds_do_not_mix() -> None:
    takes = [
        emage_take(clip(70), torch.zeros(60000)),
        emage_take(clip(70)),
        emage_take(clip(70), torch.zeros(60000), parts=("upper",)),
        emage_take(clip(70), torch.zeros(60000), data_set="other"),
        emage_take(clip(70), torch.zeros(60000)),
    ]
    windows = EmageWindows.cut(takes)
    assert windows.kinds() == [[0, 4], [1], [2], [3]]
    assert windows.batch([1]).waveform is None
    with pytest.raises(ValueError, match="A batch must hold windows of one kind; got 2 kinds"):
        windows.batch([0, 1])


@pytest.fixture
def beat2(tmp_path: Path) -> Path:
    """A take in BEAT2's folders, and a published list of its windows."""
    for name in ("smplxflame_30", "wave16k", "footcontact"):
        (tmp_path / name).mkdir()
    clip(100).save(tmp_path / "smplxflame_30/2_scott_0_1_1.npz")
    samples = (3000 * torch.sin(torch.arange(50000) / 20)).to(torch.int16).numpy()
    with wave.open(str(tmp_path / "wave16k/2_scott_0_1_1.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    np.save(tmp_path / "footcontact/2_scott_0_1_1.npy", np.arange(400).reshape(100, 4) % 2.0)
    entries = [
        {
            "video_id": "2_scott_0_1_1",
            "motion_path": "./smplxflame_30/2_scott_0_1_1.npz",
            "audio_path": "./wave16k/2_scott_0_1_1.wav",
            "mode": "train" if start < 20 else "test",
            "start_idx": start,
            "end_idx": start + 64,
        }
        for start in (0, 10, 20, 36)
    ]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    return tmp_path


def test_published_list(beat2: Path) -> None:
    assert [len(read_window_list(beat2 / "list.json", mode=mode)) for mode in ("train", "test", "val", None)] == [
        2, 2, 0, 4,
    ]  # fmt: skip
    windows = EmageWindows.listed(read_window_list(beat2 / "list.json"))
    assert len(windows.takes) == 1  # read once, not once for each window
    batch, motion = windows.batch([0, 3]), clip(100)
    assert torch.equal(batch.translation[1], motion.translation[36:100])
    assert batch.contact[0, :2].tolist() == [[0, 1, 0, 1]] * 2  # BEAT2's labels
    assert batch.waveform is not None
    assert not batch.waveform[1, 50000 - 533 * 36 :].any()  # silence behind the end of the sound


def test_what_is_no_list_is_named(beat2: Path) -> None:
    (beat2 / "bad.json").write_text('[{"video_id": "a"}]')
    with pytest.raises(ValueError, match=r"bad\.json must list windows with video_id, .*KeyError"):
        read_window_list(beat2 / "bad.json")
    (beat2 / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json must list windows"):
        read_window_list(beat2 / "bad.json")
    with pytest.raises(ValueError, match="`windows` must be of one length; got none"):
        EmageWindows.listed([])


def test_contact_labels_must_fit(beat2: Path) -> None:
    np.save(beat2 / "footcontact/2_scott_0_1_1.npy", np.zeros((99, 4)))
    with pytest.raises(MotionFileError, match=r"expected shape \(100, 4\).*got \(99, 4\)"):
        load_emage_take(beat2 / "smplxflame_30/2_scott_0_1_1.npz")


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"must have 55 joints at 30 Hz; got 22 at 30 Hz"):
        emage_take(clip(5, local_axis_angle=torch.zeros(5, 22, 3), skeleton=SMPL22))
    with pytest.raises(ValueError, match=r"Unknown parts \['legs'\]; choose from face, upper, hands, lower"):
        emage_take(clip(5), parts=("legs",))
    with pytest.raises(ValueError, match="must lie within their takes; '' has 70 frames, got 10 to 74"):
        EmageWindows([emage_take(clip(70))], [(0, 10)])
