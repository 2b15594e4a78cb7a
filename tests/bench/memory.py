"""What conversions and factorizations of large files take of memory beyond the files that they map.

    python tests/bench/memory.py convert RANKFOLD FOLDER
    python tests/bench/memory.py compress RANKFOLD FOLDER [ROWS COLUMNS]

`convert` makes a file of 1.5 GB or more in every format, converts each to safetensors and one to every format, and prints
the peak of anonymous memory of each run. Needs torch (tests/python/setup) and 8 GB in FOLDER.

`compress` factorizes a table of 40 GB, or of the shape given, at rank 8: a sparse file, zero but for 32 rows, where the
system refuses to reserve more (`RLIMIT_DATA`: heap and stacks) than 3 d^2 doubles (d the smaller side) and 64 MiB and what
the matrix products of the eigendecomposition reserve without touching it, 64 MiB a thread. Needs 1 GB in FOLDER.

The peak is that of `RssAnon`, looked at 200 times a second.
"""

import json
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROWS, COLUMNS = 1_600_000, 256
SIZE = 4 * ROWS * COLUMNS
LIMIT, RESERVED = 64 << 20, 64 << 20


def peak(command: list[str], limit: int | None = None) -> tuple[float, float]:
    """MiB of anonymous memory at the peak, and seconds."""
    bound = (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))) if limit else None
    start = time.perf_counter()
    most = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=bound) as process:
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                break
            most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
            time.sleep(0.005)
    if process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}")
    return most / 1024, time.perf_counter() - start


def sparse(path: Path, head: bytes, hole: int, tail: bytes = b"") -> Path:
    """A file with a hole, which reads as zeros and takes no room."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + hole)
        file.seek(0, 2)
        file.write(tail)
    return path


def safetensors(path: Path, rows: int, columns: int) -> Path:
    entry = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, 4 * rows * columns]}
    header = json.dumps({"embedding.weight": entry}).encode()
    header += b" " * (-len(header) % 8)
    return sparse(path, struct.pack("<Q", len(header)) + header, 4 * rows * columns)


def npy(order: bool) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({ROWS}, {COLUMNS}), }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def npz(path: Path) -> Path:
    """An archive of one array. Nobody looks at the checksum."""
    name, head = b"table.npy", npy(False)
    fixed = struct.pack("<HHHIIIHH", 0, 0, 0, 0, len(head) + SIZE, len(head) + SIZE, len(name), 0)
    local = b"PK\x03\x04\x14\0\0\0" + fixed + name
    entry = b"PK\x01\x02\x14\0\x14\0\0\0" + fixed + bytes(10) + bytes(4) + name
    start = len(local) + len(head) + SIZE
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), start, 0)
    return sparse(path, local + head, SIZE, entry + end)


def gguf(path: Path) -> Path:
    """One table of Q8_0: 34 bytes for 32 numbers."""
    head = b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t"
    head += struct.pack("<IQQIQ", 2, 1024, ROWS, 8, 0)
    return sparse(path, head + bytes(-len(head) % 32), ROWS * 1024 // 32 * 34)


def fasttext(path: Path) -> Path:
    """One word, and so many n-grams."""
    head = struct.pack("<14i", 793712314, 12, COLUMNS, 5, 5, 1, 5, 1, 2, 2, ROWS - 1, 3, 6, 100) + struct.pack("<d", 1e-4)
    head += struct.pack("<3iqq", 1, 1, 0, 1, -1) + b"</s>\0" + struct.pack("<qb", 1, 0)
    head += b"\0" + struct.pack("<qq", ROWS, COLUMNS)
    return sparse(path, head, SIZE, b"\0" + struct.pack("<qq", 1, COLUMNS) + bytes(4 * COLUMNS))


def word_vectors(path: Path, kind: str) -> Path:
    """Rows of random numbers that repeat after a while, until there are 1.5 GB."""
    source = random.Random(0)
    rows = [[source.gauss(0, 0.4) for _ in range(100)] for _ in range(512)]
    if kind == "binary":
        block = b"".join(b"word%d " % at + struct.pack("<100f", *row) + b"\n" for at, row in enumerate(rows))
    else:
        block = b"".join(b"word%d " % at + " ".join(f"{x:.5f}" for x in row).encode() + b"\n" for at, row in enumerate(rows))
    times = 1_600_000_000 // len(block)
    with path.open("wb") as file:
        file.write(b"" if kind == "glove" else b"%d 100\n" % (512 * times))
        for _ in range(times):
            file.write(block)
    return path


def pytorch(path: Path, is_zip: bool) -> Path:
    import torch

    torch.save({"embedding.weight": torch.zeros(ROWS, COLUMNS)}, path, _use_new_zipfile_serialization=is_zip)
    return path


def sources(folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """What it is, the file, and flags."""
    yield "safetensors", safetensors(folder / "model.safetensors", ROWS, COLUMNS), []
    yield "safetensors, cast to F16", safetensors(folder / "model.safetensors", ROWS, COLUMNS), ["--dtype", "f16"]
    yield "PyTorch, zip", pytorch(folder / "zip.bin", True), []
    yield "PyTorch, legacy", pytorch(folder / "legacy.bin", False), []
    yield ".npy", sparse(folder / "rows.npy", npy(False), SIZE), []
    yield ".npy in Fortran order", sparse(folder / "columns.npy", npy(True), SIZE), []
    yield ".npz", npz(folder / "arrays.npz"), []
    yield "GGUF, Q8_0 to BF16", gguf(folder / "model.gguf"), ["--dtype", "bf16"]
    yield "fastText", fasttext(folder / "fasttext.bin"), []
    yield "GloVe text", word_vectors(folder / "glove.txt", "glove"), []
    yield "word2vec text", word_vectors(folder / "vectors.vec", "text"), []
    yield "word2vec binary", word_vectors(folder / "vectors.bin", "binary"), []


def convert(rankfold: str, folder: Path) -> None:
    out = folder / "out"

    def row(what: str, file: Path, target: str, flags: list[str]) -> None:
        memory, seconds = peak([rankfold, "-q", "convert", str(file), str(out), "--to", target, *flags])
        size = file.stat().st_size / 1e9
        print(f"| {what} ({size:.1f} GB) | {target} | {memory:.1f} MiB | {seconds:.0f} s |", flush=True)
        shutil.rmtree(out)

    print("| from | to | peak of anonymous memory | |\n|---|---|---|---|")
    for what, file, flags in sources(folder):
        row(what, file, "safetensors", flags)
        if what == "word2vec binary":
            for target in ("npz", "npy", "word2vec-text", "word2vec-binary", "glove-text"):
                row(what, file, target, flags)
        file.unlink()


def compress(rankfold: str, folder: Path, rows: int = 19_531_250, columns: int = 512) -> None:
    file, out = safetensors(folder / "model.safetensors", rows, columns), folder / "out"
    source = random.Random(0)
    with file.open("r+b") as table:
        start = file.stat().st_size - 4 * rows * columns
        for spike in range(32):
            table.seek(start + 4 * columns * (rows // 32 * spike))
            table.write(struct.pack(f"<{columns}f", *(source.gauss(0, 1) for _ in range(columns))))
    bound = 3 * 8 * min(rows, columns) ** 2 + LIMIT
    command = [rankfold, "-q", "--threads", "2", "compress", str(file), "-o", str(out), "--rank", "8", "--include", "*"]
    memory, seconds = peak(command, bound + 2 * RESERVED)
    table = json.loads((out / "rankfold.json").read_text())["tables"][0]
    size = file.stat().st_size / 1e9
    print(f"{rows} x {columns}, {size:.1f} GB: {memory:.1f} MiB of anonymous memory at the peak; the bound is "
          f"{bound / 2**20:.0f} MiB; {seconds:.0f} s; relative error {table['errors']['relative_frobenius']:.6f}")  # fmt: skip
    shutil.rmtree(out)
    file.unlink()


if __name__ == "__main__":
    {"convert": convert, "compress": compress}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))
