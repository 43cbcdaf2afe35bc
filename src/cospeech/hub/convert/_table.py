"""Key tables: which published tensor becomes which of ours.

A table is a list of rules. A rule pairs one published key pattern with one of ours, or with several that share the
tensor out along an axis. ``{name}`` in a pattern stands for one component of a dotted key and carries over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cospeech.errors import CheckpointError

__all__ = ["Constant", "Key", "KeyTable"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Key:
    """One published key and what becomes of it.

    Attributes:
        published: Pattern of the published key.
        ours: Patterns of our keys; several share the tensor out along ``axis``, in this order.
        axis: Along which a tensor is shared out.
    """

    published: str
    ours: tuple[str, ...]
    axis: int = 0

    def __init__(self, published: str, *ours: str, axis: int = 0):
        object.__setattr__(self, "published", published)
        object.__setattr__(self, "ours", ours)
        object.__setattr__(self, "axis", axis)


@dataclass(frozen=True)
class Constant:
    """A published tensor which holds no learned number: its value is checked on the way in, made on the way out.

    Attributes:
        published: The published key.
        value: Makes the tensor from our state.
    """

    published: str
    value: Callable[[State], Tensor]


@dataclass(frozen=True)
class KeyTable:
    """The rules of one published module, applied in either direction.

    Example:
        >>> table = KeyTable([Key("blocks.{i}.qkv", "layers.{i}.query", "layers.{i}.key_value")])
        >>> ours = table.to_ours({"blocks.0.qkv": torch.ones(6)}, {"layers.0.query": (2,), "layers.0.key_value": (4,)})
        >>> {key: tuple(tensor.shape) for key, tensor in ours.items()}
        {'layers.0.query': (2,), 'layers.0.key_value': (4,)}
        >>> {key: tuple(tensor.shape) for key, tensor in table.to_published(ours).items()}
        {'blocks.0.qkv': (6,)}
    """

    rules: Sequence[Key | Constant]

    def within(self, published: str, ours: str) -> list[Key]:
        """The rules with a prefix before each pattern, to build the table of a whole from that of a part."""
        keys = (rule for rule in self.rules if isinstance(rule, Key))
        return [Key(published + key.published, *(ours + name for name in key.ours), axis=key.axis) for key in keys]

    def to_ours(self, state: State, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Our state from a published one.

        Args:
            state: Published keys and tensors.
            shapes: The shapes of our state, all of it.

        Raises:
            CheckpointError: If a published key is unknown or comes twice under two names, or one of ours is missing or
                has another shape.
        """
        problems = []
        converted: dict[str, Tensor] = {}
        constants = {rule.published: rule for rule in self.rules if isinstance(rule, Constant)}
        for name, tensor in state.items():
            if name in constants:
                continue
            found = self._find(name)
            if found is None:
                problems.append(f"unexpected {name}")
                continue
            rule, targets = found
            if any(target not in shapes for target in targets):
                problems.append(f"unexpected {name}")
                continue
            if any(target in converted for target in targets):
                problems.append(f"{name} comes twice: another key has become {targets[0]}")
                continue
            wanted = _joined_shape([shapes[target] for target in targets], rule.axis)
            if wanted != tuple(tensor.shape):
                problems.append(f"misshapen {name}: {tuple(tensor.shape)} instead of {wanted}")
                converted.update(dict.fromkeys(targets, tensor))  # present, so not also reported as missing
                continue
            sizes = [shapes[target][rule.axis] for target in targets] if len(targets) > 1 else None
            pieces = torch.split(tensor, sizes, dim=rule.axis) if sizes else (tensor,)
            converted.update(zip(targets, pieces, strict=True))
        missing = {self._published_name(key) for key in shapes if key not in converted}
        problems += [f"missing {name}" for name in sorted(missing)]
        problems += [f"missing {name}" for name in constants if name not in state]
        if not problems:
            problems = [problem for rule in constants.values() for problem in _check_constant(rule, state, converted)]
        if problems:
            raise CheckpointError(f"The published weights do not fit: {'; '.join(problems)}.")
        return {key: converted[key].contiguous() for key in shapes}

    def to_published(self, state: State) -> dict[str, Tensor]:
        """The published state from ours.

        Raises:
            CheckpointError: If a key of ours is unknown to the table, or lacks one that shares its tensor.
        """
        published: dict[str, Tensor] = {}
        for key in state:
            name = self._published_name(key)
            if name in published:
                continue
            found = self._find(name)
            if found is None:
                raise CheckpointError(f"No published name for {key}.")
            rule, parts = found
            absent = [part for part in parts if part not in state]
            if absent:
                raise CheckpointError(f"{name} also needs {', '.join(absent)}.")
            published[name] = torch.cat([state[part] for part in parts], dim=rule.axis) if parts[1:] else state[key]
        constants = (rule for rule in self.rules if isinstance(rule, Constant))
        published.update((rule.published, rule.value(state)) for rule in constants)
        return published

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Key]]:
        return [(_compile(rule.published), rule) for rule in self._keys]

    @cached_property
    def _reverse(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_compile(name), rule.published) for rule in self._keys for name in rule.ours]

    @property
    def _keys(self) -> Iterable[Key]:
        return (rule for rule in self.rules if isinstance(rule, Key))

    def _find(self, name: str) -> tuple[Key, list[str]] | None:
        for pattern, rule in self._patterns:
            if match := pattern.fullmatch(name):
                return rule, [target.format(**match.groupdict()) for target in rule.ours]
        return None

    def _published_name(self, key: str) -> str:
        for pattern, published in self._reverse:
            if match := pattern.fullmatch(key):
                return published.format(**match.groupdict())
        return f"what {key} comes from"


def _compile(pattern: str) -> re.Pattern[str]:
    """A regular expression in which ``{name}`` stands for one component of a dotted key."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(f"(?P<{p}>[^.]+)" if i % 2 else re.escape(p) for i, p in enumerate(pieces)))


def _joined_shape(shapes: Sequence[Sequence[int]], axis: int) -> tuple[int, ...]:
    joined = list(shapes[0])
    if shapes[1:]:
        joined[axis] = sum(shape[axis] for shape in shapes)
    return tuple(joined)


def _check_constant(rule: Constant, state: State, ours: State) -> list[str]:
    given, wanted = state[rule.published], rule.value(ours)
    if given.shape != wanted.shape:
        return [f"misshapen {rule.published}: {tuple(given.shape)} instead of {tuple(wanted.shape)}"]
    if not torch.allclose(given.to(wanted.dtype), wanted, rtol=1e-5, atol=1e-8):
        return [f"other values than expected in {rule.published}"]
    return []
