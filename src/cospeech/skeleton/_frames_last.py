"""The arithmetic of joint trees with frames on the last axis: one product per tree level, not per joint or frame.

A 3x3 product costs a batched matmul about 30 ns whatever its size; with frames last the same product is a few
multiplications of long rows. Shapes carry suffixes: ``R`` row and ``C`` column of a rotation, ``K`` the summed axis,
``J`` joints sorted by level, ``L`` the joints of one level, ``F`` frames of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["Tree", "chain", "chain_backward", "parents_of", "sum_along", "sum_along_backward", "tree"]


@dataclass(frozen=True)
class Tree:
    """A joint tree as index tensors of one device.

    Attributes:
        levels: ``(start, stop, parents)`` per level: its range among the sorted joints, and each joint's parent as a
            place in the level before, or ``None`` where parents are exactly the level before, in order.
        parents: Parent of each joint, the root's being itself, ``(J,)``.
        sorted_parents: Sorted place of the parent of each sorted joint, ``(J,)``.
        sort: By layout, where each row of the sorted array lies in the joint-major one. ``"vectors"``: ``(3, J)`` from
            ``(J, 3)``. ``"rows"``: ``(R, C, J)`` from ``(J, 3, 3)``. ``"columns"``: ``(C, R, J)``. ``"parents"``: as
            columns, each joint's parent in its place. ``"transforms"``: ``(R, 4, J)`` from ``(J, 3, 3)`` and then
            ``(J, 3)``.
        unsort: The way back, for ``"vectors"``, ``"rows"`` and ``"columns"``.
    """

    levels: tuple[tuple[int, int, Tensor | None], ...]
    parents: Tensor
    sorted_parents: Tensor
    sort: dict[str, Tensor]
    unsort: dict[str, Tensor]


def tree(parents: tuple[int, ...], device: torch.device) -> Tree:
    """The tree with these ``parents``; built once, but traced through by a compiler, which keeps no caches."""
    return _build_tree(parents, device) if torch.compiler.is_compiling() else _kept_tree(parents, device)


def _build_tree(parents: tuple[int, ...], device: torch.device) -> Tree:
    """The tree with these ``parents``, joints sorted by level and within a level by their parent's place."""
    num_joints = len(parents)
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    place = {0: 0}  # of a joint among all sorted joints
    order = [0]
    levels: list[tuple[int, int, Tensor | None]] = [(0, 1, None)]
    for level in range(1, max(depth) + 1):
        start, first_parent = len(order), levels[-1][0]
        joints = [joint for joint in range(num_joints) if depth[joint] == level]
        joints.sort(key=lambda joint: place[parents[joint]])
        order += joints
        place.update({joint: start + position for position, joint in enumerate(joints)})
        within = [place[parents[joint]] - first_parent for joint in joints]
        same = within == list(range(start - first_parent))
        levels.append((start, len(order), None if same else torch.tensor(within, device=device)))
    joints_sorted = torch.tensor(order)
    parents_sorted = torch.tensor([max(parents[joint], 0) for joint in order])
    entries = torch.arange(9).view(3, 3, 1)
    vectors = joints_sorted * 3 + torch.arange(3)[:, None]
    rows = joints_sorted * 9 + entries
    sort = {
        "vectors": vectors,
        "rows": rows,
        "columns": joints_sorted * 9 + entries.transpose(0, 1),
        "parents": parents_sorted * 9 + entries.transpose(0, 1),
        "transforms": torch.cat([rows, vectors[:, None] + 9 * num_joints], dim=1),
    }
    sort = {layout: index.reshape(-1).to(device) for layout, index in sort.items()}
    return Tree(
        levels=tuple(levels),
        parents=torch.tensor([max(parent, 0) for parent in parents], device=device),
        sorted_parents=torch.tensor([place[max(parents[joint], 0)] for joint in order], device=device),
        sort=sort,
        unsort={layout: sort[layout].argsort() for layout in ("vectors", "rows", "columns")},
    )


_kept_tree = lru_cache(maxsize=64)(_build_tree)


def parents_of(x: Tensor, parents: Tensor | None) -> Tensor:
    """``(..., L', F)`` of one level as seen by the joints of the next: ``(..., L, F)``."""
    return x if parents is None else x.index_select(-2, parents)


def _add_to_parents(total: Tensor | None, x: Tensor, parents: Tensor | None, size: int) -> Tensor:
    """``total`` (zero if none) ``(..., L', F)`` plus the sum of ``x`` ``(..., L, F)`` over each one's children."""
    if parents is None:
        return x if total is None else total + x
    if total is None:
        total = x.new_zeros(*x.shape[:-2], size, x.shape[-1])
    else:
        total = total.clone(memory_format=torch.contiguous_format)
    return total.index_add_(-2, parents, x)


def chain(local_KCJF: Tensor, tree: Tree, *, positions_only: bool = False) -> list[Tensor]:
    """Transforms to the world, level by level, from transforms to the parent.

    Args:
        local_KCJF: Three columns of rotation, or four with the offset from the parent as the last.
        tree: The joint tree.
        positions_only: Leave out the rotations of the last level, where nobody asks for them.

    Returns:
        For each level ``(C, R, L, F)``; ``(1, R, L, F)`` for the last one if ``positions_only``.
    """
    columns = local_KCJF.shape[1]
    worlds = [local_KCJF[:, :, :1].transpose(0, 1)]
    sizes = [stop - start for start, stop, _ in tree.levels]
    rows = zip(*(torch.split(row, sizes, dim=-2) for row in local_KCJF.unsqueeze(2).unbind(0)), strict=True)
    next(rows)
    for (_, stop, parents), local in zip(tree.levels[1:], rows, strict=True):
        if positions_only and stop == local_KCJF.shape[2]:
            local = tuple(row[3:] for row in local)
        parent = parents_of(worlds[-1], parents).unbind(0)
        world = (parent[0] * local[0]).addcmul_(parent[1], local[1]).addcmul_(parent[2], local[2])
        if columns == 4:
            world[-1].add_(parent[3])
        worlds.append(world)
    return worlds


def chain_backward(
    local_KCJF: Tensor,
    worlds: Sequence[Tensor],
    tree: Tree,
    rotation_gradients: Sequence[Tensor | None],
    position_gradients: Sequence[Tensor] | None,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of ``chain``: those of its results, per level, to those of its input.

    Args:
        local_KCJF: Input of ``chain``.
        worlds: Its result.
        tree: The joint tree.
        rotation_gradients: ``(C, R, L, F)`` per level, or ``None`` for zero.
        position_gradients: ``(R, L, F)`` per level; ``None`` where the chain has rotations only.

    Returns:
        Gradient of the rotations ``(K, C, J, F)`` and of the offsets ``(K, J, F)``.
    """
    found: list[Tensor] = []
    offsets: list[Tensor] = []
    rotation = rotation_gradients[-1]
    position = None if position_gradients is None else position_gradients[-1]
    for level in range(len(tree.levels) - 1, 0, -1):
        start, stop, parents = tree.levels[level]
        size = start - tree.levels[level - 1][0]
        parent_KRLF = parents_of(worlds[level - 1][:3], parents)
        local_KCLF = local_KCJF[:, :, start:stop]
        to_parent: Tensor | None = None
        if rotation is not None:
            local_gradient = parent_KRLF[:, 0, None] * rotation[:, 0]
            for row in (1, 2):
                local_gradient.addcmul_(parent_KRLF[:, row, None], rotation[:, row])
            to_parent = local_KCLF[:, 0, None] * rotation[0]
            for column in (1, 2):
                to_parent.addcmul_(local_KCLF[:, column, None], rotation[column])
            found.append(local_gradient)
        else:
            found.append(torch.zeros_like(local_KCLF[:, :3]))
        if position is not None:
            offset_gradient = parent_KRLF[:, 0] * position[0]
            offset_gradient.addcmul_(parent_KRLF[:, 1], position[1]).addcmul_(parent_KRLF[:, 2], position[2])
            offsets.append(offset_gradient)
            to_parent = (
                local_KCLF[:, 3, None] * position
                if to_parent is None
                else to_parent.addcmul_(local_KCLF[:, 3, None], position)
            )
            assert position_gradients is not None
            position = _add_to_parents(position_gradients[level - 1], position, parents, size)
        if to_parent is not None:
            rotation = _add_to_parents(rotation_gradients[level - 1], to_parent, parents, size)
        else:
            rotation = rotation_gradients[level - 1]
    found.append(torch.zeros_like(local_KCJF[:, :3, :1]) if rotation is None else rotation.transpose(0, 1))
    if position is None:
        return torch.cat(found[::-1], dim=2), None
    offsets.append(position)
    return torch.cat(found[::-1], dim=2), torch.cat(offsets[::-1], dim=1)


def sum_along(offsets_RJF: Tensor, tree: Tree) -> Tensor:
    """Sum of the offsets on each joint's way from the root, itself included: ``(R, J, F)``."""
    found = [offsets_RJF[:, :1]]
    for start, stop, parents in tree.levels[1:]:
        found.append(parents_of(found[-1], parents) + offsets_RJF[:, start:stop])
    return torch.cat(found, dim=1)


def sum_along_backward(gradient_RJF: Tensor, tree: Tree) -> Tensor:
    """Gradient of ``sum_along``: the sum over each joint's descendants, itself included."""
    start, stop, _ = tree.levels[-1]
    found = [gradient_RJF[:, start:stop]]
    for level in range(len(tree.levels) - 1, 0, -1):
        start, stop, _ = tree.levels[level - 1]
        found.append(_add_to_parents(gradient_RJF[:, start:stop], found[-1], tree.levels[level][2], stop - start))
    return torch.cat(found[::-1], dim=1)
