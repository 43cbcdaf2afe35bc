"""Key tables: each key once, there and back, and everything at fault listed."""

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.hub.convert import Constant, Key, KeyTable

BLOCK = KeyTable([Key("qkv.{p}", "query.{p}", "key_value.{p}"), Key("out.{p}", "project.{p}")])
TABLE = KeyTable(
    [
        *BLOCK.within("net.{i}.", "blocks.{i}."),
        Key("both.weight", "left.weight", "right.weight", axis=1),
        Constant("frequencies", lambda ours: torch.arange(float(ours["left.weight"].shape[0]))),
    ]
)
SHAPES = {
    "blocks.0.query.weight": (2, 2),
    "blocks.0.key_value.weight": (4, 2),
    "blocks.0.project.weight": (2, 2),
    "left.weight": (3, 1),
    "right.weight": (3, 2),
}


def published(generator):
    return {
        "net.0.qkv.weight": torch.randn(6, 2, generator=generator),
        "net.0.out.weight": torch.randn(2, 2, generator=generator),
        "both.weight": torch.randn(3, 3, generator=generator),
        "frequencies": torch.arange(3.0),
    }


def test_shares_out_and_joins(generator):
    state = published(generator)
    ours = TABLE.to_ours(state, SHAPES)
    assert {key: tuple(tensor.shape) for key, tensor in ours.items()} == SHAPES
    assert torch.equal(ours["blocks.0.key_value.weight"], state["net.0.qkv.weight"][2:])
    assert torch.equal(ours["right.weight"], state["both.weight"][:, 1:])
    assert all(tensor.is_contiguous() for tensor in ours.values())
    back = TABLE.to_published(ours)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())


def test_everything_at_fault_is_listed(generator):
    state = published(generator)
    del state["net.0.out.weight"], state["frequencies"]
    state |= {"stray": torch.zeros(1), "net.1.out.weight": torch.zeros(1), "both.weight": torch.zeros(3, 4)}
    with pytest.raises(CheckpointError) as error:
        TABLE.to_ours(state, SHAPES)
    message = str(error.value)
    assert "unexpected stray" in message
    assert "unexpected net.1.out.weight" in message  # the rule exists, the model has no such block
    assert "misshapen both.weight: (3, 4) instead of (3, 3)" in message
    assert "missing net.0.out.weight" in message
    assert "missing frequencies" in message
    assert message.count("both.weight") == 1


def test_constants_are_checked(generator):
    state = published(generator)
    for value, problem in ((torch.ones(3), "other values than expected"), (torch.arange(4.0), "misshapen")):
        with pytest.raises(CheckpointError, match=f"{problem}.* frequencies|{problem} in frequencies"):
            TABLE.to_ours(state | {"frequencies": value}, SHAPES)


def test_to_published_needs_all_parts():
    ours = {key: torch.zeros(shape) for key, shape in SHAPES.items()}
    del ours["right.weight"]
    with pytest.raises(CheckpointError, match=r"both.weight also needs right.weight"):
        TABLE.to_published(ours)
    with pytest.raises(CheckpointError, match="No published name for stray"):
        TABLE.to_published({"stray": torch.zeros(1)})


def test_a_name_stands_for_one_component():
    with pytest.raises(CheckpointError, match=r"unexpected net.0.1.out.weight"):
        TABLE.to_ours({"net.0.1.out.weight": torch.zeros(1)}, {})


def test_two_names_for_one_tensor_are_told():
    table = KeyTable([Key("old.{p}", "layer.{p}"), Key("new.{p}", "layer.{p}")])
    with pytest.raises(CheckpointError, match=r"new.weight comes twice: another key has become layer.weight"):
        table.to_ours({"old.weight": torch.zeros(2), "new.weight": torch.ones(2)}, {"layer.weight": (2,)})
