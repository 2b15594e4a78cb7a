"""Loads outputs with stock transformers and compressed-tensors and compares tables with restored checkpoints.

`python load_compressed_tensors.py OUT RESTORED [OUT RESTORED ...]`, in an environment with torch, transformers and
compressed-tensors. Exits with 1 unless the input embeddings of each OUT, as `AutoModel` loads them, are those of
RESTORED: bit for bit where the scales are singles, to the rounding of halves where they are halves.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModel


def check(out: pathlib.Path, restored: pathlib.Path) -> bool:
    table = json.loads((out / "rankfold.json").read_text())["tables"][0]
    loaded = AutoModel.from_pretrained(out).get_input_embeddings().weight.detach().float()
    expected = load_file(restored / "model.safetensors")[table["name"]].float()
    # transformers multiplies in the dtype of the scales.
    halves = table["setting"]["scale_dtype"] == "F16"
    allowed = expected.abs() * 2.0**-11 + 2.0**-25 if halves else torch.zeros_like(expected)
    equal = bool(((loaded - expected).abs() <= allowed).all())
    print(f"{out}: {table['setting']}: {'equal' if equal else 'DIFFERENT'}")
    return equal


if __name__ == "__main__":
    arguments = [pathlib.Path(argument) for argument in sys.argv[1:]]
    results = [check(out, restored) for out, restored in zip(arguments[::2], arguments[1::2], strict=True)]
    sys.exit(0 if results and all(results) else 1)
