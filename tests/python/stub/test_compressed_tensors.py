"""8 and 4 bits as the package compressed-tensors reads them, and what stock loaders refuse."""

import json
from pathlib import Path

import pytest
import torch
from conftest import alone, run
from safetensors.torch import load_file

# torch 1.13 has no floats of 8 bits. The package names one in a constant; none is in these files.
if not hasattr(torch, "float8_e4m3fn"):
    torch.float8_e4m3fn = torch.float16
import transformers  # noqa: E402

DEQUANTIZES = int(transformers.__version__.split(".")[0]) >= 5
FIXTURE = Path(__file__).parents[3] / "fixtures" / "bert-encoder"
TABLE = "embeddings.word_embeddings"
SCHEMES = [(scheme, granularity) for scheme in ("symmetric", "affine") for granularity in ("row", "tensor", "group:16")]
# Packed zero points are written after the later convention of the package, which this version refuses to unpack.
VARIANTS = [(bits, *scheme) for bits in (8, 4) for scheme in SCHEMES
            if (bits, *scheme) not in [(4, "affine", "row"), (4, "affine", "group:16")]]


def compress(out: Path, bits: int, scheme: str, granularity: str) -> Path:
    run("compress", FIXTURE, "-o", out, "--method", "fixed-point", "--bits", bits, f"--{scheme}",
        "--granularity", granularity, "--scale-dtype", "f32")
    return out


@pytest.mark.parametrize(("bits", "scheme", "granularity"), VARIANTS)
def test_the_package_reads_bit_for_bit_what_restore_writes(bits, scheme, granularity, tmp_path):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    out = compress(tmp_path / "out", bits, scheme, granularity)
    run("restore", out, "-o", tmp_path / "dense")
    block = json.loads((out / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate({key: block[key] for key in block if key != "dequantize"})
    (group,) = config.config_groups.values()
    assert config.format == {8: "int-quantized", 4: "pack-quantized"}[bits]
    assert block["dequantize"] is True
    expected = load_file(tmp_path / "dense" / "model.safetensors")[f"{TABLE}.weight"]
    if hasattr(BaseCompressor, "decompress_module"):  # releases that transformers 5 asks for
        stored = load_file(out / "model.safetensors").items()
        local = {name[len(TABLE) + 1:]: value for name, value in stored if name.startswith(TABLE)}
        found = BaseCompressor.get_value_from_registry(config.format).decompress(local, group)["weight"]
        # They multiply in the dtype of the scales, and round once; so does what follows.
        assert torch.equal(found.to(expected.dtype), expected)
        assert torch.equal(transformers.AutoModel.from_pretrained(out).get_input_embeddings().weight, expected)
        return
    compressor = BaseCompressor.load_from_registry(config.format, config=config)
    read = dict(compressor.decompress(str(out), names_to_scheme={TABLE: group.weights}))
    found = read[TABLE]["weight"]
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    assert len(read) == 1


def test_the_default_is_eight_bits_as_they_are_and_a_scale_for_each_row(tmp_path):
    run("compress", FIXTURE, "-o", tmp_path / "out", "--method", "fixed-point", "--bits", 8)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    weight, scale = stored[f"{TABLE}.weight"], stored[f"{TABLE}.weight_scale"]
    assert (weight.dtype, tuple(scale.shape)) == (torch.int8, (weight.shape[0], 1))
    block = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    (group,) = block["config_groups"].values()
    assert (group["format"], group["weights"]["strategy"]) == ("int-quantized", "channel")


def test_what_a_stock_loader_cannot_read_it_refuses(tmp_path):
    # Other widths, groups that do not divide a row, and codes that this version of transformers would not dequantize.
    refused = [(bits, "row") for bits in (2, 3, 5, 6, 7, 16)] + [(bits, "group:13") for bits in (8, 4)]
    if not DEQUANTIZES:
        refused += [(bits, "row") for bits in (8, 4)]
    outputs = [compress(tmp_path / f"{bits}-{granularity.replace(':', '')}", bits, "symmetric", granularity)
               for bits, granularity in refused]
    found = alone(tmp_path, [(str(path), "AutoModel", {}, {}) for path in (FIXTURE, *outputs)])
    assert found.pop(str(FIXTURE)) == "loaded", "the model itself loads"
    assert all("Error" in message for message in found.values()), found
