"""Every method that the converter writes, read by the loader and by the class for word vectors."""

import json
import shutil
import subprocess
import sys

import numpy
import pytest
import torch
import transformers
from conftest import VOCABULARY, WIDTH, alone, families, run
from rankfold_loader import EncodedEmbedding, EncodedLinear, RankfoldError, load_factorized

EXACT = [
    *(["fixed-point", "--bits", bits, *more] for bits in (2, 3, 4, 5, 6, 7, 8, 16)
      for more in ([], ["--affine", "--granularity", "group:8", "--scale-dtype", "f32"])),
    ["fixed-point", "--bits", 5, "--affine"],
    ["fixed-point", "--bits", 4, "--affine", "--granularity", "tensor"],
    ["fixed-point", "--bits", 16, "--affine", "--granularity", "tensor"],
    ["fixed-point", "--bits", 8, "--granularity", "group:24"],
    ["cast", "--dtype", "f16", "--reduction", 0.5],
    ["cast", "--dtype", "bf16", "--reduction", 0.5],
    ["product", "--reduction", 0.2, "--subquantizers", 5, "--code-bits", 4],
    *(["ggml", "--type", kind] for kind in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")),
]
CLOSE = [
    ["low-rank", "--rank", 6],
    ["low-rank-fixed", "--rank", 9, "--left-bits", 3, "--right-bits", 7],
    ["low-rank-fixed", "--rank", 8, "--variant", "lplr"],
    ["product", "--reduction", 0.3, "--code-bits", 4, "--norms"],
    ["product", "--reduction", 0.1, "--code-bits", 4, "--rotation", "--norms", "--dtype", "f16"],
    ["transform", "--reduction", 0.75],
    ["transform", "--max-error", 0.5],
]
ALL = EXACT + CLOSE
name_of = lambda options: " ".join(str(one).lstrip("-") for one in options)


class Plain(torch.nn.Module):
    """A table and a head tied to it, of no library."""

    def __init__(self, tied=True):
        super().__init__()
        self.words = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY)
        if tied:
            self.head.weight = self.words.weight


def table():
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(VOCABULARY, WIDTH, generator=generator), torch.randn(WIDTH, WIDTH, generator=generator)
    scale = 0.8 ** torch.arange(WIDTH, dtype=torch.float32)
    return (factors[0] * scale) @ factors[1] * torch.rand(VOCABULARY, 1, generator=generator).add(0.2)


@pytest.mark.parametrize("options", ALL, ids=name_of)
def test_looked_up_rows_and_logits_are_those_of_restore(options, tmp_path):
    from safetensors.torch import load_file, save_file

    save_file({"words.weight": table(), "head.bias": torch.arange(VOCABULARY) / 7}, tmp_path / "model.safetensors")
    run("compress", tmp_path / "model.safetensors", "-o", tmp_path / "out", "--include", "words.weight", "--method",
        *options)
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    dense = load_file(tmp_path / "dense" / "model.safetensors")["words.weight"]
    model = load_factorized(Plain(), tmp_path / "out")
    ids = torch.tensor([[0, 7, VOCABULARY - 1], [7, 8, 64]])
    found, tolerance = model.words(ids), 0.0 if options in EXACT else 2e-6
    assert found.shape == (2, 3, WIDTH)
    assert (found - dense[ids]).abs().max() <= tolerance * float(dense.abs().max())
    every = model.words(torch.arange(VOCABULARY))
    assert (every - dense).abs().max() <= tolerance * float(dense.abs().max())
    hidden = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits, expected = model.head(hidden), hidden @ dense.t() + torch.arange(VOCABULARY) / 7
    assert (logits - expected).abs().max() <= 1e-5 * float(expected.abs().max())
    logits.sum().backward()
    assert (hidden.grad - dense.sum(0)).abs().max() <= 1e-4 * float(dense.abs().max())
    if options[0] not in ("low-rank", "cast"):
        assert isinstance(model.words, EncodedEmbedding) and isinstance(model.head, EncodedLinear)
        assert not list(model.words.parameters()), "no dense table is kept"
        assert model.half().words(ids).dtype == torch.float16
        assert (model.words(ids) - dense[ids].half()).abs().max() <= tolerance * float(dense.abs().max())


@pytest.mark.parametrize("options", ALL, ids=name_of)
def test_word_vectors_are_those_of_restore(options, tmp_path):
    from safetensors.torch import load_file

    lines = [f"word{row} " + " ".join(repr(float(x)) for x in values) for row, values in enumerate(table().numpy())]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    run("compress", tmp_path / "vectors.txt", "-o", tmp_path / "out", "--method", *options)
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    (dense,) = load_file(tmp_path / "dense" / "model.safetensors").values()
    program = "import sys, numpy; from word_vectors import WordVectors as W; v = W(); " \
              "numpy.save(sys.argv[1], numpy.stack([v[w] for w in v.words])); assert v.dimension == %d" % WIDTH
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "vectors.npy"], cwd=tmp_path / "out",
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = numpy.load(tmp_path / "vectors.npy")
    tolerance = 0.0 if options in EXACT else 2e-6
    assert numpy.abs(found - dense.numpy()).max() <= tolerance * float(dense.abs().max())


METHODS = [["low-rank", "--rank", 6], ["low-rank-fixed", "--rank", 8], ["fixed-point", "--bits", 6, "--affine"],
           ["cast", "--reduction", 0.5], ["transform", "--reduction", 0.7],
           ["product", "--reduction", 0.2, "--code-bits", 4, "--norms"], ["ggml", "--type", "q5_1"]]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    def make(family):
        directory = root / family
        if not directory.exists():
            config, kind = families()[family]
            torch.manual_seed(0)
            kind(config).save_pretrained(directory)
        return directory

    root = tmp_path_factory.mktemp("sources")
    return make


def outputs(model, family):
    ids = torch.arange(3, 27).reshape(2, 12)
    more = {"decoder_input_ids": ids[:, :5] + 30} if family in ("t5", "bart") else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "bart", "gemma", "llama-untied", "roberta"])
@pytest.mark.parametrize("options", METHODS[1:], ids=name_of)
def test_transformers_loads_saves_and_loads_again(family, options, source, tmp_path):
    kind = families()[family][1]
    run("compress", source(family), "-o", tmp_path / "out", "--method", *options)
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    expected = outputs(kind.from_pretrained(tmp_path / "dense"), family)
    model = kind.from_pretrained(tmp_path / "out")
    tolerance = 2e-5 * max(1.0, float(expected.abs().max()))
    assert (outputs(model, family) - expected).abs().max() <= tolerance
    model.save_pretrained(tmp_path / "again")
    assert (outputs(kind.from_pretrained(tmp_path / "again"), family) - expected).abs().max() <= tolerance
    coarse = kind.from_pretrained(tmp_path / "out", torch_dtype=torch.bfloat16)
    assert coarse.get_input_embeddings()(torch.tensor([5])).dtype == torch.bfloat16
    if options[0] != "cast":
        for part in coarse.get_input_embeddings().decoder().parts:
            assert part.dtype != torch.bfloat16
        with pytest.raises(RankfoldError, match="resized"):
            model.resize_token_embeddings(VOCABULARY + 1)
    assert not (tmp_path / "out" / "finetune.py").exists() and (tmp_path / "out" / "rankfold_codecs.py").exists()


def test_without_the_loader_every_method_fails_or_is_read_as_it_is(source, tmp_path):
    outputs = {name_of(options): tmp_path / str(number) for number, options in enumerate(METHODS)}
    for options in METHODS:
        run("compress", source("bert"), "-o", outputs[name_of(options)], "--method", *options)
    found = alone(tmp_path, [(str(path), "BertForMaskedLM", {}, {}) for path in outputs.values()])
    for name, path in outputs.items():
        if name.startswith("cast"):
            assert found[str(path)] == "loaded"
        else:
            assert "Error" in found[str(path)], f"{name}: {found[str(path)]}"


def test_trusted_code_brings_its_decoders(source, tmp_path):
    ids, cases = torch.arange(3, 9)[None], []
    for number, options in enumerate(METHODS):
        run("compress", source("bert"), "-o", tmp_path / str(number), "--method", *options)
        run("restore", tmp_path / str(number), "-o", tmp_path / f"{number}-dense")
        cases.append((str(tmp_path / str(number)), "AutoModelForMaskedLM", {"trust_remote_code": True},
                      {"input_ids": ids.tolist()}))
    found = alone(tmp_path, cases)
    for (directory, *_), options in zip(cases, METHODS):
        with torch.no_grad():
            expected = transformers.BertForMaskedLM.from_pretrained(f"{directory}-dense").eval()(ids).logits
        assert isinstance(found[directory], list), f"{options}: {found[directory]}"
        assert (torch.tensor(found[directory]) - expected).abs().max() <= 2e-5, options


def test_an_untied_factorized_head_is_resized_with_its_projection(source, tmp_path):
    kind = families()["llama-untied"][1]
    run("compress", source("llama-untied"), "-o", tmp_path / "out", "--rank", 6, "--include", "*embed_tokens*",
        "--include", "lm_head*")
    model = kind.from_pretrained(tmp_path / "out")
    before = outputs(model, "llama-untied")
    model.resize_token_embeddings(VOCABULARY + 5)
    after = outputs(model, "llama-untied")
    assert after.shape[-1] == VOCABULARY + 5 and (after[..., :VOCABULARY] - before).abs().max() <= 1e-5


@pytest.mark.parametrize("key, value", [("auto_map", {"AutoModel": "own.Own"}),
                                        ("quantization_config", {"quant_method": "gptq", "bits": 4})])
def test_a_configuration_with_code_of_its_own_is_warned_of(key, value, source, tmp_path):
    shutil.copytree(source("bert"), tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, key: value}))
    shown = run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", 6).stderr
    assert key in shown and "load_factorized" in shown
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    kind = families()["bert"][1]
    model = load_factorized(kind(families()["bert"][0]), tmp_path / "out")
    restored = json.loads((tmp_path / "dense" / "config.json").read_text())
    assert restored[key] == value and outputs(model, "bert").shape[-1] == VOCABULARY


def test_codes_in_the_shape_of_the_table_are_refused(source, tmp_path):
    failed = run("compress", source("bert"), "-o", tmp_path / "out", "--method", "product", "--subquantizers", WIDTH,
                 "--reduction", 0.01, "--dtype", "f16", code=1)
    assert "shape of the table" in failed.stderr or "too few bytes" in failed.stderr
