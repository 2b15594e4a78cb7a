"""Times every main path on seeded tables, beside peers and lower bounds, and writes the tables of docs/performance.md.

    python tests/bench/paths.py RANKFOLD FOLDER [SHAPE ...] [--rounds N] [--prepare | --quick]

RANKFOLD is a program of the release profile; FOLDER gets the tables (factorize.py says of what kind; 5 GB for the shapes
that are the default) and the outputs, and keeps the tables for the next run. SHAPE is rows x columns.

- `compress --reduction 0.9`, with files, digests and a flush, in turns with the routes of factorize.py, which are timed
  without their start and without files: those by the Gram matrix for every shape, the others where the table is not too large.
- inspect, verify, restore and convert on each shape, and compress and restore of every codec on the first.
- The least seconds of the rounds; the peak of `RssAnon`, as memory.py looks at it; and the bound: bytes read and written over
  the bandwidth of a copy, and multiplications and additions over the rate of a product of two matrices, both measured here.

`--prepare` makes the tables and the errors of their optima and stops, so that what is then timed may be alone on the
machine; `--quick` takes one small table and prints, as a check that everything runs. Without it, what stands between the two
marks in docs/performance.md is replaced after every shape. Needs numpy; torch, scipy and scikit-learn where they are there.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import factorize
import memory
import numpy as np

SHAPES = ["30522x768", "50257x768", "128256x2048", "262144x1152", "128256x4096"]
QUICK = ["2048x64"]
REDUCTION = 0.9
# Of more entries, a decomposition of the table itself takes minutes and several times the table's memory.
MOST_FOR_SVD = 400_000_000
PEERS = ["numpy Gram", "numpy Gram and error", "torch Gram", "torch.linalg.svd", "scikit-learn randomized_svd"]
# Of more entries, one round: a minute for all routes, beside which what else goes on is small.
MOST_FOR_ROUNDS = 400_000_000
# What each codec is asked for. Every one that the program knows has to be here.
CODECS = {
    "low-rank": ["--reduction", str(REDUCTION)],
    "low-rank-fixed": ["--rank", "32", "--left-bits", "4", "--right-bits", "4"],
    "fixed-point": ["--bits", "8"],
    "cast": ["--dtype", "f16", "--bits", "16"],
    "transform": ["--reduction", str(REDUCTION)],
    "product": ["--reduction", "0.8"],
    "ggml": ["--type", "q8_0"],
}
DOCS = Path(__file__).resolve().parents[2] / "docs/performance.md"
BEGIN, END = "<!-- written by tests/bench/paths.py -->", "<!-- end of what tests/bench/paths.py writes -->"


class Machine:
    """What the machine does at best, in units a second, with all its cores."""

    def __init__(self) -> None:
        self.cores = len(os.sched_getaffinity(0))
        source = np.ones((self.cores, 64 << 20), np.uint8)
        target = np.ones_like(source)
        with ThreadPoolExecutor(self.cores) as pool:
            copy = least(lambda: list(pool.map(np.copyto, target, source)), 7)
        side = np.ones((3072, 3072), np.float32)
        self.bandwidth = 2 * source.nbytes / copy
        self.product = 2 * len(side) ** 3 / least(lambda: side @ side, 4)
        self.digest = self.cores * source[0].nbytes / least(lambda: hashlib.sha256(source[0]).digest(), 3)

    def __str__(self) -> str:
        processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = processor[1].strip() if processor else "unknown processor"
        return (
            f"{name}, {self.cores} cores: a copy in memory moves {self.bandwidth / 1e9:.1f} GB/s (bytes read and bytes "
            f"written), a product of singles {self.product / 1e9:.0f} GF/s (numpy {np.__version__}), SHA-256 "
            f"{self.digest / 1e9:.2f} GB/s (Python's hashlib, all cores)."
        )


class Paths:
    """The program, where its files go, and the lines of the two tables so far."""

    def __init__(self, rankfold: str, folder: Path, rounds: int) -> None:
        self.rankfold, self.folder, self.rounds = os.path.abspath(rankfold), folder, rounds
        self.peers: list[str] = []
        self.paths: list[str] = []

    def prepare(self, shape: str) -> tuple[Path, float]:
        """The table's file, and the squared error of the optimum."""
        rows, columns, rank = dimensions(shape)
        folder = self.folder / shape
        folder.mkdir(parents=True, exist_ok=True)
        noted, file = folder / f"optimum-{rank}.json", folder / "model.safetensors"
        if not noted.exists():
            memory.safetensors(file, rows, columns)
            with file.open("r+b") as table:
                table.seek(-4 * rows * columns, os.SEEK_END)
                factorize.make(table, rows, columns)
            offset = file.stat().st_size - 4 * rows * columns
            table = np.memmap(file, np.float32, "r", offset, (rows, columns))
            noted.write_text(json.dumps(factorize.optimum(table, rank)))
        return file, json.loads(noted.read_text())

    def rounds_of(self, shape: str) -> int:
        rows, columns, _ = dimensions(shape)
        return 1 if rows * columns > MOST_FOR_ROUNDS else self.rounds

    def run(self, *arguments: object) -> tuple[float, float]:
        """MiB at the peak, and seconds, of one run of the program."""
        os.sync()  # What others left to be written is not for this one to wait for.
        return memory.peak([self.rankfold, *map(str, arguments)])

    def output(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def compress(self, file: Path, out: str, *flags: str) -> tuple[float, float]:
        return self.run("-q", "compress", file, "-o", self.output(out), "--include", "*", *flags)

    def compare(self, shape: str, machine: Machine) -> None:
        """Compress and its peers in turns."""
        rows, columns, rank = dimensions(shape)
        file, optimum = self.prepare(shape)
        # Reads all of the file, so that whoever comes first finds it in the page cache, too.
        norm = squared_norm(file, rows, columns)
        names = [name for name in PEERS if factorize.present(name)]
        if rows * columns > MOST_FOR_SVD:
            names = [name for name in names if "Gram" in name]
        ours, varied, times, excess = [], {}, {}, {}
        variants = {"one thread": ["--threads", "1"], "`--products single`": ["--products", "single"]}
        for turn in range(self.rounds_of(shape)):
            ours.append(self.compress(file, "compressed", "--reduction", str(REDUCTION)))
            for name in names:
                if turn and "Gram" not in name:
                    continue  # Once: many times ours.
                route, environment, _ = factorize.ROUTES[name]
                command = [sys.executable, factorize.__file__, "worker", route, file, rows, columns, rank, int(not turn), 1]
                (line,) = factorize.run([*map(str, command)], environment)
                times.setdefault(name, []).append(line["seconds"])
                if not turn:
                    excess[name] = (line["error"] / optimum) ** 0.5 - 1
            for name, flags in variants.items():
                spent = self.compress(file, "variant", "--reduction", str(REDUCTION), *flags)[1]
                varied.setdefault(name, []).append(spent)
        manifest = json.loads((self.folder / "compressed/rankfold.json").read_text())
        error = manifest["tables"][0]["errors"]["relative_frobenius"]
        seconds = min(spent for _, spent in ours)
        operations = rows * columns * (columns + 4 * rank)
        share = operations / seconds / machine.product
        what = f"{rows:,} x {columns:,}, {rank}"
        over = error * (norm / optimum) ** 0.5 - 1
        self.peers.append(f"| {what} | rankfold, whole | {seconds:.3f} | 1.00 | {over:.0e} | {share:.2f} |")
        for name, spent in varied.items():
            self.peers.append(f"| | rankfold, whole, {name} | {min(spent):.3f} | {min(spent) / seconds:.2f} | | |")
        for name, spent in times.items():
            ratio = min(spent) / seconds
            self.peers.append(f"| | {name} | {min(spent):.3f} | {ratio:.2f} | {excess[name]:.0e} | |")
        self.line(machine, f"compress, {what}", ours, size(file), size(self.folder / "compressed"), operations)
        shutil.rmtree(self.folder / "variant")

    def others(self, shape: str, machine: Machine) -> None:
        """The paths that read a table or what compress made of it."""
        rows, columns, rank = dimensions(shape)
        file, _ = self.prepare(shape)
        made = self.folder / "compressed"
        table, pair = size(file), size(made)
        turns = {
            "inspect": lambda: self.run("-q", "inspect", file, "--include", "*"),
            "verify": lambda: self.run("-q", "verify", made),
            "verify --source": lambda: self.run("-q", "verify", made, "--source", file),
            "restore": lambda: self.run("-q", "restore", made, "-o", self.output("restored")),
            "convert": lambda: self.run("-q", "convert", file, self.output("converted"), "--to", "npy"),
        }
        costs = {
            "inspect": (table, 0, rows * columns * columns),
            "verify": (pair, 0, 0),
            "verify --source": (table + pair, 0, 2 * rows * columns * rank),
            "restore": (pair, table, 2 * rows * columns * rank),
            "convert": (table, table, 0),
        }
        runs = {name: [] for name in turns}
        for _ in range(self.rounds_of(shape)):
            for name, turn in turns.items():
                runs[name].append(turn())
        for name, (read, written, operations) in costs.items():
            self.line(machine, name, runs[name], read, written, operations)
        for name in ("compressed", "restored", "converted"):
            shutil.rmtree(self.folder / name)

    def codecs(self, shape: str, machine: Machine) -> None:
        """Compress and restore of every codec. Only bytes are in the bound but for low-rank, whose operations are known."""
        text = subprocess.run([self.rankfold, "compress", "--help"], check=True, capture_output=True, text=True).stdout
        known = re.search(r"--method.*?possible values: (.*?)\]", text, re.DOTALL)[1].replace("\n", " ")
        known = {name.strip() for name in known.split(",")} - {"auto"}
        if known != set(CODECS):
            sys.exit(f"error: the program has the codecs {sorted(known)}, expected {sorted(CODECS)}")
        rows, columns, rank = dimensions(shape)
        file, _ = self.prepare(shape)
        for codec, flags in CODECS.items():
            # Once: some take half a minute, and tests/bench/codecs.rs looks at them more closely.
            encoded = [self.compress(file, "encoded", "--method", codec, *flags)]
            decoded = [self.run("-q", "restore", self.folder / "encoded", "-o", self.output("decoded"))]
            table, made = size(file), size(self.folder / "encoded")
            counted = codec == "low-rank"
            encoding, decoding = (counted * rows * columns * count for count in (columns + 4 * rank, 2 * rank))
            what = f"{rows:,} x {columns:,}, `{codec} {' '.join(flags)}`"
            self.line(machine, f"compress, {what}", encoded, table, made, encoding)
            self.line(machine, "restore of it", decoded, made, table, decoding)
        for name in ("encoded", "decoded"):
            shutil.rmtree(self.folder / name)

    def line(self, machine: Machine, what: str, runs: list, read: int, written: int, operations: int) -> None:
        seconds, most = min(spent for _, spent in runs), max(mib for mib, _ in runs)
        bound = (read + written) / machine.bandwidth + operations / machine.product
        digests = (read + written) / machine.digest
        cells = [what, f"{seconds:.3f}", f"{bound:.3f}", f"{bound / seconds:.2g}", f"{digests:.3f}", f"{most:.0f}"]
        self.paths.append(f"| {' | '.join(cells)} |")
        print(self.paths[-1], file=sys.stderr, flush=True)

    def text(self, machine: Machine) -> str:
        return "\n".join(
            [
                f"{machine}",
                "",
                "| table, k | route | seconds | over rankfold's | excess error | of the product's rate |",
                "|---|---|---|---|---|---|",
                *self.peers,
                "",
                "| path | seconds | bound | bound / seconds | digests | MiB |",
                "|---|---|---|---|---|---|",
                *self.paths,
            ]
        )


def least(act, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def dimensions(shape: str) -> tuple[int, int, int]:
    rows, columns = map(int, shape.split("x"))
    # In whole numbers, as the program computes it: 1 - 0.9 is not 0.1 in doubles.
    return rows, columns, round(1000 * (1 - REDUCTION)) * rows * columns // (1000 * (rows + columns))


def squared_norm(file: Path, rows: int, columns: int) -> float:
    table = np.memmap(file, np.float32, "r", file.stat().st_size - 4 * rows * columns, (rows, columns))
    blocks = (table[start : start + 4096].astype(np.float64) for start in range(0, rows, 4096))
    return float(sum(np.vdot(block, block) for block in blocks))


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def write(text: str) -> None:
    before, rest = DOCS.read_text().split(BEGIN)
    _, after = rest.split(END)
    DOCS.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rankfold")
    parser.add_argument("folder", type=Path)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    shapes = arguments.shapes or (QUICK if arguments.quick else SHAPES)
    paths = Paths(arguments.rankfold, arguments.folder, arguments.rounds)
    for shape in shapes:
        paths.prepare(shape)
    if arguments.prepare:
        return
    machine = Machine()
    for shape in shapes:
        paths.compare(shape, machine)
        paths.others(shape, machine)
        if shape == shapes[0]:
            paths.codecs(shape, machine)
        if not arguments.quick:
            write(paths.text(machine))
    if arguments.quick:
        print(paths.text(machine))


if __name__ == "__main__":
    main()
