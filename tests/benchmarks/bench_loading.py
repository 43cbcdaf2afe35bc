"""Loading EMAGE's published networks (139 M and 14 M parameters): time, and peak memory, against torch.load and a copy.

python tests/benchmarks/bench_loading.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from cospeech.models import EmageConfig, EmageGlobalMotion, EmageTransformer, EmageVQVAE, EmageVQVAEConfig
from cospeech.pipelines import EmagePipeline, make_emage_codec

ROUNDS = 3
# Each way in a process of its own, which has done its imports before the clock starts. The peak is taken after every
# weight was read once, so that mapped pages count. (Not ru_maxrss, which a child inherits from its parent.)
WORKER = """
import sys, time, torch
torch.set_num_threads(1)
from pathlib import Path
from cospeech.hub import load_model, load_published
from cospeech.hub.convert.emage import _table, transformer_from_published
from cospeech.models import EmageConfig, EmageTransformer
from cospeech.pipelines import EmagePipeline, load_pipeline
folder, way = Path(sys.argv[1]), sys.argv[2]

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

before, start, cpu = peak(), time.perf_counter(), time.process_time()
file = folder / "published" / "pytorch_model.bin"
if way == "torch.load, then a copy of each tensor":
    kept = {key: tensor.clone() for key, tensor in torch.load(file, weights_only=True).items()}
elif way == "model made, torch.load, load_state_dict":
    kept = EmageTransformer(EmageConfig())
    state, wanted = torch.load(file, weights_only=True), kept.state_dict()
    kept.load_state_dict(_table(4).to_ours(
        {key: value for key, value in state.items() if "_layer." not in key and key != "position_embeddings.pe"},
        {key: value.shape for key, value in wanted.items()}))
elif way == "torch.load alone":
    kept = torch.load(file, weights_only=True)
elif way == "ours, published, from the Hub's cache":
    snapshot = folder / "models--x--emage" / "snapshots" / "c" / "pytorch_model.bin"
    kept = transformer_from_published(load_published(snapshot), copy=False).model
elif way == "ours, published, from a folder":
    kept = transformer_from_published(load_published(file), copy=False).model
elif way == "ours, own format, from a folder":
    kept = load_model(EmageTransformer, folder / "own" / "transformer")
else:
    kept = load_pipeline(folder / "published")
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
kept = kept.transformer if hasattr(kept, "transformer") else kept
for tensor in (kept if isinstance(kept, dict) else kept.state_dict()).values():
    tensor.sum()
print(seconds, cpu, peak() - before)
"""
BASELINE = "torch.load, then a copy of each tensor"
WAYS = [
    BASELINE,
    "model made, torch.load, load_state_dict",
    "torch.load alone",
    "ours, published, from the Hub's cache",
    "ours, published, from a folder",
    "ours, own format, from a folder",
    "the whole pipeline, published, from a folder",
]


def published_size() -> EmagePipeline:
    """EMAGE at its published size, untrained."""
    sizes = {"face": (106, 2), "upper": (78, 2), "hands": (180, 2), "lower": (61, 4)}
    networks = {
        part: EmageVQVAE(EmageVQVAEConfig(motion_dim=motion_dim, num_stages=num_stages))
        for part, (motion_dim, num_stages) in sizes.items()
    }
    global_motion = EmageGlobalMotion(EmageVQVAEConfig(motion_dim=61, num_stages=4))
    return EmagePipeline(EmageTransformer(EmageConfig()).eval(), make_emage_codec(networks, global_motion))


def main() -> None:
    """Print a row for each way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = published_size()
        pipeline.save_published(folder / "published")
        pipeline.save_pretrained(folder / "own")
        del pipeline
        repository = folder / "models--x--emage"
        for place in ("blobs", "snapshots/c"):
            (repository / place).mkdir(parents=True)
        (repository / "blobs" / "hash").hardlink_to(folder / "published" / "pytorch_model.bin")
        (repository / "snapshots" / "c" / "pytorch_model.bin").symlink_to("../../blobs/hash")
        runs: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                run = [sys.executable, "-c", WORKER, str(folder), way]
                out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
                runs[way].append([float(number) for number in out.split()])
        size = (folder / "published" / "pytorch_model.bin").stat().st_size / 2**20
    print(f"The transformer's file has {size:.0f} MB and lies in the file cache. One thread; medians of {ROUNDS}")
    print("processes each, which took turns; ratios are of CPU time.\n")
    print("| way | seconds | CPU seconds | of the first | of the second | peak MB | copies of the file |")
    print("|---|---|---|---|---|---|---|")
    first, second = (median(cpu for _, cpu, _ in runs[way]) for way in WAYS[:2])
    for way, numbers in runs.items():
        wall, cpu, peak = (median(column) for column in zip(*numbers, strict=True))
        shares = f"{cpu / first:.2f} | {cpu / second:.2f}"
        print(f"| {way} | {wall:.2f} | {cpu:.2f} | {shares} | {peak:.0f} | {peak / size:.2f} |")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
