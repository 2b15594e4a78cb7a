"""Checks a compressed checkpoint against its source with numpy and the reference reader alone.

`oracle.py SOURCE OUT` prints one JSON document, and exits with 1 if anything is not as it should be:

- each table of the manifest is stored as a pair of the stated rank, names and shapes, and its error, computed anew in
  double precision from what is stored, is the one that the manifest states and the least that is possible;
- every other tensor and every other file is there, byte for byte, and nothing else is;
- every digest in the manifest and in SHA256SUMS is true.

Tables must be F64, F32 or F16 (numpy has no BF16).
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

# A stored factor is rounded to its dtype; what that may add to the error, relative to the norm of the table.
ROUNDING = {"F64": 1e-12, "F32": 1e-6, "F16": 1e-3}
# How far two computations of one error may lie apart: of a sum over the table, by the products that the manifest names,
# and of a single entry (which the program computes in single precision), the latter relative to the table's largest entry.
AGREEMENT = {None: 1e-9, "int16": 1e-9, "bf16x2": 1e-8}
ENTRY_AGREEMENT = 1e-6
WRITTEN_ANEW = {"config.json", "rankfold.json", "SHA256SUMS"}


class Checkpoint:
    """The tensors of the safetensors files at the root of a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = {}
        for path in sorted(directory.glob("*.safetensors")):
            with safe_open(path, "numpy") as file:
                self.files |= dict.fromkeys(file.keys(), path)

    def read(self, name: str) -> np.ndarray:
        """One tensor."""
        with safe_open(self.files[name], "numpy") as file:
            return file.get_tensor(name)


def factors_of(table: str) -> tuple[str, str]:
    """Where A [V, k] and B transposed [d, k] of a table are stored."""
    return table, f"{table.removesuffix('.weight')}.proj.weight"


def least_error(table: np.ndarray, rank: int) -> float:
    """The least relative Frobenius error of any matrix of this rank (Eckart and Young)."""
    gram = table.T @ table if table.shape[0] >= table.shape[1] else table @ table.T
    energies = np.linalg.eigvalsh(gram)[::-1]
    return float(np.sqrt(max(energies[rank:].sum(), 0.0) / energies.sum()))


def check_table(record: dict[str, Any], source: Checkpoint, out: Checkpoint, wrong: list[str]) -> dict[str, Any]:
    """The rank and the errors of one table as they are; whatever contradicts the manifest goes to `wrong`."""
    name, rank = record["name"], record["setting"]["rank"]
    left, right = (out.read(part).astype(np.float64) for part in factors_of(name))
    table = source.read(name).astype(np.float64)
    expected = ((table.shape[0], rank), (table.shape[1], rank))
    if (left.shape, right.shape) != expected:
        wrong.append(f"{name}: the pair has shapes {left.shape} and {right.shape}, not {expected}")
        return {"rank": rank}
    error = float(np.linalg.norm(table - left @ right.T) / np.linalg.norm(table))
    stated, least = record["errors"]["relative_frobenius"], least_error(table, rank)
    if abs(error - stated) > AGREEMENT[record.get("products")]:
        wrong.append(f"{name}: the error is {error}, the manifest states {stated}")
    if error > least * (1 + 1e-6) + ROUNDING[record["dtype"]]:
        wrong.append(f"{name}: the error is {error}, {least} is possible")
    largest = float(np.abs(table - left @ right.T).max())
    if abs(largest - record["errors"]["max_absolute"]) > ENTRY_AGREEMENT * np.abs(table).max():
        wrong.append(f"{name}: the largest deviation is {largest}, the manifest states {record['errors']}")
    return {"rank": rank, "relative_frobenius_error": error, "least_relative_frobenius_error": least}


def check_untouched(tables: list[dict[str, Any]], source: Checkpoint, out: Checkpoint, wrong: list[str]) -> int:
    """Compares every tensor that is no table; gives their number."""
    encoded = {part for table in tables for part in factors_of(table["name"])}
    gone = {name for table in tables for name in [table["name"], *table["tied"]]}
    untouched = source.files.keys() - gone
    if untouched != out.files.keys() - encoded:
        wrong.append(f"tensors differ in {sorted(untouched ^ (out.files.keys() - encoded))}")
    for name in sorted(untouched & out.files.keys()):
        before, after = source.read(name), out.read(name)
        if (before.dtype, before.shape, before.tobytes()) != (after.dtype, after.shape, after.tobytes()):
            wrong.append(f"{name}: was touched")
    return len(untouched)


def files_below(directory: Path) -> dict[str, Path]:
    """Every file, by its path relative to the directory."""
    return {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}


def digest(content: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def check_files(manifest: dict[str, Any], source: Path, out: Path, wrong: list[str]) -> int:
    """Compares digests and the files that are only copied; gives the number of files."""
    before, after = files_below(source), files_below(out)
    for record, folder in [(record, source) for record in manifest["source"]["files"]] + [
        (record, out) for record in manifest["files"]
    ]:
        content = (folder / record["path"]).read_bytes()
        if (digest(content), len(content)) != (record["sha256"], record["bytes"]):
            wrong.append(f"{folder / record['path']}: the manifest states another digest or length")
    listed = {record["path"] for record in manifest["files"]}
    if listed != after.keys() - {"rankfold.json", "SHA256SUMS"}:
        wrong.append(f"the manifest differs from the directory in {sorted(listed ^ after.keys())}")
    sums = dict(reversed(line.split("  ", 1)) for line in (out / "SHA256SUMS").read_text().splitlines())
    if sums != {name: digest(path.read_bytes()) for name, path in after.items() if name != "SHA256SUMS"}:
        wrong.append("SHA256SUMS does not list every file with its digest")
    for name, path in before.items():
        copied = name not in WRITTEN_ANEW and not name.endswith((".safetensors", ".safetensors.index.json"))
        if copied and (name not in after or after[name].read_bytes() != path.read_bytes()):
            wrong.append(f"{name}: was not copied byte for byte")
    return len(after)


def main() -> int:
    """Checks, prints, and gives the exit code."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    manifest = json.loads((out / "rankfold.json").read_text())
    tables = manifest["tables"]
    wrong: list[str] = []
    left, right = Checkpoint(source), Checkpoint(out)
    report = {
        "tables": {record["name"]: check_table(record, left, right, wrong) for record in tables},
        "untouched_tensors": check_untouched(tables, left, right, wrong),
        "files": check_files(manifest, source, out, wrong),
        "wrong": wrong,
    }
    print(json.dumps(report, indent=2, sort_keys=True))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
