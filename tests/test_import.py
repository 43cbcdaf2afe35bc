"""Importing is quiet and light."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import os, sys, socket, time
import torch, numpy
numpy.random.seed(0)

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened on import")

socket.socket = refuse
def state():
    return (dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.random.get_rng_state().tolist(), numpy.random.get_state()[1].tolist())

before = state()
start = time.process_time()
import cospeech
seconds = time.process_time() - start
assert before == state(), "importing changed global state"
optional = {"soundfile", "librosa", "transformers", "matplotlib", "accelerate", "lmdb", "smplx", "huggingface_hub",
            "scipy.signal", "scipy.io", "scipy.spatial"}
print(seconds, *sorted(optional & set(sys.modules)))
"""


def test_import_is_light_and_changes_nothing() -> None:
    runs = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        seconds, *optional = result.stdout.split()
        assert optional == []
        runs.append(float(seconds))
    assert min(runs) < 0.3, f"`import cospeech` took {min(runs):.2f} s of CPU beyond `import torch`"


def test_every_page_imports_without_optional_packages() -> None:
    """No page needs an extra to be imported, only to be used."""
    probe = """
import sys, pkgutil, importlib
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"soundfile", "librosa", "transformers", "matplotlib", "accelerate", "lmdb"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import cospeech
for page in pkgutil.walk_packages(cospeech.__path__, "cospeech."):
    if not page.name.endswith("__main__"):
        importlib.import_module(page.name)
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == ""
