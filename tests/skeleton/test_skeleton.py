"""What a skeleton accepts, refuses and derives."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch

from cospeech.skeleton import SMPLX, Skeleton


def arms(**changes: object) -> Skeleton:
    fields = {
        "names": ("root", "left", "right", "left_hand", "right_hand"),
        "parents": (-1, 0, 0, 1, 2),
        "rest_joints": torch.arange(15.0).view(5, 3),
        "mirror_pairs": ((1, 2), (3, 4)),
        "groups": {"hands": (3, 4)},
    }
    return Skeleton(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": (), "parents": (), "rest_joints": torch.zeros(0, 3)}, "at least one joint"),
        ({"names": ("root", "left", "left", "a", "b")}, "'left' more than once"),
        ({"parents": (-1, 0)}, r"one index per name \(5\); got 2"),
        ({"parents": (-1, -1, 0, 1, 2)}, r"one root .* got 2: \['root', 'left'\]"),
        ({"parents": (0, 0, 0, 1, 2)}, "got 0"),
        ({"parents": (-1, 3, 0, 0, 2)}, r"joint 1 \('left'\) has parent 3"),
        ({"parents": (-1, 0, 0, 1, -2)}, "has parent -2"),
        ({"parents": (1, -1, 0, 1, 2)}, r"joint 0 \('root'\) has parent 1"),
        ({"rest_joints": torch.zeros(4, 3)}, r"\(5, 3\); got \(4, 3\)"),
        ({"rest_joints": torch.zeros(5, 3, dtype=torch.long)}, "floating point; got torch.int64"),
        ({"rest_joints": torch.full((5, 3), float("nan"))}, "finite"),
        ({"mirror_pairs": ((1, 5),)}, "joints 0 to 4; got 5"),
        ({"mirror_pairs": ((1, 2), (2, 3))}, "at most once"),
        ({"mirror_pairs": ((1, 1),)}, "at most once"),
        ({"mirror_pairs": ((1, 4),)}, "keep the tree"),
        ({"mirror_pairs": ((3, 4),)}, "keep the tree: 'left_hand' and 'right_hand'"),
        ({"groups": {"hands": (3, 9)}}, r"groups\['hands'\].*got 9"),
        ({"groups": {"hands": (3, 3)}}, "at most once"),
    ],
)
def test_refuses_what_is_no_skeleton(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arms(**changes)


def test_is_a_value() -> None:
    rest = torch.arange(15.0).view(5, 3).requires_grad_()
    skeleton = arms(rest_joints=rest, names=["root", "left", "right", "left_hand", "right_hand"])
    assert skeleton == arms()
    assert hash(skeleton) == hash(arms())
    with torch.no_grad():
        rest.zero_()
    assert skeleton == arms()
    assert not skeleton.rest_joints.requires_grad
    with pytest.raises(FrozenInstanceError):
        skeleton.names = ()
    for copied in (pickle.loads(pickle.dumps(skeleton)), copy.deepcopy(skeleton)):
        assert copied == skeleton
    assert skeleton != arms(groups={})
    assert skeleton != arms(mirror_pairs=())
    assert skeleton != arms(rest_joints=rest)
    assert skeleton != "skeleton"
    assert len({skeleton, arms(), arms(mirror_pairs=())}) == 2


def test_derives_levels_and_sides() -> None:
    skeleton = arms()
    assert skeleton.num_joints == 5
    assert skeleton.levels == ((0,), (1, 2), (3, 4))
    assert skeleton.depth == 2
    assert skeleton.mirror_permutation == (0, 2, 1, 4, 3)
    assert skeleton.index("left_hand") == 3
    with pytest.raises(ValueError, match="Unknown joint 'foot'; choose from root, left"):
        skeleton.index("foot")
    assert repr(skeleton) == "Skeleton(5 joints, depth 2, root 'root')"


def test_one_joint() -> None:
    single = arms().subset(["root"])
    assert single.levels == ((0,),)
    assert single.depth == 0
    assert single.mirror_pairs == ()
    assert single.groups == {}


def test_subset_keeps_order_pairs_and_groups() -> None:
    part = arms().subset(["root", "right", "left", "right_hand"])
    assert part.parents == (-1, 0, 0, 1)
    assert part.mirror_pairs == ((2, 1),)
    assert part.groups == {"hands": (3,)}
    assert torch.equal(part.rest_joints, arms().rest_joints[[0, 2, 1, 4]])
    with pytest.raises(ValueError, match="'right_hand' must have a counterpart"):
        _ = part.mirror_permutation
    for names in (["root", "left_hand"], ["root", "left_hand", "left"]):
        with pytest.raises(ValueError, match="'left_hand' needs 'left'"):
            arms().subset(names)
    with pytest.raises(ValueError, match="Unknown joint"):
        arms().subset(["tail"])


def test_other_rest_joints() -> None:
    taller = SMPLX.with_rest_joints(SMPLX.rest_joints.double() * 1.1)
    assert taller.names == SMPLX.names
    assert taller.rest_joints.dtype == torch.float64
    with pytest.raises(ValueError, match="rest_joints"):
        SMPLX.with_rest_joints(torch.zeros(22, 3))
