"""Times the factorization against the routes of numpy, scipy, torch and scikit-learn, in turns, and checks every error.

    cargo build --release --bench factorize
    [THREADS=1] python tests/bench/factorize.py target/release/deps/factorize-<hash> [ROUNDS] [SHAPE ...]

SHAPE is rows x columns (30522x768). The tables are made here: seeded, squared singular values that fall as
i^-0.7, and a common mean. Every route runs in its own process, all routes of a shape one after the other in every round;
the best run counts (of three in each process for rankfold and the Gram routes). Rank is that of half the parameters, or a
third number of the shape (30522x768x74). Packages that are not there are left out; so are routes but the Gram ones with
ROUTES=gram. ISA=portable (or avx, avx2) keeps rankfold and OpenBLAS to what an older x86-64 processor would run, portable to SSE,
and leaves torch out. Prints a Markdown table of wall-clock seconds and of processor seconds; on a machine that others use,
only processor seconds of one thread mean anything. On standard error, the rates in GF/s that rankfold's two passes and the same
products in numpy reach, with symmetric work counted once.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

SHAPES = ["30522x384", "30522x768", "50257x768", "128256x2048"]

# OpenBLAS as shipped may not know the processor; told to use its AVX-512 kernels, it may be faster.
AVX512 = {"OPENBLAS_CORETYPE": "SkylakeX"}
ROUTES = {
    "numpy Gram": ("gram", {}, "numpy"),
    "numpy Gram and error": ("gram_error", {}, "numpy"),
    "numpy Gram, AVX-512": ("gram", AVX512, "numpy"),
    "numpy Gram and error, AVX-512": ("gram_error", AVX512, "numpy"),
    "torch Gram": ("torch_gram", {}, "torch"),
    "numpy.linalg.svd": ("svd", {}, "numpy"),
    "scipy gesdd": ("gesdd", {}, "scipy"),
    "torch.linalg.svd": ("torch_svd", {}, "torch"),
    "scikit-learn randomized_svd": ("randomized", {}, "sklearn"),
}

# OpenBLAS's name for a processor of each ISA. MKL, and so PyTorch, takes no such limit on processors of other makers.
CORES = {"portable": "Nehalem", "avx": "Sandybridge", "avx2": "Haswell"}

OURS = {"rankfold, error measured": {}, "rankfold, products of singles": {"PRODUCTS": "single"}}


def present(name):
    """Whether this machine can run the route."""
    route, environment, package = ROUTES[name]
    if "ISA" in os.environ:
        known = environment is not AVX512 and package != "torch"
    else:
        known = environment is not AVX512 or "avx512f" in pathlib.Path("/proc/cpuinfo").read_text()
    wanted = os.environ.get("ROUTES", "all") == "all" or "gram" in route
    return known and wanted and importlib.util.find_spec(package) is not None


def make(file, rows, columns):
    """Writes the elements to an open file, a block of rows at a time."""
    import numpy as np

    random = np.random.default_rng(rows * columns)
    basis, _ = np.linalg.qr(random.standard_normal((columns, columns), dtype=np.float32))
    sizes = np.arange(1, columns + 1, dtype=np.float32) ** -0.35
    deviation = np.sqrt(np.mean(sizes * sizes))
    mean = 0.3 * deviation * random.standard_normal(columns, dtype=np.float32)
    for start in range(0, rows, 8192):
        count = min(8192, rows - start)
        block = (random.standard_normal((count, columns), dtype=np.float32) * sizes) @ basis.T
        file.write(np.ascontiguousarray(block + mean, np.float32))


def read(path, rows, columns):
    """The table, whose elements are the last bytes of a file in whatever format."""
    import numpy as np

    offset = os.path.getsize(path) - 4 * rows * columns
    return np.fromfile(path, np.float32, offset=offset).reshape(rows, columns)


def blocks(table, left, right):
    """Squared norm and squared error in doubles."""
    import numpy as np

    error = 0.0
    for start in range(0, len(table), 4096):
        part = slice(start, start + 4096)
        residual = table[part].astype(np.float64) - left[part].astype(np.float64) @ right.astype(np.float64)
        error += float((residual * residual).sum())
    return error


def optimum(table, rank):
    import numpy as np

    gram = np.zeros((table.shape[1],) * 2)
    for start in range(0, len(table), 4096):
        block = table[start : start + 4096].astype(np.float64)
        gram += block.T @ block
    return float(np.linalg.eigvalsh(gram)[:-rank].sum())


def worker(route, path, rows, columns, rank, check, runs):
    import numpy as np

    table = read(path, rows, columns)
    compute(route, np.eye(1024, 512, dtype=np.float32), 8)  # starts the threads and loads what is loaded late
    seconds = processor = float("inf")
    for _ in range(runs):
        start, used = time.perf_counter(), time.process_time()
        left, right = compute(route, table, rank)
        processor = min(processor, time.process_time() - used)
        seconds = min(seconds, time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "processor": processor, "error": blocks(table, left, right) if check else None}))


def compute(route, table, rank):
    import numpy as np

    if route.startswith("torch"):
        return compute_torch(route, table, rank)
    if route == "randomized":
        from sklearn.utils.extmath import randomized_svd

        u, s, vt = randomized_svd(table, rank, random_state=0)
        return u * s, vt
    if route in ("gram", "gram_error"):
        _, vectors = np.linalg.eigh(table.T @ table)
        right = vectors[:, -rank:]
        left = table @ right
        right = right.T
        if route == "gram_error":
            residual = left @ right
            np.subtract(table, residual, out=residual)
            np.linalg.norm(residual)
        return left, right
    if route == "svd":
        u, s, vt = np.linalg.svd(table, full_matrices=False)
    else:
        import scipy.linalg

        u, s, vt = scipy.linalg.svd(table, full_matrices=False, check_finite=False, lapack_driver="gesdd")
    return u[:, :rank] * s[:rank], vt[:rank]


def compute_torch(route, table, rank):
    import torch

    table = torch.from_numpy(table)
    if route == "torch_gram":
        vectors = torch.linalg.eigh(table.T @ table).eigenvectors
        right = vectors[:, -rank:]
        left, right = table @ right, right.T
    else:
        u, s, vt = torch.linalg.svd(table, full_matrices=False)
        left, right = u[:, :rank] * s[:rank], vt[:rank]
    return left.numpy(), right.numpy()


def rates(path, rows, columns, rank):
    """GF/s of the Gram matrix, with symmetric work counted once as numpy does it, and of the projection."""
    import numpy as np

    table = read(path, rows, columns)
    vectors = np.ones((columns, rank), np.float32)
    best = [float("inf")] * 2
    for _ in range(4):
        for at, product in enumerate((lambda: table.T @ table, lambda: table @ vectors)):
            start = time.perf_counter()
            product()
            best[at] = min(best[at], time.perf_counter() - start)
    print(json.dumps({"gram": rows * columns**2 / best[0] * 1e-9, "encode": 2 * rows * columns * rank / best[1] * 1e-9}))


def run(command, environment=None):
    threads = os.environ.get("THREADS")
    names = ("RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    limits = dict.fromkeys(names, threads) if threads else {}
    environment = {**os.environ, **limits, **(environment or {})}
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [json.loads(line) for line in result.stdout.splitlines()]


def compare(program, shape, rounds, directory):
    import numpy as np

    rows, columns, *rank = map(int, shape.split("x"))
    rank = rank[0] if rank else rows * columns // 2 // (rows + columns)
    path = os.path.join(directory, "table")
    with open(path, "wb") as file:
        make(file, rows, columns)
    arguments = [path, str(rows), str(columns), str(rank)]
    table = np.memmap(path, np.float32, "r", shape=(rows, columns))
    best_error = optimum(table, rank)
    best, excess = {}, {}

    def note(name, lines, error):
        times = [(line["seconds"], line["processor"]) for line in [*lines, *best.get(name, [])]]
        best[name] = [{"seconds": min(wall for wall, _ in times), "processor": min(used for _, used in times)}]
        if error is not None:
            excess[name] = (error / best_error) ** 0.5 - 1

    rates_of = {name: {"gram": 0.0, "encode": 0.0} for name in [*OURS, "numpy"]}
    theirs = rates_of["numpy"]
    for turn in range(rounds):
        prefix = os.path.join(directory, "factors")
        for name, environment in OURS.items():
            lines = run([program, *arguments, "3", prefix], environment)
            left = np.fromfile(prefix + ".a", np.float32).reshape(rows, rank)
            right = np.fromfile(prefix + ".b", np.float32).reshape(columns, rank).T
            note(name, lines, blocks(table, left, right) if turn == 0 else None)
            for kind, rate in rates_of[name].items():
                rates_of[name][kind] = max([line[f"{kind}_rate"] for line in lines] + [rate])
        (line,) = run([sys.executable, __file__, "rates", *arguments])
        theirs.update({kind: max(line[kind], theirs[kind]) for kind in theirs})
        for name, (route, environment, _) in ROUTES.items():
            if not present(name) or (turn >= 2 and "gram" not in route):
                continue
            runs = 3 if "gram" in route else 1
            command = [sys.executable, __file__, "worker", route, *arguments, str(int(turn == 0)), str(runs)]
            lines = run(command, environment)
            note(name, lines, lines[0]["error"])
    for name, reached in rates_of.items():
        print(f"{shape}, {name}, GF/s: gram {reached['gram']:.0f}, encode {reached['encode']:.0f}", file=sys.stderr, flush=True)
    (ours,) = best["rankfold, error measured"]
    for name, (times,) in best.items():
        cells = [f"{rows:,} x {columns:,}, {rank}", name]
        for kind in ("seconds", "processor"):
            cells.append(f"{times[kind]:.3f} ({times[kind] / ours[kind]:.2f})")
        print("|", " | ".join([*cells, f"{excess[name]:.0e}"]), "|", flush=True)


def main():
    if sys.argv[1:2] == ["worker"]:
        route, path, *numbers = sys.argv[2:]
        return worker(route, path, *map(int, numbers))
    if sys.argv[1:2] == ["rates"]:
        return rates(sys.argv[2], *map(int, sys.argv[3:6]))
    if limited := os.environ.get("ISA"):
        os.environ.update(RANKFOLD_MAX_CPU_ISA=limited, OPENBLAS_CORETYPE=CORES[limited])
    program, rounds, *shapes = sys.argv[1], *map(int, sys.argv[2:3] or ["5"]), *sys.argv[3:]
    print("| table, k | route | seconds (over rankfold's) | processor seconds | excess error |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for shape in shapes or SHAPES:
            compare(os.path.abspath(program), shape, rounds, directory)


if __name__ == "__main__":
    main()
