"""Every published network: how its file is told from others, how it is read, and how it is written back.

A conversion keeps what our model does not: layers that nothing uses, tables that the published program stores and we
compute. These tensors go beside the weights, so that what is written back is what was read, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub._files import file_inside
from cospeech.hub._writing import make_folder, replacing
from cospeech.hub.checkpoint import CONFIG_FILE, load_model, save_model
from cospeech.hub.config import read_json
from cospeech.hub.convert.camn import camn_from_published, camn_to_published, disco_from_published, disco_to_published
from cospeech.hub.convert.diffsheg import diffsheg_from_published, diffsheg_to_published
from cospeech.hub.convert.emage import transformer_from_published, transformer_to_published
from cospeech.hub.convert.emage_vqvae import (
    global_motion_from_published,
    global_motion_to_published,
    vqvae_from_published,
    vqvae_to_published,
)
from cospeech.hub.convert.evaluators import (
    gesture_autoencoder_from_published,
    gesture_autoencoder_to_published,
    motion_evaluator_from_published,
    motion_evaluator_to_published,
    text_evaluator_from_published,
    text_evaluator_to_published,
)
from cospeech.hub.convert.globaldiff import (
    denoiser_from_published,
    denoiser_to_published,
    speech_model_from_published,
    speech_model_to_published,
)
from cospeech.hub.convert.globaldiff_vae import (
    masked_vae_from_published,
    masked_vae_to_published,
    skeleton_autoencoder_from_published,
    skeleton_autoencoder_to_published,
)
from cospeech.hub.convert.motionstreamer import (
    EVALUATOR_DECODER,
    causal_tae_from_published,
    causal_tae_to_published,
    evaluator_decoder_from_published,
    motionstreamer_from_published,
    motionstreamer_to_published,
)
from cospeech.hub.download import resolve
from cospeech.hub.pickles import load_published
from cospeech.hub.tensors import load_tensors, save_tensors
from cospeech.models import (
    CamnModel,
    CausalTAE,
    DiffSHEGDenoiser,
    DiscoModel,
    EmageGlobalMotion,
    EmageTransformer,
    EmageVQVAE,
    GlobalDiffDenoiser,
    MotionStreamer,
    SpeechModel,
)
from cospeech.models.evaluators import SkeletonAutoencoder
from cospeech.models.gesture_embedding import GestureAutoencoder
from cospeech.models.masked_vae import MaskedVAE
from cospeech.models.text_motion_evaluator import MotionEvaluator, TextEvaluator
from cospeech.models.tmr import EvaluatorDecoder

__all__ = [
    "NETWORKS",
    "ConvertedNetwork",
    "PublishedNetwork",
    "from_published",
    "load_network",
    "save_converted",
    "to_published",
    "write_published",
]

State = Mapping[str, Tensor]

EXTRA_FILE = "published_extra.safetensors"
_DESCRIPTION_FILE = "published.json"


@dataclass(frozen=True)
class PublishedNetwork:
    """A network that was published.

    Attributes:
        name: Ours.
        model: Our class.
        signature: A key that no other published file holds.
        read: Published state to model.
        write: Model to published state, without the prefix.
        wrapper: Under which the published program keeps the state dict; "" for a bare one.
        prefix: Before its keys, in a file with several networks.
        absent: A key that must not be there.
    """

    name: str
    model: type[nn.Module]
    signature: str
    read: Callable[[State], nn.Module]
    write: Callable[[Any], dict[str, Tensor]]
    wrapper: str = ""
    prefix: str = ""
    absent: str = ""

    def fits(self, state: State) -> bool:
        """Whether a state holds this network."""
        return self.prefix + self.signature in state and (not self.absent or self.absent not in state)

    def part(self, state: State) -> dict[str, Tensor]:
        """What of a state is this network's."""
        return {key: tensor for key, tensor in state.items() if key.startswith(self.prefix)}

    def published(self, model: nn.Module) -> dict[str, Tensor]:
        """The state of a model under its published keys, prefix included."""
        return {self.prefix + key: tensor for key, tensor in self.write(model).items()}


class ConvertedNetwork(NamedTuple):
    """A network of a published file.

    Attributes:
        network: Which one.
        model: Ours, in evaluation mode.
        extra: What else the file holds of it, under the published keys.
    """

    network: PublishedNetwork
    model: nn.Module
    extra: dict[str, Tensor]


_DECODER = "motiondecoder."


def _decoder_to_published(model: EvaluatorDecoder) -> dict[str, Tensor]:
    return {
        key.removeprefix(_DECODER): tensor for key, tensor in EVALUATOR_DECODER.to_published(model.state_dict()).items()
    }


NETWORKS = [
    PublishedNetwork(
        "emage-transformer",
        EmageTransformer,
        "moton_proj.weight",
        lambda state: transformer_from_published(state).model,
        transformer_to_published,
    ),
    PublishedNetwork("emage-vqvae", EmageVQVAE, "quantizer.embedding.weight", vqvae_from_published, vqvae_to_published),
    PublishedNetwork(
        "emage-global",
        EmageGlobalMotion,
        "encoder.main.0.weight",
        global_motion_from_published,
        global_motion_to_published,
        absent="quantizer.embedding.weight",
    ),
    PublishedNetwork("camn", CamnModel, "hands_out.fc1.weight", camn_from_published, camn_to_published),
    PublishedNetwork("disco", DiscoModel, "selector.fc1.weight", disco_from_published, disco_to_published),
    PublishedNetwork(
        "globaldiff-denoiser", GlobalDiffDenoiser, "in_x_hand.weight", denoiser_from_published, denoiser_to_published
    ),
    PublishedNetwork(
        "globaldiff-speech",
        SpeechModel,
        "vertice_map_r.weight",
        speech_model_from_published,
        speech_model_to_published,
    ),
    PublishedNetwork("globaldiff-vae", MaskedVAE, "mask_val", masked_vae_from_published, masked_vae_to_published),
    PublishedNetwork(
        "diffsheg",
        DiffSHEGDenoiser,
        "encoder_ges.joint_embed.weight",
        diffsheg_from_published,
        diffsheg_to_published,
        wrapper="encoder",
    ),
    PublishedNetwork(
        "motionstreamer-tae",
        CausalTAE,
        "tae.encoder.proj.weight",
        causal_tae_from_published,
        causal_tae_to_published,
        wrapper="net",
    ),
    PublishedNetwork(
        "motionstreamer",
        MotionStreamer,
        "transformer.wte.weight",
        motionstreamer_from_published,
        motionstreamer_to_published,
        wrapper="trans",
    ),
    PublishedNetwork(
        "text-evaluator",
        TextEvaluator,
        "projection.1.weight",
        text_evaluator_from_published,
        text_evaluator_to_published,
        wrapper="state_dict",
        prefix="textencoder.",
    ),
    PublishedNetwork(
        "motion-evaluator",
        MotionEvaluator,
        "skel_embedding.weight",
        motion_evaluator_from_published,
        motion_evaluator_to_published,
        wrapper="state_dict",
        prefix="motionencoder.",
    ),
    PublishedNetwork(
        "evaluator-decoder",
        EvaluatorDecoder,
        "final_layer.weight",
        evaluator_decoder_from_published,
        _decoder_to_published,
        wrapper="state_dict",
        prefix=_DECODER,
    ),
    PublishedNetwork(
        "fgd-beat2",
        SkeletonAutoencoder,
        "encoder.layers.0.0.residual.0.weight",
        skeleton_autoencoder_from_published,
        skeleton_autoencoder_to_published,
        wrapper="model_state",
    ),
    PublishedNetwork(
        "diffsheg-fgd",
        GestureAutoencoder,
        "pose_encoder.fc_mu.weight",
        gesture_autoencoder_from_published,
        gesture_autoencoder_to_published,
        wrapper="model_state",
    ),
]
"""Every network that was published."""


def from_published(path: str | os.PathLike[str]) -> list[ConvertedNetwork]:
    """The networks in a published file, several in that of the evaluator.

    Raises:
        CheckpointError: If the file cannot be read, is none of the published ones, or does not fit; every key at fault
            is listed.
    """
    state = load_published(path)
    found = [network for network in NETWORKS if network.fits(state)]
    if not found:
        raise CheckpointError(
            f"{path} holds none of the published networks; its first keys: {', '.join([*state][:5])}."
        )
    converted = []
    for network in found:
        part = network.part(state)
        model = network.read(part)
        written = network.published(model)
        extra = {key: tensor for key, tensor in part.items() if not _same(written.get(key), tensor)}
        converted.append(ConvertedNetwork(network, model, extra))
    if len(found) > 1:
        claimed = tuple(network.prefix for network in found)
        converted[0].extra.update({key: tensor for key, tensor in state.items() if not key.startswith(claimed)})
    return converted


def load_network(
    source: str | os.PathLike[str], file: str = "", *, network: str | None = None, revision: str | None = None
) -> nn.Module:
    """One published network, in evaluation mode: for a metric, or as a block in your own program.

    Args:
        source: The file itself; or a folder, a name that ``cospeech models`` lists, or a repository on the Hub.
        file: The path of the file in it.
        network: Which one, where the file holds several: a ``name`` of ``NETWORKS``.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name, or the file is not in it.
        CheckpointError: If the file cannot be read or does not fit.
        ValueError: If the file holds several networks, or not the one asked for.

    Example:
        ``load_network("X-Zhang/GlobalDiff", "Scripts/FM/EMAGE_VAE/AESKConv_240_100.bin")`` is the encoder of BEAT2's
        FGD.
    """
    path = Path(source)
    if file:
        path = file_inside(resolve(source, revision=revision, patterns=[file]), file)
    converted = {each.network.name: each.model for each in from_published(path)}
    if network is None and len(converted) == 1:
        return next(iter(converted.values()))
    if network not in converted:
        raise ValueError(f"Unknown network {network!r} in {path.name}; choose from {', '.join(converted)}.")
    return converted[network]


def save_converted(converted: list[ConvertedNetwork], folder: str | os.PathLike[str]) -> None:
    """Write networks in our format: one into the folder itself, several into folders of their names.

    Raises:
        CheckpointError: If a folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    for network, model, extra in converted:
        target = folder if len(converted) == 1 else folder / network.name
        save_model(model, target)
        if extra:
            save_tensors(extra, target / EXTRA_FILE)
        else:
            (target / EXTRA_FILE).unlink(missing_ok=True)
    description = {"networks": [each.network.name for each in converted]}
    with replacing(folder / _DESCRIPTION_FILE) as path:
        path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def to_published(folder: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """The published state of what ``save_converted`` or ``save_model`` wrote, and its wrapper.

    Raises:
        CheckpointError: If the folder is none of these, or the network was never published.
    """
    folder = Path(folder)
    if not (folder / _DESCRIPTION_FILE).is_file():
        name = read_json(file_inside(folder, CONFIG_FILE)).get("model")
        names = [network.name for network in NETWORKS if network.model.__name__ == name]
    else:
        names = read_json(file_inside(folder, _DESCRIPTION_FILE)).get("networks", [])
    known = {network.name: network for network in NETWORKS}
    if not names or not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise CheckpointError(f"{folder} holds no network that was published.")
    state: dict[str, Tensor] = {}
    for name in names:
        place = folder if len(names) == 1 else folder / name
        state.update(known[name].published(load_model(known[name].model, place)))
        if (place / EXTRA_FILE).is_file():
            state.update(load_tensors(place / EXTRA_FILE))
    return state, known[names[0]].wrapper


def write_published(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write a network of ours as the published program would have: safetensors by that suffix, else ``torch.save``.

    Raises:
        CheckpointError: If the folder holds no published network, or the file cannot be written.
    """
    path = Path(path)
    state, wrapper = to_published(folder)
    if path.suffix == ".safetensors":
        save_tensors(state, path)
        return
    make_folder(path.parent)
    with replacing(path) as unfinished:
        tensors = {key: tensor.contiguous().clone() for key, tensor in state.items()}
        torch.save({wrapper: tensors} if wrapper else tensors, unfinished)


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other)


def _bytes(tensor: Tensor) -> bytes:
    # Not torch.equal, for which no NaN is itself and a negative zero is zero.
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
