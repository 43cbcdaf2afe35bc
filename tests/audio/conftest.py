"""The bundled speech sample."""

from pathlib import Path

import pytest
from torch import Tensor

import cospeech
from cospeech.audio import load_audio

SPEECH = Path(cospeech.__file__).parent / "assets" / "speech.wav"


@pytest.fixture(scope="session")
def speech_16k() -> Tensor:
    return load_audio(SPEECH, 16000)
