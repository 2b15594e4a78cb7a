"""Makes checkpoints with torch (`make FOLDER`), saves a safetensors file in both pickle formats (`resave MODEL FOLDER`),
and holds a conversion against what torch loads (`check FILE OUT`).
"""

import json
import struct
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
          torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip


def make(folder: Path) -> None:
    """Every dtype, views of every kind, tied tensors, wrappers, and two files that are no state dicts."""
    base = torch.arange(240.0).reshape(40, 6)
    table = torch.randn(100, 8)
    tensors = OrderedDict(table=table, tied=table, transposed=base.t(), rows=base[3:9], columns=base[:, 2:5])
    tensors.update(steps=base[::2], permuted=torch.randn(3, 2, 4).permute(2, 0, 1), repeated=base[0].expand(4, 6))
    tensors.update({str(dtype): torch.arange(5).to(dtype) for dtype in DTYPES})
    tensors.update(scalar=torch.tensor(3.5), empty=torch.zeros(0, 4), parameter=torch.nn.Parameter(table[:2]))
    torch.save(tensors, folder / "zip.bin")
    torch.save(tensors, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    state = {"module." + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer_states": [optimizer]}, folder / "lightning.ckpt")
    torch.jit.script(model).save(str(folder / "script.pt"))
    torch.save(model, folder / "module.pt")


def resave(model: Path, folder: Path) -> None:
    """The tensors of `model` as a zip archive and as legacy pickles."""
    tensors = load_file(model)
    torch.save(tensors, folder / "zip.bin")
    torch.save(tensors, folder / "legacy.bin", _use_new_zipfile_serialization=False)


def check(file: Path, out: Path) -> None:
    """Every tensor of the file is in the one safetensors file of `out`, or named there as stored once."""
    loaded = torch.load(file, map_location="cpu")
    loaded = {name.removeprefix("module."): tensor for name, tensor in loaded.get("state_dict", loaded).items()}
    (path,) = out.glob("*.safetensors")
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "pt"
    assert {name for name in loaded if name not in header} == metadata.keys() - {"format"}
    for name, tensor in loaded.items():
        entry = header[name if name in header else metadata[name]]
        begin, end = entry["data_offsets"]
        tensor = tensor.detach().contiguous()
        raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        assert (entry["dtype"], entry["shape"]) == (DTYPES[tensor.dtype], list(tensor.shape)), name
        assert content[8 + length + begin : 8 + length + end] == raw.numpy().tobytes(), name


if __name__ == "__main__":
    {"make": make, "resave": resave, "check": check}[sys.argv[1]](*map(Path, sys.argv[2:]))
