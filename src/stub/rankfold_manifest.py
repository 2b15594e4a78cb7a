"""Writes the records of a retrained checkpoint: rankfold.json, which names its parent by digest, and SHA256SUMS.

`rankfold verify` accepts the directory then, and shows the way source -> compress -> retrain.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any, Callable, Iterator

MANIFEST, SUMS = "rankfold.json", "SHA256SUMS"
WEIGHTS = (".safetensors .bin .ckpt .ggml .gguf .h5 .mlmodel .msgpack .npy .npz .onnx .onnx_data .ot .pb .pdparams .pt "
           ".pth .tflite").split()


def canonical(value: Any) -> str:
    """The one text of `value`: sorted keys, two spaces of indent, numbers as rankfold writes them, a final newline."""
    return _json(value, "\n") + "\n"


def _json(value: Any, line: str) -> str:
    if isinstance(value, dict) and value:
        items = (f"{_json(key, line)}: {_json(value[key], line + '  ')}" for key in sorted(value))
        return "{" + ",".join(f"{line}  {item}" for item in items) + line + "}"
    if isinstance(value, (list, tuple)) and value:
        return "[" + ",".join(f"{line}  {_json(item, line + '  ')}" for item in value) + line + "]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """The shortest digits that give `value` back; an exponent below 1e-5 and from 1e16."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot stand in a manifest")
    if value == 0:
        return "-0.0" if math.copysign(1.0, value) < 0 else "0.0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)  # where the point is, from the left of the digits
    digits = digits.rstrip("0")
    if 0 < point <= 16:
        digits = digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:] or '0'}"
    if -5 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{point - 1}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _tensors(path: Path) -> Iterator[dict]:
    """The tensors of a safetensors file in data order, each with its digest."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])):
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            digest = sha256(file.read(end - begin))
            yield {"name": name, "dtype": entry["dtype"], "shape": entry["shape"], "sha256": digest}


def file_records(directory: Path) -> list[dict]:
    """A record of every file below `directory`, sorted by path."""
    records = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = path.relative_to(directory).as_posix()
        record: dict[str, Any] = {"path": name, "bytes": path.stat().st_size, "sha256": file_digest(path)}
        if path.suffix == ".safetensors":
            record["tensors"] = list(_tensors(path))
        records.append(record)
    # As rankfold sorts paths: by their parts.
    return sorted(records, key=lambda record: record["path"].encode())


def is_weights(name: str) -> bool:
    return Path(name).suffix.lower() in WEIGHTS


def write_retrained(directory: Path, parent: dict, parent_sha256: str, request: dict, tables: list[dict]) -> str:
    """Writes both records into the finished `directory`, and gives the manifest's digest."""
    files = file_records(directory)
    manifest = {
        "schema_version": parent["schema_version"],
        "generator": parent["generator"],
        "operation": "retrain",
        "source": {
            "manifest_sha256": parent_sha256,
            "files": parent["files"],
            "origin": {"operation": parent["operation"], "source": parent["source"]},
        },
        "request": request,
        "tables": tables,
        "files": files,
        "weights_bytes": {
            "before": parent["weights_bytes"]["after"],
            "after": sum(record["bytes"] for record in files if is_weights(record["path"])),
        },
    }
    text = canonical(manifest).encode()
    (directory / MANIFEST).write_bytes(text)
    digests = [(record["path"], record["sha256"]) for record in files] + [(MANIFEST, sha256(text))]
    (directory / SUMS).write_text("".join(map(_sums_line, digests)))
    return sha256(text)


def _sums_line(entry: tuple[str, str]) -> str:
    """A line for `sha256sum -c`, which escapes names with line breaks and backslashes."""
    name, digest = entry
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def renamed_tables(parent: dict, stored: dict[str, dict], rename: Callable[[str], str],
                   errors: dict[str, dict]) -> list[dict]:
    """The parent's records for tables whose parts are now `stored` (name to tensor record) under new names."""
    tables = []
    for table in parent["tables"]:
        # What other methods would have made of the source says nothing of the parent.
        kept = {key: value for key, value in table.items() if key != "runners_up"}
        tables.append({
            **kept,
            "name": rename(table["name"]),
            "parts": [rename(part) for part in table["parts"]],
            "tied": [rename(name) for name in table["tied"]],
            "bytes_before": table["bytes_after"],
            "bytes_after": sum(_bytes(stored[rename(part)]) for part in table["parts"]),
            "parameters_before": table["parameters_after"],
            "errors": errors[table["name"]],
        })
    return tables


def _bytes(tensor: dict) -> int:
    widths = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1}
    return widths[tensor["dtype"]] * math.prod(tensor["shape"])
