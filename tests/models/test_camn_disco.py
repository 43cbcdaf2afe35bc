import pytest
import torch

from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel

SMALL = {"hidden_dim": 12, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}


def models():
    torch.manual_seed(0)
    return [CamnModel(CamnConfig(**SMALL)).eval(), DiscoModel(DiscoConfig(**SMALL)).eval()]


def motion_of(output):
    return output if isinstance(output, torch.Tensor) else output.motion


@pytest.mark.parametrize("model", models(), ids=["camn", "disco"])
class TestBoth:
    @pytest.mark.parametrize(("num_samples", "num_frames"), [(160000, 149), (48000, 45)])
    def test_clock(self, model, num_samples, num_frames):
        with torch.inference_mode():
            motion = motion_of(model(torch.zeros(1, num_samples), torch.tensor([0])))
        assert motion.shape == (1, num_frames, 258)

    def test_seed_and_speaker_are_looked_at(self, model):
        audio, speaker = torch.randn(2, 16000), torch.tensor([0, 0])
        plain = motion_of(model(audio, speaker))
        zeros = motion_of(model(audio, speaker, torch.zeros(2, 4, 258)))
        assert torch.equal(plain, zeros)
        assert not torch.equal(plain, motion_of(model(audio, speaker, torch.ones(2, 4, 258))))
        assert not torch.equal(plain, motion_of(model(audio, speaker + 1)))

    def test_clips_of_a_batch_do_not_mix(self, model):
        audio, speaker = torch.randn(3, 16000), torch.tensor([0, 1, 0])
        whole, alone = motion_of(model(audio, speaker)), motion_of(model(audio[1:2], speaker[1:2]))
        torch.testing.assert_close(whole[1:2], alone, rtol=1e-4, atol=1e-5)

    def test_every_parameter_learns(self, model):
        output = model(torch.randn(2, 16000), torch.tensor([0, 1]))
        motion_of(output).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_errors(self, model):
        with pytest.raises(ValueError, match=r"`seed` must have shape \(1, 4, 258\); got \(1, 5, 258\)"):
            model(torch.zeros(1, 16000), torch.tensor([0]), torch.zeros(1, 5, 258))
        with pytest.raises(ValueError, match=r"`audio` must have shape \(B, S\)"):
            model(torch.zeros(1, 1, 16000), torch.tensor([0]))


def test_content_is_a_choice_between_two():
    model = models()[1]
    with torch.no_grad():
        model.choice.contract.weight.zero_()
        model.choice.contract.bias.copy_(torch.tensor([-40.0, 40.0]))
        audio = torch.randn(1, 16000)
        content = model(audio, torch.tensor([0])).content
        torch.testing.assert_close(content, model.contents[1](model.wave(audio[:, None])))
