"""Speech to tensors: decoding, resampling, spectral and prosodic features, clocks."""

from cospeech.audio.clocks import (
    frames_to_samples,
    frames_to_seconds,
    samples_to_frames,
    samples_to_frames_covering,
    samples_to_seconds,
    seconds_to_frames,
    seconds_to_samples,
)
from cospeech.audio.decoding import AudioSource
from cospeech.audio.loudness import amplitude_envelope, loudness_decibel
from cospeech.audio.mel import hertz_to_mel, mel_filter_bank, mel_spectrogram, mel_to_hertz, power_to_decibel
from cospeech.audio.onset import detect_onsets, onset_strength, pick_peaks
from cospeech.audio.prosody import ProsodyConfig, ProsodyFeatures
from cospeech.audio.resample import SincFilter, resample
from cospeech.audio.speech import GLOBALDIFF_SPEECH_ENCODER, SpeechEncoder, normalize_waveform
from cospeech.audio.waveform import AudioInfo, audio_info, check_speech, iter_audio, load_audio, measure_speech
from cospeech.audio.words import SpokenWord, WordEmbedding, embed_words, read_text_grid

__all__ = [
    "GLOBALDIFF_SPEECH_ENCODER",
    "AudioInfo",
    "AudioSource",
    "ProsodyConfig",
    "ProsodyFeatures",
    "SincFilter",
    "SpeechEncoder",
    "SpokenWord",
    "WordEmbedding",
    "amplitude_envelope",
    "audio_info",
    "check_speech",
    "detect_onsets",
    "embed_words",
    "frames_to_samples",
    "frames_to_seconds",
    "hertz_to_mel",
    "iter_audio",
    "load_audio",
    "loudness_decibel",
    "measure_speech",
    "mel_filter_bank",
    "mel_spectrogram",
    "mel_to_hertz",
    "normalize_waveform",
    "onset_strength",
    "pick_peaks",
    "power_to_decibel",
    "read_text_grid",
    "resample",
    "samples_to_frames",
    "samples_to_frames_covering",
    "samples_to_seconds",
    "seconds_to_frames",
    "seconds_to_samples",
]
