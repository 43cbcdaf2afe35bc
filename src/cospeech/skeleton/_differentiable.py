"""The products of forward kinematics and their derivatives, in blocks of frames that fit the cache.

A ``block`` is the formula; ``forward`` and ``backward`` take it through the frames, block by block, and keep nothing
but the inputs between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cospeech.skeleton._frames_last import (
    Tree,
    chain,
    chain_backward,
    sum_along,
    sum_along_backward,
)

__all__ = ["GlobalPositions", "GlobalToLocal", "LocalPositions", "LocalToGlobal", "apply_kinematics"]

# Joints times frames of a block and thread: about a megabyte for each array of rotations. Smaller blocks spend their
# time on calls, larger ones on memory (measured flat from 24k to 48k).
_BLOCK = 32768

# Rotations are `(N, J, 3, 3)`, offsets from the parent `(J, 3)` or `(N, J, 3)` (the root's: its rest position),
# translations `(N, 3)`. A `block` takes frames that fit the cache and returns `(F, J * 3)` or `(F, J * 9)`.


def apply_kinematics(function: Any, rotations: Tensor, joint_tree: Tree, *arguments: Tensor | None) -> Tensor:
    """One of the functions below, as plain operations where a compiler looks on."""
    result: Tensor
    if torch.compiler.is_compiling():  # one block of plain operations, which the compiler fuses and differentiates
        result = function.block(rotations, joint_tree, *arguments).to(rotations.dtype)
    else:
        result = function.apply(rotations, joint_tree, *arguments)
    return result


def _blocks(rotations: Tensor) -> Iterator[slice]:
    frames, joints = rotations.shape[:2]
    size = _BLOCK * torch.get_num_threads() if rotations.device.type == "cpu" else 2**24
    size = max(1, size // joints)
    return (slice(start, start + size) for start in range(0, frames, size))


def _rows(x: Tensor, extra: int = 0) -> Tensor:
    """``(F, ...)`` as ``(rows, F)``, followed by ``extra`` rows to be filled; half precision becomes float32."""
    flat = x.reshape(x.shape[0], x.shape[1:].numel())
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    rows = flat.new_empty(flat.shape[1] + extra, flat.shape[0], dtype=dtype)
    rows[: flat.shape[1]].copy_(flat.t())
    return rows


def _sorted_transforms(rotations: Tensor, joint_tree: Tree, offsets: Tensor, translation: Tensor | None) -> Tensor:
    """Rotations and offsets as ``(K, 4, J, F)``, joints sorted."""
    frames, joints = rotations.shape[:2]
    rows = _rows(rotations, extra=3 * joints)
    rows[9 * joints :].copy_(offsets.reshape(-1, 3 * joints).t())
    if translation is not None:
        rows[9 * joints : 9 * joints + 3] += translation.t()
    return rows.index_select(0, joint_tree.sort["transforms"]).view(3, 4, joints, frames)


def _sorted(x: Tensor, joint_tree: Tree, layout: str) -> Tensor:
    """``(F, J, ...)`` as ``(..., J, F)`` in one of the tree's layouts."""
    return _rows(x).index_select(0, joint_tree.sort[layout]).view(*x.shape[2:], x.shape[1], x.shape[0])


def _unsorted(x: Tensor, joint_tree: Tree, layout: str) -> Tensor:
    """``(..., J, F)`` in one of the tree's layouts as ``(F, J * ...)``."""
    return x.reshape(-1, x.shape[-1]).index_select(0, joint_tree.unsort[layout]).t()


def _frames(x: Tensor | None, frames: slice) -> Any:
    return None if x is None else x[frames]


class LocalToGlobal(torch.autograd.Function):
    """World rotations from local ones."""

    @staticmethod
    def block(local: Tensor, joint_tree: Tree) -> Tensor:
        worlds = chain(_sorted(local, joint_tree, "rows"), joint_tree)
        return _unsorted(torch.cat(worlds, dim=2), joint_tree, "columns")

    @staticmethod
    def forward(ctx: Any, local: Tensor, joint_tree: Tree) -> Tensor:
        ctx.save_for_backward(local)
        ctx.joint_tree = joint_tree
        result = local.new_empty(local.shape[0], 9 * local.shape[1])
        for frames in _blocks(local):
            result[frames] = LocalToGlobal.block(local[frames], joint_tree)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (local,), joint_tree = ctx.saved_tensors, ctx.joint_tree
        result = torch.empty_like(gradient)
        for frames in _blocks(local):
            local_KCJF = _sorted(local[frames], joint_tree, "rows")
            gradient_CRJF = _sorted(gradient[frames].view_as(local[frames]), joint_tree, "columns")
            by_level = [gradient_CRJF[:, :, start:stop] for start, stop, _ in joint_tree.levels]
            found, _ = chain_backward(local_KCJF, chain(local_KCJF, joint_tree), joint_tree, by_level, None)
            result[frames] = _unsorted(found, joint_tree, "rows")
        return result.view_as(local), None


class GlobalToLocal(torch.autograd.Function):
    """Local rotations from world ones."""

    @staticmethod
    def block(world: Tensor, joint_tree: Tree) -> Tensor:
        world_JKCF = _rows(world).view(*world.shape[1:], world.shape[0])
        parent_JKRF = world_JKCF.index_select(0, joint_tree.parents)
        local = parent_JKRF[:, 0, :, None] * world_JKCF[:, 0, None]
        for k in (1, 2):
            local.addcmul_(parent_JKRF[:, k, :, None], world_JKCF[:, k, None])
        local[0] = world_JKCF[0]
        return local.view(-1, world.shape[0]).t()

    @staticmethod
    def forward(ctx: Any, world: Tensor, joint_tree: Tree) -> Tensor:
        ctx.save_for_backward(world)
        ctx.joint_tree = joint_tree
        result = world.new_empty(world.shape[0], 9 * world.shape[1])
        for frames in _blocks(world):
            result[frames] = GlobalToLocal.block(world[frames], joint_tree)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (world,), parents = ctx.saved_tensors, ctx.joint_tree.parents
        result = torch.empty_like(gradient)
        for frames in _blocks(world):
            shape = (*world.shape[1:], world[frames].shape[0])
            world_JKCF = _rows(world[frames]).view(shape)
            gradient_JRCF = _rows(gradient[frames]).view(shape)
            parent_JKRF = world_JKCF.index_select(0, parents)
            found = parent_JKRF[:, :, 0, None] * gradient_JRCF[:, None, 0]
            to_parent = world_JKCF[:, :, None, 0] * gradient_JRCF[:, None, :, 0]
            for k in (1, 2):
                found.addcmul_(parent_JKRF[:, :, k, None], gradient_JRCF[:, None, k])
                to_parent.addcmul_(world_JKCF[:, :, None, k], gradient_JRCF[:, None, :, k])
            found[0] = gradient_JRCF[0]
            found.index_add_(0, parents[1:], to_parent[1:])
            result[frames] = found.view(-1, shape[-1]).t()
        return result.view_as(world), None


class LocalPositions(torch.autograd.Function):
    """Joint positions from local rotations."""

    @staticmethod
    def block(local: Tensor, joint_tree: Tree, offsets: Tensor, translation: Tensor | None) -> Tensor:
        transforms_KCJF = _sorted_transforms(local, joint_tree, offsets, translation)
        worlds = chain(transforms_KCJF, joint_tree, positions_only=True)
        return _unsorted(torch.cat([world[-1] for world in worlds], dim=1), joint_tree, "vectors")

    @staticmethod
    def forward(ctx: Any, local: Tensor, joint_tree: Tree, offsets: Tensor, translation: Tensor | None) -> Tensor:
        ctx.save_for_backward(local, offsets, translation)
        ctx.joint_tree = joint_tree
        result = local.new_empty(local.shape[0], 3 * local.shape[1])
        for frames in _blocks(local):
            its_offsets = offsets[frames] if offsets.ndim == 3 else offsets
            result[frames] = LocalPositions.block(local[frames], joint_tree, its_offsets, _frames(translation, frames))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor | None]:
        (local, offsets, translation), joint_tree = ctx.saved_tensors, ctx.joint_tree
        to_local, to_translation = local.new_empty(local.shape[0], 9 * local.shape[1]), None
        to_offsets = torch.zeros_like(offsets)
        if translation is not None:
            to_translation = torch.empty_like(translation)
        for frames in _blocks(local):
            its_offsets = offsets[frames] if offsets.ndim == 3 else offsets
            # Where the root stands does not change any derivative but its own, so translation is left out.
            transforms_KCJF = _sorted_transforms(local[frames], joint_tree, its_offsets, None)
            worlds = chain(transforms_KCJF, joint_tree, positions_only=True)
            gradient_RJF = _sorted(gradient[frames].view(-1, local.shape[1], 3), joint_tree, "vectors")
            by_level = [gradient_RJF[:, start:stop] for start, stop, _ in joint_tree.levels]
            none = [None] * len(by_level)
            rotations, positions = chain_backward(transforms_KCJF, worlds, joint_tree, none, by_level)
            assert positions is not None
            to_local[frames] = _unsorted(rotations, joint_tree, "rows")
            _give_offsets(to_offsets, to_translation, frames, positions, joint_tree)
        return to_local.view_as(local), None, to_offsets, to_translation


class GlobalPositions(torch.autograd.Function):
    """Joint positions from world rotations."""

    @staticmethod
    def block(world: Tensor, joint_tree: Tree, offsets: Tensor, translation: Tensor | None) -> Tensor:
        offsets_KJF = _sorted(offsets.view(-1, *offsets.shape[-2:]), joint_tree, "vectors")
        parent_KRJF = _sorted(world, joint_tree, "parents")
        turned = parent_KRJF[0] * offsets_KJF[0]
        turned.addcmul_(parent_KRJF[1], offsets_KJF[1]).addcmul_(parent_KRJF[2], offsets_KJF[2])
        turned[:, 0] = offsets_KJF[:, 0]
        if translation is not None:
            turned[:, 0] += translation.t()
        return _unsorted(sum_along(turned, joint_tree), joint_tree, "vectors")

    @staticmethod
    def forward(ctx: Any, world: Tensor, joint_tree: Tree, offsets: Tensor, translation: Tensor | None) -> Tensor:
        ctx.save_for_backward(world, offsets, translation)
        ctx.joint_tree = joint_tree
        result = world.new_empty(world.shape[0], 3 * world.shape[1])
        for frames in _blocks(world):
            its_offsets = offsets[frames] if offsets.ndim == 3 else offsets
            result[frames] = GlobalPositions.block(world[frames], joint_tree, its_offsets, _frames(translation, frames))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor | None]:
        (world, offsets, translation), joint_tree = ctx.saved_tensors, ctx.joint_tree
        to_world, to_translation = world.new_empty(world.shape[0], 9 * world.shape[1]), None
        to_offsets = torch.zeros_like(offsets)
        if translation is not None:
            to_translation = torch.empty_like(translation)
        for frames in _blocks(world):
            its_offsets = offsets[frames] if offsets.ndim == 3 else offsets[None]
            offsets_KJF = _sorted(its_offsets, joint_tree, "vectors")
            parent_KRJF = _sorted(world[frames], joint_tree, "parents")
            gradient_RJF = _sorted(gradient[frames].view(-1, world.shape[1], 3), joint_tree, "vectors")
            below_RJF = sum_along_backward(gradient_RJF, joint_tree)
            to_parent = offsets_KJF[:, None, 1:] * below_RJF[:, 1:]
            turned = torch.zeros_like(parent_KRJF).index_add_(2, joint_tree.sorted_parents[1:], to_parent)
            to_world[frames] = _unsorted(turned, joint_tree, "columns")
            positions = (parent_KRJF * below_RJF).sum(1)
            positions[:, 0] = below_RJF[:, 0]
            _give_offsets(to_offsets, to_translation, frames, positions, joint_tree)
        return to_world.view_as(world), None, to_offsets, to_translation


def _give_offsets(
    to_offsets: Tensor, to_translation: Tensor | None, frames: slice, gradient_KJF: Tensor, joint_tree: Tree
) -> None:
    """Put a block's gradient of the offsets where it belongs; translation moves the root's offset."""
    if to_translation is not None:
        to_translation[frames] = gradient_KJF[:, 0].t()
    if to_offsets.ndim == 3:
        to_offsets[frames] = _unsorted(gradient_KJF, joint_tree, "vectors").view_as(to_offsets[frames])
    else:
        to_offsets += _unsorted(gradient_KJF.sum(-1, keepdim=True), joint_tree, "vectors").view_as(to_offsets)
