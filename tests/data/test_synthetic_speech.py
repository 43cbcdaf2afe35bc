"""Laws of the synthetic speech and of the stress finder."""

from __future__ import annotations

import numpy as np
import pytest

from cospeech.data.synthetic import find_stresses, synthesize_speech
from cospeech.data.synthetic.espeak import (
    TEST_VOICES,
    TRAIN_VOICES,
    draw_sentence,
    espeak_installed,
    espeak_speech,
    talk,
)
from cospeech.data.synthetic.speech import record_speech
from cospeech.errors import AudioError


@pytest.fixture(scope="module")
def speeches():
    return [synthesize_speech(12.0, np.random.default_rng(seed)) for seed in range(4)]


def test_same_seed_same_samples(speeches) -> None:
    again = synthesize_speech(12.0, np.random.default_rng(0))
    assert np.array_equal(again.waveform, speeches[0].waveform)
    assert again.syllables == speeches[0].syllables
    assert not np.array_equal(speeches[1].waveform, speeches[0].waveform)


def test_length_level_and_type(speeches) -> None:
    for speech in speeches:
        assert speech.waveform.shape == (192_000,)
        assert speech.waveform.dtype == np.float32
        assert np.abs(speech.waveform).max() <= 0.97 + 1e-6
        assert -40 < 10 * np.log10(np.mean(speech.waveform**2)) < -10
    assert synthesize_speech(0.1, np.random.default_rng(0)).waveform.shape == (1600,)


def test_syllables_follow_each_other_and_stresses_are_among_them(speeches) -> None:
    for speech in speeches:
        for before, after in zip(speech.syllables, speech.syllables[1:], strict=False):
            assert before.start <= before.vowel < before.end <= after.start + 1e-9
        assert speech.syllables[-1].end < 12.0
        share = len(speech.stress_seconds) / len(speech.syllables)
        assert 0.2 < share < 0.6


def test_speech_is_louder_than_its_pauses(speeches) -> None:
    for speech in speeches:
        voiced = np.zeros(len(speech.waveform), dtype=bool)
        for syllable in speech.syllables:
            voiced[int(syllable.start * 16000) : int(syllable.end * 16000)] = True
        power = speech.waveform.astype(np.float64) ** 2
        assert power[voiced].mean() > 10 * power[~voiced].mean()


def test_found_stresses_are_the_planned_ones(speeches) -> None:
    hits = false_alarms = planned = found = 0
    offsets = []
    for speech in speeches:
        stresses = find_stresses(speech.waveform)
        distance = np.abs(speech.stress_seconds[:, None] - stresses.seconds)
        hits += int((distance.min(1) < 0.12).sum())
        false_alarms += int((distance.min(0) >= 0.12).sum())
        planned, found = planned + len(speech.stress_seconds), found + len(stresses.seconds)
        nearest = stresses.seconds[distance.argmin(1)] - speech.stress_seconds
        offsets.extend(nearest[np.abs(nearest) < 0.12])
    assert hits > 0.85 * planned
    assert false_alarms < 0.15 * found
    assert abs(np.median(offsets)) < 0.04


def test_stresses_do_not_depend_on_the_level(speeches) -> None:
    loud, quiet = find_stresses(speeches[0].waveform), find_stresses(speeches[0].waveform * 0.01)
    assert np.array_equal(loud.seconds, quiet.seconds)


@pytest.mark.parametrize("num_samples", [0, 1, 1600, 32_000])
def test_silence_has_no_stress(num_samples: int) -> None:
    assert len(find_stresses(np.zeros(num_samples, dtype=np.float32)).seconds) == 0


def test_stresses_leave_time_for_hands(speeches) -> None:
    for speech in speeches:
        stresses = find_stresses(speech.waveform)
        assert np.diff(stresses.seconds).min() > 0.2
        assert ((stresses.strengths >= 0.6) & (stresses.strengths <= 1.0)).all()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="must be positive; got 0"):
        synthesize_speech(0.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"must have shape \(S\)"):
        find_stresses(np.zeros((2, 100), dtype=np.float32))


def test_recording_keeps_length_and_stays_in_range() -> None:
    tone = np.sin(np.arange(16_000) * 0.05)
    heard = record_speech(tone, np.random.default_rng(0))
    assert heard.shape == tone.shape
    assert np.abs(heard).max() <= 0.97 + 1e-6


def test_sentences_are_drawn_by_seed() -> None:
    sentences = [draw_sentence(np.random.default_rng(seed)) for seed in range(30)]
    assert sentences == [draw_sentence(np.random.default_rng(seed)) for seed in range(30)]
    assert len(set(sentences)) > 25
    assert not set(TRAIN_VOICES) & set(TEST_VOICES)


@pytest.mark.skipif(not espeak_installed(), reason="needs the program espeak-ng")
def test_espeak_speaks() -> None:
    speech = talk(3.0, TEST_VOICES, np.random.default_rng(0))
    assert speech.shape == (48_000,)
    assert len(find_stresses(speech.astype(np.float32)).seconds) >= 1


def test_missing_espeak_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not espeak_installed()
    with pytest.raises(AudioError, match="apt-get install espeak-ng"):
        espeak_speech("hello")
