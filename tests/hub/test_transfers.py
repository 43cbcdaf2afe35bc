"""Downloads as they go in the world: redirects, tokens, refusals, busy servers, broken lines, full disks, crowds."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import huggingface_hub
import pytest

patient = pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 2,
    reason="older clients of the Hub say what is wrong where newer ones ask again",
)
FETCH = """
import logging
from cospeech.errors import CospeechError
from cospeech.hub import resolve
for asked in {asked!r}:
    try:
        print("FOLDER", resolve(asked[0], revision=asked[1]))
    except CospeechError as error:
        print("ERROR", error)
"""
WEIGHTS = os.urandom(1 << 20)
LARGE = WEIGHTS * 24
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
NAME = "someone/model"


def program(*asked: str, revision: str | None = None) -> str:
    return FETCH.format(asked=[(name, revision) for name in asked])


def fetch(hub, *asked: str, revision: str | None = None, **variables: str) -> list[str]:
    result = hub.run(program(*asked, revision=revision), **variables)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith(("FOLDER", "ERROR"))]


def weights_in(line: str) -> bytes:
    assert line.startswith("FOLDER"), line
    return (Path(line.removeprefix("FOLDER ")) / "model.safetensors").read_bytes()


def test_large_files_come_from_elsewhere_by_their_hash(hub) -> None:
    hub.repositories[NAME] = FILES
    (line,) = fetch(hub, NAME)
    assert weights_in(line) == WEIGHTS
    blob = os.path.realpath(Path(line.removeprefix("FOLDER ")) / "model.safetensors")
    assert Path(blob).name == hashlib.sha256(WEIGHTS).hexdigest()
    assert hub.count("GET /lfs/someone/model") == 1


def test_it_says_what_and_how_much_once(hub) -> None:
    hub.repositories[NAME] = FILES
    first, second = hub.run(program(NAME)), hub.run(program(NAME))
    assert re.search(r"Fetching someone/model: 2 files, 1\.0 MB, into .*hf_home/hub\.", first.stderr)
    assert "Fetching someone" not in second.stderr
    assert "Fetching someone" not in first.stdout
    assert hub.count("GET /lfs/") == 1


def test_kept_files_need_no_hub(hub) -> None:
    hub.repositories[NAME] = FILES
    (online,) = fetch(hub, NAME)
    asked = len(hub.requests)
    assert fetch(hub, NAME, HF_HUB_OFFLINE="1") == [online]
    assert len(hub.requests) == asked
    assert fetch(hub, NAME, HF_ENDPOINT="http://127.0.0.1:9") == [online]  # nobody answers there


def test_a_token_opens_a_private_repository(hub) -> None:
    hub.repositories[NAME], hub.private[NAME] = FILES, "hf_secret"
    assert "no such repository on the Hub (or it is private)" in fetch(hub, NAME)[0]
    assert "no such repository on the Hub (or it is private)" in fetch(hub, NAME, HF_TOKEN="hf_wrong")[0]
    assert weights_in(fetch(hub, NAME, HF_TOKEN="hf_secret")[0]) == WEIGHTS


def test_a_repository_that_moved_is_followed(hub) -> None:
    hub.repositories["someone/new"], hub.moved[NAME] = FILES, "someone/new"
    assert weights_in(fetch(hub, NAME)[0]) == WEIGHTS


def test_an_account_that_moved_is_known(hub) -> None:
    hub.repositories["haiyangliu0/emage_audio"] = FILES
    assert weights_in(fetch(hub, "H-Liu1997/emage_audio")[0]) == WEIGHTS
    assert weights_in(fetch(hub, "emage", HF_HUB_OFFLINE="1")[0]) == WEIGHTS


@patient
def test_a_hub_that_asks_to_wait_is_asked_again(hub) -> None:
    hub.repositories[NAME], hub.statuses = FILES, {"/lfs/": [429]}
    assert weights_in(fetch(hub, NAME)[0]) == WEIGHTS
    assert hub.count("GET /lfs/") == 2


@patient
def test_a_hub_out_of_service_is_named_and_the_next_call_goes_on(hub) -> None:
    hub.repositories[NAME], hub.statuses = FILES, {"/lfs/": [503]}
    first, second = fetch(hub, NAME, NAME)
    assert "503 Service Unavailable" in first
    assert weights_in(second) == WEIGHTS


def test_a_hub_that_stays_away_is_named(hub) -> None:
    hub.repositories[NAME], hub.statuses = FILES, {"api/models": [500] * 50, "resolve": [500] * 50}
    (line,) = fetch(hub, NAME)
    assert line.startswith("ERROR someone/model")


@patient
@pytest.mark.parametrize("sent", [2 << 20, 15 << 20])
def test_a_broken_line_is_taken_up_where_it_broke(hub, sent: int) -> None:
    """The client writes pieces of 10 MB, so what came of the piece that broke is asked for again."""
    hub.repositories[NAME], hub.cut_after = {**FILES, "model.safetensors": LARGE}, [sent]
    assert weights_in(fetch(hub, NAME)[0]) == LARGE
    ranges = [request.split()[-1] for request in hub.requests if "/lfs/" in request and "bytes=" in request]
    assert ranges == ([] if sent < 10 << 20 else ["bytes=10485760-"])


def test_a_slow_line_is_waited_for(hub) -> None:
    hub.repositories[NAME], hub.seconds_per_chunk = FILES, 0.02
    assert weights_in(fetch(hub, NAME)[0]) == WEIGHTS


def test_a_killed_download_leaves_nothing_that_looks_whole(hub) -> None:
    hub.repositories[NAME], hub.seconds_per_chunk = FILES, 0.2
    process = hub.start(program(NAME))
    while not hub.count("GET /lfs/"):
        time.sleep(0.02)
    time.sleep(0.4)
    process.kill()
    found = [path for path in (hub.cache / "hub").rglob("model.safetensors") if path.exists()]
    assert not found, "half a file stands under its name"
    offline = fetch(hub, NAME, HF_HUB_OFFLINE="1")
    assert offline[0].startswith("ERROR") or not (Path(offline[0].split(" ", 1)[1]) / "model.safetensors").exists()
    hub.seconds_per_chunk = 0.0
    assert weights_in(fetch(hub, NAME)[0]) == WEIGHTS


def test_two_processes_at_once(hub) -> None:
    hub.repositories[NAME], hub.seconds_per_chunk = FILES, 0.02
    results = [process.finish() for process in [hub.start(program(NAME)) for _ in range(2)]]
    lines = [line for each in results for line in each.stdout.splitlines() if line.startswith(("FOLDER", "ERROR"))]
    assert len(set(lines)) == 1
    assert weights_in(lines[0]) == WEIGHTS
    assert hub.count("GET /lfs/") == 1, "the second waits for the first"


def test_a_full_disk_is_named_and_can_be_emptied(hub) -> None:
    """Files may not grow beyond a limit, which is how a full quota looks to a program."""
    hub.repositories[NAME] = FILES
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(WEIGHTS) // 2},) * 2)\n"
    result = hub.run(limit + program(NAME))
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(("FOLDER", "ERROR"))]
    assert re.match(r"ERROR someone/model could not be fetched from the Hub: .*File too large", line)
    assert not [path for path in (hub.cache / "hub").rglob("model.safetensors") if path.exists()]
    assert weights_in(fetch(hub, NAME)[0]) == WEIGHTS


def test_no_room_is_found_out_before(hub) -> None:
    hub.repositories[NAME] = FILES
    full = "import shutil; shutil.disk_usage = lambda path: type('Usage', (), {'free': 1000})\n"
    result = hub.run(full + program(NAME))
    assert "ERROR someone/model takes 1 MB, and" in result.stdout
    assert not hub.count("GET /lfs/")


def test_a_known_sum_is_held_against_what_came(hub) -> None:
    hub.repositories["H-Liu1997/camn_audio"] = FILES
    change = """
import dataclasses
from cospeech.hub import registry
camn = registry.MODELS["camn"]
registry.MODELS["camn"] = dataclasses.replace(camn, sha256={{"model.safetensors": {digest!r}}})
"""
    wrong = hub.run(change.format(digest="0" * 64) + program("camn"))
    assert re.search(r"ERROR .*model\.safetensors is not the published file: its SHA-256 is", wrong.stdout)
    right = hub.run(change.format(digest=hashlib.sha256(WEIGHTS).hexdigest()) + program("camn"))
    assert weights_in(right.stdout.strip()) == WEIGHTS
    assert hub.count("GET /lfs/") == 2, "the wrong file was kept"


def test_another_commit_than_the_one_looked_at_is_told(hub) -> None:
    hub.repositories["H-Liu1997/emage_audio"] = FILES
    result = hub.run(program("emage"))
    assert "has changed since it was looked at (b04466b, now" in result.stderr
    assert "has changed" not in hub.run(program("emage")).stderr


def test_nothing_is_asked_for_at_import(hub) -> None:
    result = hub.run("import cospeech, cospeech.pipelines, cospeech.hub, cospeech.cli")
    assert result.returncode == 0
    assert not hub.requests
