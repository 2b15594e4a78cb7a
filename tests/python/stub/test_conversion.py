"""Conversions into shards are what huggingface_hub would have made, and transformers loads them."""

import json
import re

import pytest
import torch
from conftest import VOCABULARY, families, run
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import load_file

try:
    from transformers.modeling_utils import load_sharded_checkpoint
except ImportError:  # where transformers 5 has it
    from transformers.trainer_utils import load_sharded_checkpoint

LIMIT = 20_000


def logits(model):
    ids = torch.arange(3, 27).reshape(2, 12) % VOCABULARY
    more = {"decoder_input_ids": ids[:, :5]} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **more).logits


@pytest.fixture(params=[("bert", False), ("bert", True), ("gpt2", True), ("t5", False), ("llama-untied", True)],
                ids=lambda param: f"{param[0]}-{'safetensors' if param[1] else 'pickle'}")
def converted(request, tmp_path):
    """A model, its class, the directory that transformers saved and the one that it was converted to."""
    name, safe = request.param
    config, kind = families()[name]
    torch.manual_seed(0)
    model = kind(config).eval()
    model.save_pretrained(tmp_path / "source", safe_serialization=safe)
    run("convert", tmp_path / "source", tmp_path / "out", "--max-shard-size", f"{LIMIT}B")
    return model, kind, tmp_path / "source", tmp_path / "out"


def stored(source):
    """The tensors that a directory stores, in their order in the file; those that share a storage once."""
    pickles = list(source.glob("*.bin"))
    if pickles:
        tensors, seen = torch.load(pickles[0]), set()
        return {name: tensor for name, tensor in tensors.items()
                if not (tensor.data_ptr() in seen or seen.add(tensor.data_ptr()))}
    (file,) = source.glob("*.safetensors")
    content = file.read_bytes()
    header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__")
    tensors = load_file(file)
    return {name: tensors[name] for name in sorted(header, key=lambda name: header[name]["data_offsets"])}


def test_names_index_and_division_are_those_of_huggingface_hub(converted):
    _, _, source, out = converted
    expected = split_torch_state_dict_into_shards(stored(source), max_shard_size=LIMIT)
    assert expected.is_sharded and len(expected.filename_to_tensors) > 3
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == expected.tensor_to_filename
    assert index["metadata"]["total_size"] == expected.metadata["total_size"]
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert files == sorted(expected.filename_to_tensors)
    assert all(re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", file) for file in files)
    total = 0
    for file in files:
        with safe_open(out / file, "pt") as shard:
            assert shard.metadata()["format"] == "pt"
            assert set(shard.keys()) == set(expected.filename_to_tensors[file])
            total += sum(tensor.numel() * tensor.element_size() for tensor in map(shard.get_tensor, shard.keys()))
    assert total == index["metadata"]["total_size"]


def test_transformers_loads_the_shards_with_every_bit(converted):
    model, kind, _, out = converted
    loaded, report = kind.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert torch.equal(logits(loaded), logits(model))
    torch.manual_seed(1)
    other = kind(model.config)
    load_sharded_checkpoint(other, str(out), strict=False)
    other.tie_weights()
    assert torch.equal(logits(other), logits(model))
