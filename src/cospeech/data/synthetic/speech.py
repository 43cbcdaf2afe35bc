"""Speech-like audio from nothing: syllables with formants, stress, intonation, pauses and noise.

No words are said. A plan of phrases and syllables is drawn first; it becomes slow control curves (pitch, loudness,
formants, at 200 Hz), and those drive a source of harmonics and noise. The plan stays with the audio, so a gesture can
be timed to a stress that is known rather than guessed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, fftconvolve, sosfilt

__all__ = [
    "SAMPLE_RATE_HZ",
    "Syllable",
    "SyntheticSpeech",
    "Voice",
    "draw_voice",
    "plan_syllables",
    "record_speech",
    "synthesize_speech",
]

SAMPLE_RATE_HZ = 16_000
CONTROL_RATE_HZ = 200
VOWELS_HZ = np.array(  # first three formants of an adult voice, from open to close, front to back
    [[750, 1250, 2500], [600, 1750, 2500], [400, 2000, 2600], [300, 2250, 2950], [550, 950, 2450], [350, 850, 2350]],
    dtype=float,
)
FORMANT_WIDTH_HZ = np.array([90.0, 120.0, 180.0])
FORMANT_GAIN = np.array([1.0, 0.5, 0.25])
HUM_HZ = np.array([250.0, 1100.0, 2300.0])  # a nasal's formants
MAX_HARMONICS = 48


class Voice(NamedTuple):
    """What stays the same while one person speaks."""

    pitch_hz: float  # at the start of a phrase
    tract: float  # formants are multiplied by it: above 1 a shorter vocal tract
    syllables_per_second: float
    accent: float  # how far stress raises the pitch, as a share of it
    breathiness: float  # noise beside the harmonics, 0 to 1


class Syllable(NamedTuple):
    """One syllable of the plan; times in seconds."""

    start: float
    vowel: float  # where the vowel begins: the instant that is heard as the beat
    end: float
    stress: float  # 0 unstressed, else 0.6 to 1
    onset: str  # "fricative", "stop", "nasal" or "none"
    quality: int  # row of `VOWELS_HZ`
    phrase: int
    place: float  # 0 at the first syllable of its phrase, 1 at the last


class SyntheticSpeech(NamedTuple):
    """Audio and the plan behind it."""

    waveform: NDArray[np.float32]  # (S,), 16 kHz, within [-1, 1]
    syllables: list[Syllable]

    @property
    def stress_seconds(self) -> NDArray[np.float64]:
        """Vowel beginnings of the stressed syllables."""
        return np.array([syllable.vowel for syllable in self.syllables if syllable.stress > 0])

    @property
    def stress_strengths(self) -> NDArray[np.float64]:
        """How strong each stress is, up to 1."""
        return np.array([syllable.stress for syllable in self.syllables if syllable.stress > 0])


def draw_voice(generator: np.random.Generator) -> Voice:
    """A voice between a low man's and a high woman's."""
    height = generator.uniform()
    return Voice(
        pitch_hz=90.0 * 2.6**height,
        tract=0.92 + 0.28 * height + generator.uniform(-0.04, 0.04),
        syllables_per_second=generator.uniform(3.4, 5.4),
        accent=generator.uniform(0.15, 0.4),
        breathiness=generator.uniform(0.02, 0.2),
    )


def plan_syllables(duration_seconds: float, voice: Voice, generator: np.random.Generator) -> list[Syllable]:
    """Phrases of syllables with stress on every second or third, parted by pauses.

    Stressed syllables are longer, the last one of a phrase is drawn out, and one pause in six is long enough for hands
    to come to rest.
    """
    plan: list[Syllable] = []
    clock, phrase = generator.uniform(0.05, 0.6), 0
    while True:
        count = int(generator.integers(3, 14))
        next_stress = int(generator.integers(0, 2))
        for number in range(count):
            stressed = number == next_stress
            if stressed:
                next_stress += int(generator.integers(2, 4))
            length = generator.uniform(0.85, 1.15) / voice.syllables_per_second
            length *= (1.35 if stressed else 0.9) * (1.35 if number == count - 1 else 1.0)
            onset = str(generator.choice(["fricative", "stop", "nasal", "none"], p=[0.3, 0.35, 0.2, 0.15]))
            consonant = {"fricative": 0.09, "stop": 0.055, "nasal": 0.06, "none": 0.0}[onset]
            if clock + length > duration_seconds - 0.05:
                return plan
            plan.append(
                Syllable(
                    start=clock,
                    vowel=clock + consonant,
                    end=clock + length,
                    stress=generator.uniform(0.6, 1.0) if stressed else 0.0,
                    onset=onset,
                    quality=int(generator.integers(len(VOWELS_HZ))),
                    phrase=phrase,
                    place=number / max(count - 1, 1),
                )
            )
            clock += length
        long_pause = generator.uniform() < 1 / 6
        clock += generator.uniform(1.2, 2.6) if long_pause else generator.uniform(0.18, 0.8)
        phrase += 1


def synthesize_speech(
    duration_seconds: float, generator: np.random.Generator, voice: Voice | None = None
) -> SyntheticSpeech:
    """Speech-like audio with its plan; the same generator state gives the same samples.

    Args:
        duration_seconds: Length of the audio.
        generator: Where every draw comes from.
        voice: Who speaks; drawn when not given.

    Returns:
        A waveform of ``round(duration_seconds * 16000)`` samples at a level drawn between -32 and -14 dB of full scale,
        over background noise 25 to 60 dB below it.

    Raises:
        ValueError: If the duration is not positive.

    Example:
        >>> speech = synthesize_speech(2.0, np.random.default_rng(0))
        >>> speech.waveform.shape, bool(np.abs(speech.waveform).max() < 1)
        ((32000,), True)
    """
    if duration_seconds <= 0:
        raise ValueError(f"`duration_seconds` must be positive; got {duration_seconds}.")
    voice = draw_voice(generator) if voice is None else voice
    plan = plan_syllables(duration_seconds, voice, generator)
    num_samples = round(duration_seconds * SAMPLE_RATE_HZ)
    clean = _render(plan, voice, num_samples, generator)
    return SyntheticSpeech(record_speech(clean, generator), plan)


def _render(
    plan: list[Syllable], voice: Voice, num_samples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Control curves of the plan, then harmonics and noise under them."""
    num_controls = int(np.ceil(num_samples / SAMPLE_RATE_HZ * CONTROL_RATE_HZ)) + 1
    seconds = np.arange(num_controls) / CONTROL_RATE_HZ
    voiced, hiss, accent, declination = (np.zeros(num_controls) for _ in range(4))
    formants = np.tile(VOWELS_HZ[0], (num_controls, 1))
    for syllable in plan:
        vowel = (seconds >= syllable.vowel) & (seconds < syllable.end - 0.02)
        onset = (seconds >= syllable.start) & (seconds < syllable.vowel)
        whole = (seconds >= syllable.start) & (seconds < syllable.end)
        level = 10 ** ((-7.0 * (1 - syllable.stress) - 3.0 * syllable.place) / 20)
        fade = np.clip((syllable.end - seconds[vowel]) / (syllable.end - syllable.vowel), 0, 1) ** 0.5
        voiced[vowel] = level * (0.35 + 0.65 * fade)
        formants[whole] = VOWELS_HZ[syllable.quality]
        accent[whole] = syllable.stress
        declination[whole] = syllable.place
        if syllable.onset == "nasal":
            voiced[onset], formants[onset] = 0.2 * level, HUM_HZ
        elif syllable.onset == "fricative":
            hiss[onset] = 0.22 * level
        elif syllable.onset == "stop":
            hiss[(seconds >= syllable.vowel - 0.015) & (seconds < syllable.vowel + 0.01)] = 0.3 * level
    smooth_seconds = {"level": 0.008, "formant": 0.02, "pitch": 0.045}
    voiced, hiss = (gaussian_filter1d(x, smooth_seconds["level"] * CONTROL_RATE_HZ) for x in (voiced, hiss))
    formants = gaussian_filter1d(formants * voice.tract, smooth_seconds["formant"] * CONTROL_RATE_HZ, axis=0)
    melody = gaussian_filter1d(voice.accent * accent - 0.22 * declination, smooth_seconds["pitch"] * CONTROL_RATE_HZ)
    drift = gaussian_filter1d(generator.standard_normal(num_controls), 0.05 * CONTROL_RATE_HZ) * 0.04
    pitch_hz = voice.pitch_hz * np.exp(melody + drift)

    clock = np.arange(num_samples) / SAMPLE_RATE_HZ
    turns = np.cumsum(np.interp(clock, seconds, pitch_hz)) / SAMPLE_RATE_HZ
    waveform = np.zeros(num_samples)
    for harmonic in range(1, MAX_HARMONICS + 1):
        frequency = harmonic * pitch_hz
        resonance = FORMANT_GAIN / (1 + ((frequency[:, None] - formants) / (FORMANT_WIDTH_HZ * 1.3)) ** 2)
        gain = voiced * (0.03 + resonance.sum(-1)) * (150.0 / frequency) ** 0.5
        gain = np.where(frequency < 0.46 * SAMPLE_RATE_HZ, gain, 0.0)
        if not gain.any():
            break
        phase = generator.uniform(0, 2 * np.pi)
        waveform += np.interp(clock, seconds, gain) * np.sin(2 * np.pi * harmonic * turns + phase)
    air = sosfilt(
        butter(2, [1800, 6500], "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), generator.standard_normal(num_samples)
    )
    sound: NDArray[np.float64] = waveform + air * np.interp(clock, seconds, hiss + voice.breathiness * 0.15 * voiced)
    return sound


def record_speech(clean: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float32]:
    """Clean 16 kHz speech as a microphone might hear it: some room, some background noise, any level."""
    num_samples = len(clean)
    if generator.uniform() < 0.5:  # a room: an echo that dies away within half a second
        seconds = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
        echo = generator.standard_normal(len(seconds)) * np.exp(-6.9 * seconds / generator.uniform(0.12, 0.4))
        echo *= generator.uniform(0.1, 0.4) / np.linalg.norm(echo)
        echo[0] += 1.0
        clean = fftconvolve(clean, echo)[:num_samples]
    loudness = np.sqrt(np.mean(clean**2) + 1e-12)
    low_cut = butter(1, 80.0, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    hum = sosfilt(low_cut, np.cumsum(generator.standard_normal(num_samples)))  # low noise of a building ...
    noise = hum / (hum.std() + 1e-12) + 0.5 * generator.standard_normal(num_samples)  # ... and of a microphone
    noisy = clean / loudness + noise * 10 ** (generator.uniform(-60, -25) / 20)
    noisy *= 10 ** (generator.uniform(-32, -14) / 20)
    recorded: NDArray[np.float32] = (noisy * min(1.0, 0.97 / np.abs(noisy).max())).astype(np.float32)
    return recorded
