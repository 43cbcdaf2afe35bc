"""Small functions around EMAGE, CaMN and DisCo against the published programs."""

from __future__ import annotations

import pytest
import torch

from cospeech.representations import LOCAL_UPPER_JOINTS, emage_foot_contact, scatter_joints, upsample_linear


@pytest.mark.case("emage_utils")
def test_upsampling(case):
    poses = case.inputs["poses"]
    torch.testing.assert_close(upsample_linear(poses, 2), case.outputs["upsample2"], rtol=0, atol=1e-6)
    expected = case.outputs["upsample3_first9_64"]
    actual = upsample_linear(poses[:, : expected.shape[1]].double(), 3)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.case("emage_utils")
def test_local_upper(case):
    poses = case.inputs["poses"].reshape(len(case.inputs["poses"]), -1, 3)
    selected = poses[:, list(LOCAL_UPPER_JOINTS)]
    assert torch.equal(selected.flatten(1), case.outputs["select_local_upper"])
    assert torch.equal(scatter_joints(selected).flatten(1), case.outputs["recover_local_upper"])


@pytest.mark.case("emage_utils")
def test_foot_contact(case):
    assert torch.equal(emage_foot_contact(case.inputs["foot_joints"]), case.outputs["foot_contact"].bool())
