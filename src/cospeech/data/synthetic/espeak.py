"""Speech with words, from the program espeak-ng where it is installed: real phonemes in many synthetic voices.

The sentences are put together here from word lists of our own, so nothing is borrowed from a text corpus. espeak-ng is
a separate program under the GPL; what it says is not covered by its licence.
"""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
from numpy.typing import NDArray

from cospeech.audio import load_audio
from cospeech.data.synthetic.speech import SAMPLE_RATE_HZ
from cospeech.errors import AudioError

__all__ = ["TEST_VOICES", "TRAIN_VOICES", "draw_sentence", "espeak_installed", "espeak_speech", "talk"]

_DIALECTS = ("en-us", "en-gb", "en-gb-scotland", "en-us-nyc", "en-029", "en-gb-x-rp")
_SPEAKERS = ("", "+m1", "+m2", "+m4", "+m5", "+m6", "+f1", "+f2", "+f3", "+f5")
TRAIN_VOICES: tuple[str, ...] = tuple(dialect + speaker for dialect in _DIALECTS for speaker in _SPEAKERS)
TEST_VOICES: tuple[str, ...] = ("en-gb-x-gbclan+m3", "en-gb-x-gbcwmd+f4", "en-gb-x-gbclan+m7", "en-gb-x-gbcwmd+m3")

_OPENINGS = (
    "well", "you know", "actually", "so", "and then", "of course", "to be honest", "in the end", "for me",
    "now",
)  # fmt: skip
_WHO = (
    "my sister", "the whole team", "an old friend", "our neighbour", "nobody", "the captain", "a young doctor",
    "everyone", "the people upstairs", "my first teacher", "the woman at the station", "half of the village",
    "I", "we", "they",
)  # fmt: skip
_DID = (
    "wanted to build", "never understood", "finally opened", "carried", "talked about", "was looking for",
    "remembered", "painted", "could not believe", "had to repair", "kept asking about", "sold", "walked around",
    "almost forgot",
)  # fmt: skip
_WHAT = (
    "the big wooden table", "a photograph of the harbour", "that strange idea", "the garden behind the house",
    "a new bridge", "every single window", "the answer", "her favourite song", "a box full of letters",
    "the mountain", "an enormous kitchen", "the broken radio", "a simple plan", "two bottles of water",
    "the story of the lighthouse", "his grandfather's bicycle",
)  # fmt: skip
_WHERE = (
    "in the middle of the night", "before the rain came", "on a quiet Sunday", "without any help",
    "near the river", "again and again", "when I was seven", "at the end of the road",
    "for almost twenty years", "under the yellow lamp", "yesterday morning", "because it was so important",
    "and it was absolutely beautiful", "but not really on purpose", "and that changed everything",
)  # fmt: skip


def draw_sentence(generator: np.random.Generator) -> str:
    """A sentence that nobody has said, with commas where a speaker may breathe."""
    parts = [str(generator.choice(words)) for words in (_WHO, _DID, _WHAT)]
    sentence = " ".join(parts)
    if generator.uniform() < 0.4:
        sentence = f"{generator.choice(_OPENINGS)}, {sentence}"
    if generator.uniform() < 0.7:
        sentence += f"{',' if generator.uniform() < 0.3 else ''} {generator.choice(_WHERE)}"
    return sentence + str(generator.choice([".", ".", ".", "!", "?"]))


def espeak_installed() -> bool:
    """Whether the program espeak-ng is found."""
    return shutil.which("espeak-ng") is not None


def espeak_speech(text: str, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50) -> NDArray[np.float64]:
    """What espeak-ng says, 16 kHz mono, ``(S,)``.

    Args:
        text: English.
        voice: A voice of espeak-ng, with a variant perhaps: ``"en-gb+f3"``.
        words_per_minute: 80 to 450.
        pitch: 0 to 99.

    Raises:
        AudioError: If espeak-ng is missing or fails.
    """
    if not espeak_installed():
        raise AudioError("This speech needs the program espeak-ng: apt-get install espeak-ng.")
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(words_per_minute), "-p", str(pitch), text]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise AudioError(f"espeak-ng failed on voice {voice!r}: {done.stderr.decode(errors='replace').strip()}")
    return load_audio(io.BytesIO(done.stdout), SAMPLE_RATE_HZ).double().numpy()


def talk(duration_seconds: float, voices: tuple[str, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """One voice talking, with pauses between sentences, 16 kHz, exactly as long as asked."""
    voice = str(generator.choice(voices))
    rate, pitch = int(generator.integers(125, 200)), int(generator.integers(20, 85))
    wanted = round(duration_seconds * SAMPLE_RATE_HZ)
    pieces = [np.zeros(int(generator.uniform(0.03, 0.6) * SAMPLE_RATE_HZ))]
    while sum(map(len, pieces)) < wanted:
        speech = espeak_speech(draw_sentence(generator), voice, rate, pitch)
        loud = np.flatnonzero(np.abs(speech) > 0.01)  # espeak ends its sentences with silence: ours is drawn
        pause = generator.uniform(1.2, 2.5) if generator.uniform() < 0.15 else generator.uniform(0.15, 0.8)
        pieces += [speech[loud[0] : loud[-1]], np.zeros(int(pause * SAMPLE_RATE_HZ))]
    return np.concatenate(pieces)[:wanted]
