"""What batches are given."""

import io
import wave

import pytest
import torch

from cospeech.errors import AudioError
from cospeech.pipelines.arguments import one_each, read_requests


def test_one_each_repeats_the_default_or_gives_back_what_it_got():
    assert one_each("seeds", None, 3, default=7) == [7, 7, 7]
    assert one_each("seeds", [1, 2], 2, default=7) == [1, 2]


def test_one_each_names_the_list_that_does_not_fit():
    with pytest.raises(ValueError, match="`seeds` must be one for each of the 3 clips; got 2"):
        one_each("seeds", [1, 2], 3, default=0)


def read(audios, **options):
    options = {"speakers": None, "seeds": None, "source_rate_hz": 16000, **options}
    return read_requests(audios, 8000, **options)


def test_a_request_can_be_heard_again_and_again_though_its_file_was_open():
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((3000 * torch.randn(8000)).to(torch.int16).numpy().tobytes())
    data.seek(0)
    (request,) = read([data], speakers=[3], seeds=[5], source_rate_hz=None)
    first, again = torch.cat(list(request.blocks())), torch.cat(list(request.blocks()))
    assert (request.speaker, request.seed, request.num_samples) == (3, 5, len(first))
    assert torch.equal(first, again)


def test_one_bad_clip_is_refused_before_the_others_are_used():
    with pytest.raises(AudioError):
        read([torch.randn(16000), torch.zeros(16000)])
