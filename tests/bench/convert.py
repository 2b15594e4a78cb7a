"""Times conversions: `convert.py RANKFOLD MODEL.safetensors FOLDER`, with a python that has torch and safetensors."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

PROGRAM = "import sys, torch; from safetensors.torch import save_file; save_file(torch.load(sys.argv[1]), sys.argv[2])"


def best(out: Path, act: Callable[[], object]) -> float:
    """The least seconds of five runs, each without the output of the one before."""
    seconds = []
    for _ in range(5):
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def run(*arguments: object) -> None:
    """Runs a program and waits for it."""
    subprocess.run([str(argument) for argument in arguments], check=True, stdout=subprocess.DEVNULL)


def main(rankfold: str, model: str, folder: Path) -> None:
    """Prints a line a file."""
    out = folder / "out"
    tensors = load_file(model)
    torch.save(tensors, folder / "zip.bin")
    torch.save(tensors, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    for name in ["zip.bin", "legacy.bin"]:
        file = folder / name
        ours = best(out, lambda: run(rankfold, "-q", "convert", file, out))
        program = best(out, lambda: run(sys.executable, "-c", PROGRAM, file, out))
        warm = best(out, lambda: save_file(torch.load(file), out))
        print(f"{name}: rankfold {ours:.3f} s, program of torch {program:.3f} s, torch once loaded {warm:.3f} s")
    table = folder / "table.npy"
    np.save(table, np.random.default_rng(0).standard_normal((400_000, 100)).astype("f4"))
    ours = best(out, lambda: run(rankfold, "-q", "convert", table, out))
    copy = best(out, lambda: run("cp", table, out))
    flushed = best(out, lambda: (run("cp", table, out), run("sync", out)))
    print(f"table.npy: rankfold {ours:.3f} s, cp {copy:.3f} s, cp and sync {flushed:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
