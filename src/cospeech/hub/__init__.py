"""Checkpoints: strict loading and saving, names to locations, downloads."""

from cospeech.hub.card import MetricResult, ModelCard
from cospeech.hub.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_model, save_model
from cospeech.hub.config import config_from_dict, config_to_dict, read_json
from cospeech.hub.download import resolve
from cospeech.hub.licences import Licence, Terms, check_commercial
from cospeech.hub.pickles import load_published
from cospeech.hub.push import push_to_hub
from cospeech.hub.registry import BUNDLED, MODELS, Published, bundled_folder, find_published, terms_of
from cospeech.hub.tensors import load_tensors, save_tensors

__all__ = [
    "BUNDLED",
    "CONFIG_FILE",
    "MODELS",
    "WEIGHTS_FILE",
    "Licence",
    "MetricResult",
    "ModelCard",
    "Published",
    "Terms",
    "bundled_folder",
    "check_commercial",
    "config_from_dict",
    "config_to_dict",
    "find_published",
    "load_model",
    "load_published",
    "load_tensors",
    "push_to_hub",
    "read_json",
    "resolve",
    "save_model",
    "save_tensors",
    "terms_of",
]
