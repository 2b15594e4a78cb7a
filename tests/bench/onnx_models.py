"""Sizes and latencies of an ONNX model and its compressed forms: `onnx_models.py RANKFOLD MODEL.onnx`, in one run.

Compresses the model by half, with F16 factors, with low-rank codes and with fixed-point codes; runs all of them with
stock onnxruntime, in turns, on 1 x 32 and 32 x 128 tokens; prints a Markdown table of the least time of each, with
the peak of anonymous memory of each conversion.
"""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy
import onnxruntime

METHODS = {
    "`low-rank`, `--reduction 0.5`": ["--reduction", "0.5"],
    "the same, `--dtype f16`": ["--reduction", "0.5", "--dtype", "f16"],
    "`low-rank-fixed`, rank 189, 8 bits": "--method low-rank-fixed --rank 189 --left-bits 8 --right-bits 8".split(),
    "`fixed-point`, 8 bits": ["--method", "fixed-point", "--bits", "8"],
}
SHAPES = [(1, 32), (32, 128)]
# Turns, and calls in each.
TURNS, CALLS = 7, {(1, 32): 20, (32, 128): 1}


def anonymous(process: int) -> int:
    """Anonymous memory of a process in bytes."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def convert(program: str, model: Path, out: Path, flags: list[str]) -> int:
    """Compresses, and gives the peak of anonymous memory."""
    peak, stop = 0, threading.Event()
    with subprocess.Popen([program, "compress", model, "-o", out, "--quiet", *flags]) as process:

        def watch() -> None:
            nonlocal peak
            while not stop.wait(0.005):
                peak = max(peak, anonymous(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        stop.set()
        watcher.join()
    if code:
        sys.exit(f"{flags}: exit code {code}")
    return peak


def inputs(session: onnxruntime.InferenceSession, shape: tuple[int, int]) -> dict[str, numpy.ndarray]:
    """Random tokens, all of them attended to."""
    random = numpy.random.default_rng(5)
    ids = random.integers(0, 30000, shape)
    return {one.name: numpy.ones(shape, int) if "mask" in one.name else ids for one in session.get_inputs()}


def main(program: str, source: str) -> None:
    """Prints the table."""
    model = Path(source)
    with tempfile.TemporaryDirectory() as folder:
        files, memory = {"original": model}, {}
        for number, (label, flags) in enumerate(METHODS.items()):
            out = Path(folder) / str(number)
            memory[label] = convert(program, model, out, flags)
            files[label] = next(out.glob("*.onnx"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        sessions = {label: onnxruntime.InferenceSession(str(path), options) for label, path in files.items()}
        least = {(label, shape): float("inf") for label in files for shape in SHAPES}
        for shape in SHAPES:
            for session in sessions.values():
                session.run(None, inputs(session, shape))
            for _ in range(TURNS):
                for label, session in sessions.items():
                    values = inputs(session, shape)
                    start = time.perf_counter()
                    for _ in range(CALLS[shape]):
                        session.run(None, values)
                    least[label, shape] = min(least[label, shape], (time.perf_counter() - start) / CALLS[shape])
        print("| model | bytes | 1 x 32 tokens | 32 x 128 tokens | anonymous memory of the conversion |")
        print("|---|---|---|---|---|")
        for label, path in files.items():
            times = " | ".join(f"{1000 * least[label, shape]:.2f} ms" for shape in SHAPES)
            peak = f"{memory[label] / 2**20:.0f} MiB" if label in memory else "–"
            print(f"| {label} | {path.stat().st_size} | {times} | {peak} |")


if __name__ == "__main__":
    main(*sys.argv[1:3])
