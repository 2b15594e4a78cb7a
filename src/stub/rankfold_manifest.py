"""Writes the records of a retrained checkpoint: rankfold.json, which names its parent by digest, SHA256SUMS, and the
tables in config.json.

`rankfold verify` accepts the directory then, and shows the way source -> compress -> retrain.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any, Callable, Iterator

from safetensors import safe_open

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


# What a training did to the tables --------------------------------------------------------------------------------------


def stored_tensors(directory: Path) -> dict[str, Path]:
    """The name of every tensor in `directory`, with the file that has it."""
    names = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            names.update({key: path for key in file.keys()})
    return names


def tensor_of(places: dict[str, Path], name: str) -> Any:
    """That tensor, of torch."""
    with safe_open(str(places[name]), framework="pt") as file:
        return file.get_tensor(name)


def renamer(parent: dict, stored: dict, prefix: str) -> Callable[[str], str]:
    """How the names of the parent became those of the retrained model: a head adds a prefix."""
    parts = [part for table in parent["tables"] for part in table["parts"]]
    ways: list[Callable[[str], str]] = [
        lambda name: name,
        lambda name: f"{prefix}.{name}",
        lambda name: name[len(prefix) + 1:] if name.startswith(f"{prefix}.") else name,
    ]
    for way in ways:
        if all(way(part) in stored for part in parts):
            return way
    raise ValueError(f"the retrained model does not store the factors {parts}")


def moved(table: dict, old: Path, new: Path, rename: Callable[[str], str]) -> dict:
    """How far training moved the table: `||A' B' - A B||_F / ||A B||_F` and the largest change of an entry."""
    before, after = stored_tensors(old), stored_tensors(new)
    first, second = ([tensor_of(places, way(part)).double() for part in table["parts"]]
                     for places, way in ((before, lambda name: name), (after, rename)))
    norm = change = largest = 0.0
    for start in range(0, first[0].shape[0], 4096):
        rows = slice(start, start + 4096)
        was, now = first[0][rows] @ first[1].t(), second[0][rows] @ second[1].t()
        norm, change = norm + float(was.square().sum()), change + float((now - was).square().sum())
        largest = max(largest, float((now - was).abs().max()))
    return {"relative_frobenius": math.sqrt(change / norm) if norm else 0.0, "max_absolute": largest}


def write_config(path: Path, tables: list[dict]) -> None:
    """Puts the tables as they are called now into the configuration that transformers wrote."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # a place on this machine
    keys = ("method", "setting", "shape", "dtype", "parts", "tied")
    block = {"quant_method": "rankfold", "version": 1,
             "tables": {table["name"]: {key: table[key] for key in keys} for table in tables}}
    path.write_text(json.dumps({**config, "quantization_config": block}, indent=2, sort_keys=True) + "\n",
                    encoding="utf-8")
