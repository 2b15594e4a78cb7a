"""Counts the instructions that a factorization takes, and compares them with those on record.

    python tests/bench/instructions.py RANKFOLD [--record]

Seconds on a shared machine say little; instructions under valgrind are the same on every run, so that a slip of a few
per cent shows. RANKFOLD is a program built in the development profile, which the record is of. One thread compresses a
seeded table of singles with each kind of products that AVX2 computes; what `rankfold::linalg` executes itself is counted, the
microkernels apart from the rest. valgrind knows AVX2 but not AVX-512, so that every x86-64 machine counts the same path.

Prints a line for each kind of products and group, and exits with 1 where one takes more than a twentieth above its record.
`--record` writes the record instead.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROWS, COLUMNS, RANK = 2048, 384, 64
RECORD = pathlib.Path(__file__).with_name("instructions.json")
ALLOWED = 1.05
PRODUCTS = ["single", "int16"]
MICROKERNELS = ["linalg::kernel::avx2::tile", "linalg::int16::avx2"]
# Multiply-adds of 8 singles that the Gram matrix (its lower triangle in tiles of 48, three quarters of a tile where
# the diagonal runs through it), A and A B consist of.
TILES = COLUMNS // 48
PADDED_RANK = -(-RANK // 48) * 48
GRAM = 48 * 48 * TILES * (TILES - 1) // 2 + 48 * 36 * TILES
MULTIPLY_ADDS = ROWS * (GRAM + COLUMNS * PADDED_RANK + COLUMNS * RANK) // 8


def make(path):
    import numpy as np

    random = np.random.default_rng(0)
    table = random.standard_normal((ROWS, COLUMNS)) * np.arange(1, COLUMNS + 1) ** -0.35
    np.save(path, table.astype("<f4"))


def groups(path):
    """Instructions of each group, from a file in the format of callgrind."""
    names, current, skip = {}, "", False
    counts = {"microkernel": 0, "rest of linalg": 0}
    for line in open(path, encoding="utf-8", errors="replace"):
        if match := re.match(r"fn=\((\d+)\)(?: (.*))?", line):
            current = names.setdefault(match[1], match[2]) if match[2] else names.get(match[1], "")
        elif match := re.match(r"cfn=\((\d+)\) (.*)", line):
            names.setdefault(match[1], match[2])
        elif line.startswith("calls="):
            skip = True  # the next line holds what the call cost: another function's own
        elif match := re.match(r"[+\-*\d]\S* (\d+)", line):
            if not skip and "rankfold" in current and "linalg" in current:
                kernel = any(name in current for name in MICROKERNELS)
                counts["microkernel" if kernel else "rest of linalg"] += int(match[1])
            skip = False
    return counts


def count(program, products, table, directory):
    counted = os.path.join(directory, "counted")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", program, "compress", table]
    command += ["--rank", str(RANK), "--products", products, "--output", os.path.join(directory, products)]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {command} exited with {result.returncode}\n{result.stderr}")
    return groups(counted)


def main():
    program, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        table = os.path.join(directory, "table.npy")
        make(table)
        counts = {products: count(program, products, table, directory) for products in PRODUCTS}
    if options == ["--record"]:
        RECORD.write_text(json.dumps(counts, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    slipped = False
    for products in PRODUCTS:
        for group, found in counts[products].items():
            expected = record[products][group]
            slipped |= found > ALLOWED * expected
            print(
                f"{products}, {group}: {found:,} instructions, {found / expected:.3f} of the record, "
                f"{found / MULTIPLY_ADDS:.2f} a multiply-add of eight singles"
            )
    if slipped:
        sys.exit(f"error: more instructions than {RECORD.name} allows\nhint: find what slipped, or record with --record")


if __name__ == "__main__":
    main()
