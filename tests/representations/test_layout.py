from __future__ import annotations

import pytest
import torch

from cospeech.representations import Layout

LAYOUT = Layout({"rotations": 12, "translation": 3, "contact": 1})


def test_parts_lie_one_behind_the_other():
    assert LAYOUT.dim == 16
    assert [LAYOUT[name] for name in LAYOUT.sizes] == [slice(0, 12), slice(12, 15), slice(15, 16)]


@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
def test_join_undoes_split(leading):
    features = torch.randn(*leading, 16)
    parts = LAYOUT.split(features)
    assert {name: part.shape[-1] for name, part in parts.items()} == LAYOUT.sizes
    assert torch.equal(LAYOUT.join(dict(reversed(parts.items()))), features)


def test_messages():
    with pytest.raises(ValueError, match=r"`features` must have shape \(\.\.\., 16\); got \(2, 15\)"):
        LAYOUT.split(torch.zeros(2, 15))
    with pytest.raises(ValueError, match="`parts` must be rotations, translation, contact; got rotations"):
        LAYOUT.join({"rotations": torch.zeros(12)})
    with pytest.raises(ValueError, match=r"`contact` must have shape \(\.\.\., 1\); got \(2,\)"):
        LAYOUT.join(LAYOUT.split(torch.zeros(16)) | {"contact": torch.zeros(2)})
    with pytest.raises(KeyError, match="face"):
        LAYOUT["face"]
