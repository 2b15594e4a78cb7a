"""8 and 4 bits as transformers and the package compressed-tensors read them, and what stock loaders refuse.

Versions of transformers that know `dequantize` load all of it, and every value is compared. Older ones (4.46) are
compared through the package itself, and have to refuse what they would load without its scales.
"""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import run
from safetensors.torch import load_file
from transformers.utils.quantization_config import CompressedTensorsConfig

# torch 1.13 has no floats of 8 bits. The package names one in a constant; none is in these files.
if not hasattr(torch, "float8_e4m3fn"):
    torch.float8_e4m3fn = torch.float16

FIXTURES = Path(__file__).parents[3] / "fixtures"
TABLE = "embeddings.word_embeddings"
DEQUANTIZES = "dequantize" in inspect.signature(CompressedTensorsConfig.__init__).parameters
VARIANTS = [(bits, scheme, granularity) for bits in (8, 4) for scheme in ("symmetric", "affine")
            for granularity in ("row", "tensor", "group:16")]
# Packed zero points are written after the later convention of the package, which the older one refuses to unpack.
UNPACKED = [variant for variant in VARIANTS if variant[:2] != (4, "affine") or variant[2] == "tensor"]

# Loads each directory with stock transformers: the error, or nothing and the table of input embeddings beside it.
STOCK = """
import json, sys, torch
if not hasattr(torch, "float8_e4m3fn"):
    torch.float8_e4m3fn = torch.float16
import transformers
from safetensors.torch import save_file
found = []
for directory in sys.argv[1:]:
    try:
        model = transformers.AutoModel.from_pretrained(directory)
        table = model.get_input_embeddings().weight.detach().contiguous()
        save_file({"table": table}, directory + ".loaded")
        found.append(None)
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


def compress(out: Path, bits: int, scheme: str, granularity: str, scales: str = "f32") -> Path:
    run("compress", FIXTURES / "bert-encoder", "-o", out, "--method", "fixed-point", "--bits", bits, f"--{scheme}",
        "--granularity", granularity, "--scale-dtype", scales)
    return out


def stock(directories: list[Path]) -> list[str | None]:
    """What transformers says of each, in a process that knows nothing of the loader; nothing where it loads."""
    done = subprocess.run([sys.executable, "-B", "-c", STOCK, *map(str, directories)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def restored(out: Path) -> torch.Tensor:
    dense = out.with_name(out.name + "-dense")
    run("restore", out, "-o", dense)
    return load_file(dense / "model.safetensors")[f"{TABLE}.weight"]


def configuration(out: Path):
    """The block of config.json, the package's view of it, and that of the one group of tables in it."""
    from compressed_tensors.quantization import QuantizationConfig

    block = json.loads((out / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate({key: block[key] for key in block if key != "dequantize"})
    (group,) = config.config_groups.values()
    return block, config, group


def outputs(directory: Path, scales: str = "f32") -> dict[tuple, Path]:
    made = {}
    for bits, scheme, granularity in VARIANTS:
        out = directory / f"{bits}-{scheme}-{granularity.replace(':', '')}-{scales}"
        made[bits, scheme, granularity] = compress(out, bits, scheme, granularity, scales)
    return made


@pytest.mark.skipif(not DEQUANTIZES, reason="this version of transformers does not know `dequantize`")
def test_transformers_loads_the_values_that_restore_writes(tmp_path):
    made = {("f32", *variant): out for variant, out in outputs(tmp_path).items()}
    made |= {("f16", *variant): out for variant, out in outputs(tmp_path, "f16").items()}
    errors = stock(list(made.values()))
    assert not any(errors), dict(zip(made, errors))
    for (scales, *variant), out in made.items():
        found = load_file(out.with_name(out.name + ".loaded"))["table"].float()
        expected = restored(out)
        # transformers multiplies in the dtype of the scales.
        halves = expected.abs() * 2.0**-11 + 2.0**-25
        allowed = halves if scales == "f16" else torch.zeros_like(expected)
        assert bool(((found - expected).abs() <= allowed).all()), (scales, *variant)


@pytest.mark.skipif(DEQUANTIZES, reason="transformers itself reads the files")
@pytest.mark.parametrize(("bits", "scheme", "granularity"), UNPACKED)
def test_the_package_reads_bit_for_bit_what_restore_writes(bits, scheme, granularity, tmp_path):
    from compressed_tensors.compressors import BaseCompressor

    out = compress(tmp_path / "out", bits, scheme, granularity)
    _, config, group = configuration(out)
    compressor = BaseCompressor.load_from_registry(config.format, config=config)
    read = dict(compressor.decompress(str(out), names_to_scheme={TABLE: group.weights}))
    found, expected = read[TABLE]["weight"], restored(out)
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    assert len(read) == 1


@pytest.mark.parametrize(("bits", "scheme", "granularity"), VARIANTS)
def test_the_configuration_is_valid_and_asks_for_numbers(bits, scheme, granularity, tmp_path):
    out = compress(tmp_path / "out", bits, scheme, granularity)
    block, config, group = configuration(out)
    assert config.format == {8: "int-quantized", 4: "pack-quantized"}[bits]
    assert (group.weights.num_bits, group.weights.symmetric) == (bits, scheme == "symmetric")
    strategy = {"row": "channel", "tensor": "tensor", "group:16": "group"}[granularity]
    assert group.weights.strategy == strategy
    assert block["dequantize"] is True


def test_the_default_is_eight_bits_as_they_are_and_a_scale_for_each_row(tmp_path):
    run("compress", FIXTURES / "bert-encoder", "-o", tmp_path / "out", "--method", "fixed-point", "--bits", 8)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    weight, scale = stored[f"{TABLE}.weight"], stored[f"{TABLE}.weight_scale"]
    assert (weight.dtype, tuple(scale.shape)) == (torch.int8, (weight.shape[0], 1))
    block = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    (group,) = block["config_groups"].values()
    assert (group["format"], group["weights"]["strategy"]) == ("int-quantized", "channel")


def test_what_a_stock_loader_cannot_read_it_refuses(tmp_path):
    # Other widths and groups that do not divide a row; codes too, where this version would not dequantize them.
    refused = [(bits, "row") for bits in (2, 3, 5, 6, 7, 16)] + [(bits, "group:13") for bits in (8, 4)]
    refused += [] if DEQUANTIZES else [(bits, "row") for bits in (8, 4)]
    made = [compress(tmp_path / f"{bits}-{granularity.replace(':', '')}", bits, "symmetric", granularity)
            for bits, granularity in refused]
    source = tmp_path / "source"
    source.symlink_to(FIXTURES / "bert-encoder")
    unchanged, *errors = stock([source, *made])
    assert unchanged is None, "the model itself loads"
    assert all(errors), dict(zip(refused, errors))


@pytest.mark.parametrize(("bits", "form", "group"), [(8, "int-quantized", None), (4, "pack-quantized", 16)])
def test_diff_reads_what_the_package_itself_compressed(tmp_path, bits, form, group):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from safetensors.torch import save_file

    table = torch.randn(64, 48, generator=torch.Generator().manual_seed(1))
    columns = table.reshape(64, -1, group or 48)
    scale = (columns.abs().amax(-1) / (2 ** (bits - 1) - 1)).to(torch.bfloat16)
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group" if group else "channel",
               "group_size": group, "dynamic": False}
    args = QuantizationArgs(**weights)
    parts = BaseCompressor.load_from_registry(form).compress_weight(
        weight=table, scale=scale, zero_point=None, quantization_args=args)
    codes = quantize(x=table, scale=scale.float(), zero_point=torch.zeros_like(scale).int(), args=args)
    expected = dequantize(x_q=codes, scale=scale.float(), args=args)
    dense, foreign = tmp_path / "dense", tmp_path / "foreign"
    block = {"quant_method": "compressed-tensors", "format": form,
             "config_groups": {"group_0": {"targets": ["Embedding"], "weights": weights}}}
    for directory, tensors, config in [
        (dense, {"embed.weight": table}, {}),
        (foreign, {"embed.weight_scale": scale, **{f"embed.{name}": part for name, part in parts.items()}},
         {"quantization_config": block}),
    ]:
        directory.mkdir()
        save_file({name: part.contiguous() for name, part in tensors.items()}, directory / "model.safetensors")
        (directory / "config.json").write_text(json.dumps(config))
    (found,) = json.loads(run("diff", dense, foreign, "--json").stdout)["tensors"]
    assert found["after"] == {"dtype": "BF16", "shape": [64, 48], "method": "fixed-point"}
    assert found["errors"]["rmse"] == pytest.approx(float((table - expected).square().mean().sqrt()), rel=1e-6)
