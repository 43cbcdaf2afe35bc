"""``cospeech bench stream``: what it prints, for random weights and a checkpoint; that times are taken where said."""

from __future__ import annotations

import time

import pytest
import torch

from cospeech.cli import main
from cospeech.cli.bench import measure_stream
from cospeech.motion import Motion
from cospeech.pipelines import TextPrompt


@pytest.mark.parametrize("checkpoint", [False, True])
def test_prints_what_one_waits_for(checkpoint: bool, small_streamer, tmp_path, capsys) -> None:
    model = ["--small"]
    if checkpoint:
        small_streamer.save_pretrained(tmp_path)
        model = ["--model", str(tmp_path)]
    assert main(["bench", "stream", *model, "--steps", "3", "--seconds", "0.3", "--prompts", "2"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told.keys() == {"weights", "head", "first", "next", "chunks", "real-time"}
    assert told["head"].startswith("3 steps, ddim")
    assert "p50" in told["chunks"]
    assert "p95" in told["chunks"]


PIECE = Motion(local_axis_angle=torch.zeros(4, 55, 3), translation=torch.zeros(4, 3), rate_hz=30)


class SlowStream:
    """Waits 20 ms for each piece, 60 for the first of a text."""

    rate_hz = 30.0

    def stream(self, prompts):
        for _ in prompts:
            for wait in (0.06, 0.02, 0.02):
                time.sleep(wait)
                yield PIECE


def test_times_are_those_of_the_stream() -> None:
    first, later, chunks, seconds = measure_stream(SlowStream(), [TextPrompt("a"), TextPrompt("b")])
    assert first >= 0.06
    assert len(later) == 1
    assert later[0] >= 0.06
    assert len(chunks) == 6
    assert seconds == pytest.approx(24 / 30)


@pytest.mark.parametrize("option", ["--steps", "--prompts", "--threads"])
def test_wrong_numbers(option: str, capsys) -> None:
    assert main(["bench", "stream", "--small", option, "0"]) == 2
    assert "must be 1 at least" in capsys.readouterr().err
