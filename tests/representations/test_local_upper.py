import pytest
import torch

from cospeech.representations import LOCAL_UPPER_JOINTS, scatter_joints, upsample_linear


def test_scattered_joints_are_where_they_belong():
    some = torch.randn(2, 5, 43, 3)
    whole = scatter_joints(some)
    assert torch.equal(whole[..., list(LOCAL_UPPER_JOINTS), :], some)
    others = [joint for joint in range(55) if joint not in LOCAL_UPPER_JOINTS]
    assert not whole[..., others, :].any()
    assert list(LOCAL_UPPER_JOINTS) == sorted(LOCAL_UPPER_JOINTS)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 2, 10, 5000])
def test_straight_lines_stay_straight(num_frames, factor):
    line = torch.arange(num_frames, dtype=torch.float64)[:, None]
    expected = torch.linspace(0, num_frames - 1, factor * num_frames, dtype=torch.float64)[:, None]
    torch.testing.assert_close(upsample_linear(line, factor), expected)


def test_errors():
    with pytest.raises(ValueError, match="at least 1 long; got 0 and 2"):
        upsample_linear(torch.zeros(0, 3), 2)
    with pytest.raises(ValueError, match=r"`axis_angle` must have shape \(\.\.\., 43, 3\)"):
        scatter_joints(torch.zeros(5, 55, 3))
