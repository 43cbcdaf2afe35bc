"""A procedural corpus of speech-like audio and the motion of four speakers, ours to license."""

from cospeech.data.synthetic.corpus import FRAME_RATE_HZ, SyntheticClip, animate_speech, make_clip, rest_clip
from cospeech.data.synthetic.speakers import SPEAKERS, SpeakerStyle
from cospeech.data.synthetic.speech import SyntheticSpeech, Voice, draw_voice, synthesize_speech
from cospeech.data.synthetic.stress import Stresses, find_stresses

__all__ = [
    "FRAME_RATE_HZ",
    "SPEAKERS",
    "SpeakerStyle",
    "Stresses",
    "SyntheticClip",
    "SyntheticSpeech",
    "Voice",
    "animate_speech",
    "draw_voice",
    "find_stresses",
    "make_clip",
    "rest_clip",
    "synthesize_speech",
]
