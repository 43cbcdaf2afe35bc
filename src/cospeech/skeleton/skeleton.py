"""What a skeleton is: a tree of named joints with a rest pose, mirror pairs and part groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["Skeleton"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """A joint tree; a value: compared by content, hashable, picklable, never changed.

    Attributes:
        names: One name per joint, ``J`` of them, all different.
        parents: Index of each joint's parent; ``-1`` for the root, which comes first. Parents come before children.
        rest_joints: Joint positions of the rest pose (every rotation the identity), ``(J, 3)`` in metres. It may live
            on any device: functions that take a skeleton move it to where their input is.
        mirror_pairs: ``(left, right)`` index pairs. A joint in no pair lies on the midline.
        groups: Part name to joint indices, in the order in which that part lists them.

    Raises:
        ValueError: If the parts do not make one tree, or pairs or groups do not fit it.

    Example:
        >>> rest = torch.tensor([[0.0, 1.0, 0.0], [0.1, 0.9, 0.0], [-0.1, 0.9, 0.0]])
        >>> hips = Skeleton(
        ...     names=("pelvis", "left", "right"), parents=(-1, 0, 0), rest_joints=rest, mirror_pairs=((1, 2),)
        ... )
        >>> hips.index("right"), hips.levels
        (2, ((0,), (1, 2)))
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest_joints: Tensor
    mirror_pairs: tuple[tuple[int, int], ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Own copies in their final types, so that neither a list nor the caller's tensor changes under us.
        set_ = object.__setattr__
        set_(self, "names", tuple(self.names))
        set_(self, "parents", tuple(int(parent) for parent in self.parents))
        set_(self, "rest_joints", self.rest_joints.detach().clone(memory_format=torch.contiguous_format))
        set_(self, "mirror_pairs", tuple((int(left), int(right)) for left, right in self.mirror_pairs))
        set_(self, "groups", {name: tuple(int(joint) for joint in joints) for name, joints in self.groups.items()})
        self._check_tree()
        self._check_mirror_pairs()
        for name, joints in self.groups.items():
            self._check_indices(f"groups[{name!r}]", joints)

    @property
    def num_joints(self) -> int:
        """``J``."""
        return len(self.names)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Joints by distance from the root: level 0 is the root alone."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        found: list[list[int]] = [[] for _ in range(max(depths) + 1)]
        for joint, depth in enumerate(depths):
            found[depth].append(joint)
        return tuple(tuple(level) for level in found)

    @property
    def depth(self) -> int:
        """Bones from the root to the farthest joint."""
        return len(self.levels) - 1

    @cached_property
    def mirror_permutation(self) -> tuple[int, ...]:
        """For each joint its counterpart on the other side; itself on the midline.

        Raises:
            ValueError: If a joint in no pair hangs from one in a pair, as when a subset keeps one hand.
        """
        counterpart = list(range(self.num_joints))
        for left, right in self.mirror_pairs:
            counterpart[left], counterpart[right] = right, left
        for joint, parent in enumerate(self.parents):
            if counterpart[joint] == joint and parent >= 0 and counterpart[parent] != parent:
                raise ValueError(f"{self.names[joint]!r} must have a counterpart to be mirrored; no pair names it.")
        return tuple(counterpart)

    def index(self, name: str) -> int:
        """Index of the joint called ``name``.

        Raises:
            ValueError: If there is none.
        """
        try:
            return self._index_of[name]
        except KeyError:
            raise ValueError(f"Unknown joint {name!r}; choose from {', '.join(self.names)}.") from None

    def subset(self, names: Sequence[str]) -> Skeleton:
        """The skeleton of some of the joints, in the given order; pairs and groups keep what is left of them.

        Args:
            names: Joints to keep. Each one's parent must be kept too, or its rotation would have no frame.

        Raises:
            ValueError: If a name is unknown, or a parent is missing or comes later than its child.

        Example:
            >>> from cospeech.skeleton import SMPLX
            >>> SMPLX.subset(("pelvis", "spine1", "spine2")).parents
            (-1, 0, 1)
        """
        kept = [self.index(name) for name in names]
        new_index = {joint: position for position, joint in enumerate(kept)}
        for position, joint in enumerate(kept):
            parent = self.parents[joint]
            if parent >= 0 and new_index.get(parent, position) >= position:
                raise ValueError(
                    f"A subset must list parents before children; {self.names[joint]!r} needs {self.names[parent]!r}."
                )
        groups = {name: tuple(new_index[j] for j in joints if j in new_index) for name, joints in self.groups.items()}
        return Skeleton(
            names=tuple(names),
            parents=tuple(new_index.get(self.parents[joint], -1) for joint in kept),
            rest_joints=self.rest_joints[kept],
            mirror_pairs=tuple(
                (new_index[left], new_index[right])
                for left, right in self.mirror_pairs
                if left in new_index and right in new_index
            ),
            groups={name: joints for name, joints in groups.items() if joints},
        )

    def with_rest_joints(self, rest_joints: Tensor) -> Skeleton:
        """The same tree with other proportions: ``(J, 3)`` in metres."""
        return replace(self, rest_joints=rest_joints)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Skeleton):
            return NotImplemented
        if self is other:
            return True
        mine, theirs = self.rest_joints, other.rest_joints.to(self.rest_joints.device)
        same_tree = self._tree == other._tree and dict(self.groups) == dict(other.groups)
        return same_tree and mine.dtype == theirs.dtype and torch.equal(mine, theirs)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Skeleton({self.num_joints} joints, depth {self.depth}, root {self.names[0]!r})"

    @property
    def _tree(self) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
        return self.names, self.parents, self.mirror_pairs

    @cached_property
    def _hash(self) -> int:
        return hash(self._tree)

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: joint for joint, name in enumerate(self.names)}

    def _check_tree(self) -> None:
        if not self.names:
            raise ValueError("A skeleton must have at least one joint; got none.")
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise ValueError(f"Joint names must differ; got {', '.join(map(repr, repeated))} more than once.")
        if len(self.parents) != len(self.names):
            raise ValueError(f"`parents` must hold one index per name ({len(self.names)}); got {len(self.parents)}.")
        roots = [name for name, parent in zip(self.names, self.parents, strict=True) if parent == -1]
        if len(roots) != 1:
            raise ValueError(f"A skeleton must have one root (parent -1); got {len(roots)}: {roots}.")
        for joint, parent in enumerate(self.parents):
            if not -1 <= parent < joint and not (joint == 0 and parent == -1):
                raise ValueError(
                    f"Parents must come before children; joint {joint} ({self.names[joint]!r}) has parent {parent}."
                )
        check_shape("rest_joints", self.rest_joints, f"{self.num_joints} 3")
        if not self.rest_joints.is_floating_point():
            raise ValueError(f"`rest_joints` must be floating point; got {self.rest_joints.dtype}.")
        if not bool(self.rest_joints.isfinite().all()):
            raise ValueError("`rest_joints` must be finite; got NaN or infinity.")

    def _check_mirror_pairs(self) -> None:
        self._check_indices("mirror_pairs", [joint for pair in self.mirror_pairs for joint in pair])
        counterpart = dict([*self.mirror_pairs, *((right, left) for left, right in self.mirror_pairs)])
        for left, right in self.mirror_pairs:
            parent = self.parents[left]
            if self.parents[right] != counterpart.get(parent, parent):
                raise ValueError(
                    f"Mirror pairs must keep the tree: {self.names[left]!r} and {self.names[right]!r} are a pair, "
                    "their parents are not."
                )

    def _check_indices(self, what: str, joints: Sequence[int]) -> None:
        outside = [joint for joint in joints if not 0 <= joint < self.num_joints]
        if outside:
            raise ValueError(f"`{what}` must hold joints 0 to {self.num_joints - 1}; got {outside[0]}.")
        if len(set(joints)) != len(joints):
            raise ValueError(f"`{what}` must name each joint at most once; got {tuple(joints)}.")
