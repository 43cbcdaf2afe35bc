import base64
import html.parser
import io
import json
import math
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cospeech.errors import AudioError
from cospeech.motion import Motion
from cospeech.skeleton import SMPL22
from cospeech.viz import save_html


class Page(html.parser.HTMLParser):
    """The elements of a page, and a check that they nest."""

    VOID = ("meta", "link", "input", "br", "img", "path")

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.scripts: dict[str, tuple[dict[str, Any], str]] = {}
        self.links: list[str] = []
        self.title = ""
        self.attributes: dict[str, Any] = {}
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.title += data
        if self.open and self.open[-1] == "script" and "id" in self.attributes:
            self.scripts[self.attributes["id"]] = self.attributes, data

    @property
    def scene(self) -> dict[str, Any]:
        return json.loads(self.scripts["scene"][1])

    def points(self, track: int) -> torch.Tensor:
        """What the player shows: the slow twin of its decoder."""
        meta, frames = self.scene["tracks"][track], []
        for k in range(math.ceil(meta["frames"] / meta["blockFrames"])):
            attributes, data = self.scripts[f"m{track}-{k}"]
            values = np.frombuffer(base64.b64decode(data), "<i2").reshape(-1, meta["points"], 3)
            origin = np.array([float(x) for x in attributes["data-origin"].split()])
            frames.append(origin + float(attributes["data-step"]) * values)
        return torch.from_numpy(np.concatenate(frames))

    def steps(self, track: int) -> float:
        return max(float(a["data-step"]) for i, (a, _) in self.scripts.items() if i.startswith(f"m{track}-"))

    def wav(self) -> bytes:
        meta = self.scene["audio"]
        blocks = [self.scripts[f"a-{k}"][1] for k in range(meta["blocks"])]
        return b"".join(base64.b64decode(block) for block in [meta["header"], *blocks])


def waving(num_frames: int, generator: torch.Generator, **rest: Any) -> Motion:
    num_joints = 22 if rest.get("skeleton") is SMPL22 else 55
    steps = 0.02 * torch.randn(num_frames, num_joints * 3 + 3, generator=generator).cumsum(0)
    return Motion(
        local_axis_angle=steps[:, 3:].reshape(num_frames, num_joints, 3),
        translation=steps[:, :3],
        **{"rate_hz": 30, **rest},
    )


@pytest.mark.parametrize("num_frames", [1, 2, 256, 257, 700])
def test_the_page_holds_the_joints_to_half_a_step(num_frames: int, tmp_path: Path, generator: torch.Generator) -> None:
    motion = waving(num_frames, generator)
    save_html(motion, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    joints = motion.joints().double()
    shown = page.points(0)
    assert shown.shape[0] == page.scene["tracks"][0]["frames"] == num_frames
    step = page.steps(0)
    assert step < 1e-4
    assert (shown[:, :55] - joints).abs().max() <= 0.5 * step + 1e-6
    assert page.scene["tracks"][0]["rate"] == 30


def test_a_figure_that_walks_far_keeps_its_hands_sharp(tmp_path: Path, generator: torch.Generator) -> None:
    motion = waving(600, generator)
    away = torch.linspace(0, 1000, 600)[:, None] * torch.tensor([1.0, 0.0, 0.0])  # 1 km in 20 s
    walk = Motion(
        local_axis_angle=motion.local_axis_angle.double(), translation=motion.translation.double() + away, rate_hz=30
    )
    save_html(walk, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert page.steps(0) < 0.01
    assert (page.points(0)[:, :55] - walk.joints()).abs().max() <= 0.5 * page.steps(0) + 1e-4


def test_the_figure_stands_on_the_floor(tmp_path: Path) -> None:
    motion = Motion(
        local_axis_angle=torch.zeros(3, 55, 3), translation=torch.tensor([0.0, 5.0, 0.0]).expand(3, 3), rate_hz=30
    )
    save_html(motion, tmp_path / "a.html")
    track = Page(tmp_path / "a.html").scene["tracks"][0]
    lowest = float(motion.joints()[..., 1].min())
    assert lowest - 0.12 < track["ground"] < lowest


def test_several_motions_share_a_page(tmp_path: Path, generator: torch.Generator) -> None:
    motions = {"ours": waving(40, generator), "theirs, at 25 Hz": waving(50, generator, rate_hz=25, skeleton=SMPL22)}
    save_html(motions, tmp_path / "two.html")
    page = Page(tmp_path / "two.html")
    assert [track["name"] for track in page.scene["tracks"]] == list(motions)
    for i, motion in enumerate(motions.values()):
        num_joints = motion.skeleton.num_joints
        torch.testing.assert_close(page.points(i)[:, :num_joints], motion.joints().double(), atol=1e-4, rtol=0)


def test_audio_is_embedded_as_wav_of_its_whole_length(tmp_path: Path, generator: torch.Generator) -> None:
    waveform = torch.rand(16000 * 41 + 7, generator=generator) - 0.5  # three blocks
    save_html(waving(30, generator), tmp_path / "a.html", audio=waveform, audio_rate_hz=16000)
    page = Page(tmp_path / "a.html")
    with wave.open(io.BytesIO(page.wav())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) == len(waveform)
    assert np.abs(samples / 32767 - waveform.numpy()).max() < 1e-4
    meta = page.scene["audio"]
    assert meta["seconds"] == pytest.approx(len(waveform) / 16000)
    assert 1 < len(meta["peaks"]) <= 480
    assert max(meta["peaks"]) == 1
    assert min(meta["peaks"]) >= 0


def test_audio_files_of_a_high_rate_are_thinned_and_loud_ones_clipped(
    tmp_path: Path, generator: torch.Generator
) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 48000, 0, "NONE", ""))
        file.writeframes(np.full((48000, 2), 32767, "<i2").tobytes())
    with open(tmp_path / "a.wav", "rb") as opened:
        for audio in (tmp_path / "a.wav", (tmp_path / "a.wav").read_bytes(), opened):
            save_html(waving(30, generator), tmp_path / "a.html", audio=audio)
            with wave.open(io.BytesIO(Page(tmp_path / "a.html").wav())) as wav:
                assert (wav.getframerate(), wav.getnframes()) == (24000, 24000)
                samples = np.frombuffer(wav.readframes(24000), "<i2")
            assert samples[1000:-1000].min() > 32000  # no wrap-around


def test_silence_has_a_flat_outline(tmp_path: Path, generator: torch.Generator) -> None:
    save_html(waving(5, generator), tmp_path / "a.html", audio=torch.zeros(1), audio_rate_hz=16000)
    assert Page(tmp_path / "a.html").scene["audio"]["peaks"] == [0]


@pytest.mark.parametrize(
    "hostile",
    [
        "</title><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</script><!--<script>",
        "<!--cospeech:data-->",
        "a & b 'c' \\u003c é 中文",
        "<!--cospeech:title-->",
        "",
    ],
)
def test_titles_and_names_are_text(hostile: str, tmp_path: Path, generator: torch.Generator) -> None:
    save_html({hostile: waving(2, generator)}, tmp_path / "a.html", title=hostile)
    page = Page(tmp_path / "a.html")
    assert page.title == hostile
    assert page.scene["title"] == hostile
    assert page.scene["tracks"][0]["name"] == hostile
    assert page.points(0).shape[0] == 2


def test_the_title_is_the_name_of_the_file(tmp_path: Path, generator: torch.Generator) -> None:
    save_html(waving(2, generator), tmp_path / "take one.html")
    assert Page(tmp_path / "take one.html").title == "take one"


def test_nothing_is_fetched(tmp_path: Path, generator: torch.Generator) -> None:
    save_html(waving(2, generator), tmp_path / "a.html", audio=torch.zeros(160), audio_rate_hz=16000)
    page = Page(tmp_path / "a.html")
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]", page.text)
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|importScripts|WebSocket|EventSource|sendBeacon)\b|@import", page.text
    )
    assert page.links == ["data:,"]  # an empty icon, so that no server is asked for one
    assert "default-src 'none'" in page.text


def test_equal_input_gives_equal_pages(tmp_path: Path, generator: torch.Generator) -> None:
    motion = waving(10, generator)
    for name in ("a", "b"):
        save_html(motion, tmp_path / f"{name}.html", title="same")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_failure_leaves_the_old_page_and_nothing_else(tmp_path: Path, generator: torch.Generator) -> None:
    path, motion = tmp_path / "a.html", waving(600, generator)
    path.write_text("old")
    broken = motion.translation.clone()
    broken[500] = math.nan
    with pytest.raises(ValueError, match=r"finite; frames 256 to 511"):
        save_html(Motion(local_axis_angle=motion.local_axis_angle, translation=broken, rate_hz=30), path)
    with pytest.raises(AudioError, match=r"No such file"):
        save_html(motion, path, audio=tmp_path / "none.wav")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(OSError, match="nowhere"):
        save_html(motion, tmp_path / "nowhere" / "a.html")


def test_wrong_arguments_say_what_to_do(tmp_path: Path, generator: torch.Generator) -> None:
    motion, path = waving(2, generator), tmp_path / "a.html"
    with pytest.raises(ValueError, match="at least one motion"):
        save_html({}, path)
    with pytest.raises(TypeError, match="must be a Motion, or Motions by name; got Tensor"):
        save_html(torch.zeros(2, 55, 3), path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`audio_rate_hz` must be given with an array"):
        save_html(motion, path, audio=torch.zeros(160))
    with pytest.raises(ValueError, match="goes with `audio`"):
        save_html(motion, path, audio_rate_hz=16000)
    assert not path.exists()


def test_gradients_and_double_precision_are_no_obstacle(tmp_path: Path, generator: torch.Generator) -> None:
    motion = waving(3, generator)
    axis_angle = motion.local_axis_angle.double().requires_grad_()
    clip = Motion(local_axis_angle=axis_angle, translation=motion.translation.double(), rate_hz=29.97)
    save_html(clip, tmp_path / "a.html")
    assert Page(tmp_path / "a.html").scene["tracks"][0]["rate"] == 29.97
