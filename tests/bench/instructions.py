"""Counts the instructions that a factorization takes, and compares them with those on record.

    python tests/bench/instructions.py RANKFOLD [--record]

Seconds on a shared machine say little; instructions under valgrind are the same on every run, so that a slip of a few
per cent shows. RANKFOLD is a program built in the development profile, which the record is of. One thread compresses a
seeded table of singles; what `rankfold::linalg` executes itself is counted, the microkernel apart from the rest. valgrind
knows AVX2 but not AVX-512, so that every x86-64 machine counts the same path.

Prints a line a group, and exits with 1 where a group takes more than a twentieth above its record. `--record` writes the
record instead.
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
                kernel = "linalg::kernel::avx2::tile" in current
                counts["microkernel" if kernel else "rest of linalg"] += int(match[1])
            skip = False
    return counts


def main():
    program, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        table, counted = os.path.join(directory, "table.npy"), os.path.join(directory, "counted")
        make(table)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", program, "compress", table]
        command += ["--rank", str(RANK), "--output", os.path.join(directory, "out")]
        environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"error: {command} exited with {result.returncode}\n{result.stderr}")
        counts = groups(counted)
    if options == ["--record"]:
        RECORD.write_text(json.dumps(counts, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    slipped = False
    for group, count in counts.items():
        slipped |= count > ALLOWED * record[group]
        each = count / MULTIPLY_ADDS
        print(f"{group}: {count:,} instructions, {count / record[group]:.3f} of the record, {each:.2f} a multiply-add")
    if slipped:
        sys.exit(f"error: more instructions than {RECORD.name} allows\nhint: find what slipped, or record with --record")


if __name__ == "__main__":
    main()
