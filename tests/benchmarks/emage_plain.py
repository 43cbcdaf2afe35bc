"""EMAGE in the published order of work: the slow twin of the pipeline, from stock layers, for the benchmark.

Every window hears on its own, decodes the codes of all its frames, turns all of them to axis-angles and back, to hand
on four of them; at the end all codes are decoded once more, and the translation is added up frame by frame. Names are
those of the published state dicts, so that weights load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cospeech.hub.convert.emage import transformer_to_published
from cospeech.hub.convert.emage_vqvae import global_motion_to_published, vqvae_to_published
from cospeech.models import EMAGE_PART_JOINTS, EmageMotionCodec, EmageTransformer
from cospeech.representations import emage_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_rot6d, rot6d_to_matrix

__all__ = ["PlainEmage"]

WINDOW, SEED, SAMPLES_PER_FRAME = 64, 4, 533
PARTS = ("upper", "hands", "lower")


class Residual(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.model = nn.Sequential(nn.Conv1d(dim, dim, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv1d(dim, dim, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.model(x)


class Convolutions(nn.Module):
    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x.permute(0, 2, 1)).permute(0, 2, 1)


def make_encoder(channels: int, dim: int, stages: int) -> Convolutions:
    layers: list[nn.Module] = []
    for i in range(stages):
        layers += [nn.Conv1d(dim if i else channels, dim, 3, 1, 1), nn.LeakyReLU(0.2), Residual(dim)]
    return Convolutions(layers)


def make_decoder(channels: int, dim: int, stages: int) -> Convolutions:
    layers: list[nn.Module] = [Residual(dim), Residual(dim)]
    for i in range(stages):
        layers += [nn.Conv1d(dim, dim if i < stages - 1 else channels, 3, 1, 1), nn.LeakyReLU(0.2)]
    return Convolutions([*layers, nn.Conv1d(channels, channels, 3, 1, 1)])


class WaveBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int, padding: int, down: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(i, o, 15, stride, padding), nn.BatchNorm1d(o)
        self.conv2, self.bn2 = nn.Conv1d(o, o, 15, 1, 7), nn.BatchNorm1d(o)
        self.activation = nn.LeakyReLU(0.01)
        self.downsample = (
            nn.Sequential(nn.Conv1d(i, o, 15, stride, padding), nn.BatchNorm1d(o)) if down else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        return self.activation(y + self.downsample(x))


class WaveNet(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        a, b = dim // 4, dim // 2
        rows = [(1, a, 5, 1600), (a, a, 6, 0), (a, a, 1, 7), (a, b, 6, 0), (b, b, 1, 7), (b, dim, 3, 0)]
        self.feat_extractor = nn.Sequential(*(WaveBlock(*row, down=row[2] > 1) for row in rows))

    def forward(self, audio: Tensor) -> Tensor:
        return self.feat_extractor(audio.unsqueeze(1)).transpose(1, 2)


class TwoLayers(nn.Module):
    def __init__(self, a: int, b: int, c: int):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(a, b), nn.Linear(b, c), nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class PlainTransformer(nn.Module):
    """The transformer at its published sizes, sequence first as published."""

    def __init__(self) -> None:
        super().__init__()
        dim, sizes = 768, {"d_model": 768, "nhead": 4, "dim_feedforward": 1536}

        def decoder(num_layers: int) -> nn.TransformerDecoder:
            return nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), num_layers)

        self.mask_embedding = nn.Parameter(torch.zeros(1, 1, 337))
        self.position_embeddings = nn.Module()
        self.position_embeddings.register_buffer("pe", torch.zeros(1, 128, dim))
        self.motion_encoder = make_encoder(337, 256, 3)
        self.audio_encoder_face, self.audio_encoder_body = WaveNet(256), WaveNet(256)
        self.speaker_embedding_face, self.speaker_embedding_body = nn.Embedding(1, dim), nn.Embedding(1, dim)
        self.bodyhints_face, self.bodyhints_body = TwoLayers(256, dim, 256), TwoLayers(256, dim, 256)
        self.audio_face_motion_proj = nn.Linear(512, dim)
        self.face_motion_decoder = decoder(4)
        self.face_out_proj, self.face_cls = nn.Linear(dim, 256), TwoLayers(256, dim, 256)
        self.moton_proj = nn.Linear(256, dim)  # spelled so
        self.motion_self_encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes), 1, enable_nested_tensor=False
        )
        self.audio_body_motion_proj = nn.Linear(256, dim)
        self.audio_motion_cross_attn = decoder(8)
        for part in PARTS:
            setattr(self, f"motion2latent_{part}", TwoLayers(dim, dim, dim))
            setattr(self, f"body_motion_decoder_{part}", decoder(1))
            setattr(self, f"motion_out_proj_{part}", nn.Linear(dim, 256))
            setattr(self, f"motion_cls_{part}", TwoLayers(256, dim, 256))

    def forward(self, audio: Tensor, speaker: Tensor, motion: Tensor, mask: Tensor) -> dict[str, Tensor]:
        num_frames = motion.shape[1]
        hints = self.motion_encoder(torch.where(mask == 1, self.mask_embedding, motion))
        body_hints, face_hints = self.bodyhints_body(hints), self.bodyhints_face(hints)
        face_audio, body_audio = self.audio_encoder_face(audio), self.audio_encoder_body(audio)
        body_style = self.speaker_embedding_body(speaker).expand(-1, num_frames, -1)
        face_style = self.speaker_embedding_face(speaker).expand(-1, num_frames, -1)
        positions = self.position_embeddings.pe[:, :num_frames]

        def decode(name: str, x: Tensor, memory: Tensor) -> Tensor:
            return getattr(self, name)(x.transpose(0, 1), memory.transpose(0, 1)).transpose(0, 1)

        memory = self.audio_face_motion_proj(torch.cat([face_audio[:, :num_frames], face_hints], 2))
        face = decode("face_motion_decoder", face_style + positions, memory)
        found = {"rec_face": self.face_out_proj(face)}
        found["cls_face"] = self.face_cls(found["rec_face"])

        x = self.moton_proj(body_hints) + positions + body_style
        x = self.motion_self_encoder(x.transpose(0, 1)).transpose(0, 1)
        x = x + body_style + positions
        x = x + decode("audio_motion_cross_attn", x, self.audio_body_motion_proj(body_audio))
        parts = {part: getattr(self, f"motion2latent_{part}")(x) for part in PARTS}
        for part in PARTS:
            one, other = (parts[name] for name in PARTS if name != part)
            refined = decode(f"body_motion_decoder_{part}", parts[part] + body_style, one + other)
            found[f"rec_{part}"] = getattr(self, f"motion_out_proj_{part}")(parts[part] + refined)
            found[f"cls_{part}"] = getattr(self, f"motion_cls_{part}")(found[f"rec_{part}"])
        return found


class PlainCodec(nn.Module):
    """The five motion networks at their published sizes."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"face": (106, 2), "upper": (78, 2), "hands": (180, 2), "lower": (61, 4)}
        self.decoders = nn.ModuleDict({part: make_decoder(c, 256, n) for part, (c, n) in sizes.items()})
        self.codebooks = nn.ParameterDict({part: torch.zeros(256, 256) for part in sizes})
        self.global_encoder, self.global_decoder = make_encoder(61, 256, 4), make_decoder(61, 256, 4)

    def indices(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The likeliest codes of the body; the code nearest to the face's latent."""
        indices = {part: torch.log_softmax(found[f"cls_{part}"], 2).max(2)[1] for part in PARTS}
        z, codes = found["rec_face"].reshape(-1, 256), self.codebooks["face"]
        distances = (z**2).sum(1, keepdim=True) + (codes**2).sum(1) - 2 * z @ codes.t()
        return {"face": distances.argmin(1).view(found["rec_face"].shape[:2]), **indices}

    def decode(self, indices: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Expressions, axis-angles of all joints, the transformer's input, and the lower body as it was decoded."""
        decoded = {part: self.decoders[part](self.codebooks[part][rows]) for part, rows in indices.items()}
        shape = indices["face"].shape
        poses = torch.zeros(*shape, 55, 3)
        for part, x in decoded.items():
            joints = list(EMAGE_PART_JOINTS[part])
            turned = x[..., : 6 * len(joints)].reshape(*shape, -1, 6)
            whole = torch.zeros(*shape, 55, 3)
            whole[:, :, joints] = emage_matrix_to_axis_angle(rot6d_to_matrix(turned))
            poses = poses + whole
        motion = torch.cat([axis_angle_to_rot6d(poses).flatten(2), decoded["lower"][..., -7:]], 2)
        return decoded["face"][..., 6:], poses, motion, decoded["lower"]

    def translate(self, lower: Tensor) -> Tensor:
        channels = self.global_decoder(self.global_encoder(lower))
        x, z = [torch.zeros(len(lower))], [torch.zeros(len(lower))]
        for frame in range(1, lower.shape[1]):
            x.append(x[-1] + channels[:, frame - 1, 54] / 30)
            z.append(z[-1] + channels[:, frame - 1, 56] / 30)
        return torch.stack([torch.stack(x, 1), channels[:, :, 55], torch.stack(z, 1)], 2)


class PlainEmage:
    """Speech to motion, window after window.

    Args:
        transformer: Whose weights to take; of the published sizes.
        codec: The same.
    """

    def __init__(self, transformer: EmageTransformer, codec: EmageMotionCodec):
        self.transformer, self.codec = PlainTransformer().eval(), PlainCodec().eval()
        state = transformer_to_published(transformer)
        self.transformer.load_state_dict({key: state[key] for key in self.transformer.state_dict()})
        for part, decoder in self.codec.decoders.items():
            state = vqvae_to_published(codec.vqvae(part))
            decoder.load_state_dict(_within(state, "decoder."))
            self.codec.codebooks[part].data.copy_(state["quantizer.embedding.weight"])
        state = global_motion_to_published(codec.global_motion)
        self.codec.global_encoder.load_state_dict(_within(state, "encoder."))
        self.codec.global_decoder.load_state_dict(_within(state, "decoder."))

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Codes, axis-angles, expressions and translation of speech at 16 kHz, ``(1, S)``."""
        num_frames = audio.shape[1] * 30 // 16000
        speaker = torch.zeros(1, 1, dtype=torch.long)
        pose = torch.cat([torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(55), torch.zeros(7)])
        motion, mask = pose.repeat(1, num_frames, 1), torch.ones(1, num_frames, 337)
        rounds, rest = divmod(num_frames - SEED, WINDOW - SEED)
        windows = [(i * (WINDOW - SEED), WINDOW, WINDOW - SEED) for i in range(rounds)]
        if rest > SEED:
            windows.append((rounds * (WINDOW - SEED), SEED + rest, SEED + rest))
        last, pieces = motion[:, :SEED], []
        for start, length, kept in windows:
            known, hidden = motion[:, start : start + length].clone(), mask[:, start : start + length].clone()
            known[:, :SEED] = torch.where(hidden[:, :SEED] == 0, known[:, :SEED], last)
            hidden[:, :SEED] = 0
            heard = audio[:, SAMPLES_PER_FRAME * start : SAMPLES_PER_FRAME * (start + length)]
            found = self.transformer(heard, speaker, known, hidden)
            last = self.codec.decode(self.codec.indices(found))[2][:, -SEED:]
            pieces.append({name: x[:, :kept] for name, x in found.items()})
        whole = {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
        indices = self.codec.indices(whole)
        expressions, poses, _, lower = self.codec.decode(indices)
        return indices, poses, expressions, self.codec.translate(lower)


def _within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
