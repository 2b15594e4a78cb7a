"""What the loader promises, on every family."""

import copy as copying
import json
import subprocess
import sys

import pytest
import rankfold_loader
import torch
import transformers
from conftest import NAMES, RANK, TIED, VOCABULARY, WIDTH, run
from rankfold_loader import FactorizedEmbedding, FactorizedLinear, RankfoldError, load_factorized


def outputs(model, inputs):
    with torch.no_grad():
        out = model.eval()(**inputs)
    return out.logits if hasattr(out, "logits") and out.logits is not None else out.last_hidden_state


def agrees(model, checkpoint, kind=None, tolerance=1e-5):
    expected = outputs((kind or checkpoint.kind).from_pretrained(checkpoint.dense), checkpoint.inputs())
    found = outputs(model, checkpoint.inputs())
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def embeddings(model):
    return model.get_input_embeddings()


@pytest.mark.parametrize("name", NAMES)
def test_from_pretrained_gives_what_the_dense_model_gives(checkpoint, name):
    one = checkpoint(name)
    model, report = one.kind.from_pretrained(one.output, output_loading_info=True)
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert isinstance(embeddings(model), FactorizedEmbedding)
    assert embeddings(model).weight.shape == (VOCABULARY, RANK)
    assert embeddings(model)._pair().weight.shape == (WIDTH, RANK)
    agrees(model, one)


@pytest.mark.parametrize("name", NAMES)
def test_the_bare_model_finds_its_tables_under_a_heads_names(checkpoint, name):
    one = checkpoint(name)
    model = transformers.AutoModel.from_pretrained(one.output)
    expected = transformers.AutoModel.from_pretrained(one.dense)
    found, wanted = outputs(model, one.inputs()), outputs(expected, one.inputs())
    assert (found - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_model_saved_again_loads_as_it_was(checkpoint, name, tmp_path):
    one = checkpoint(name)
    one.kind.from_pretrained(one.output).save_pretrained(tmp_path / "again")
    agrees(one.kind.from_pretrained(tmp_path / "again"), one)
    stored = sum(file.stat().st_size for file in (tmp_path / "again").glob("*.safetensors"))
    compressed = sum(file.stat().st_size for file in one.output.glob("*.safetensors"))
    assert stored <= compressed * 1.05, "factors are stored once"


@pytest.mark.parametrize("name", NAMES)
def test_plain_pytorch_loads_the_state_dict(checkpoint, name):
    one = checkpoint(name)
    config = transformers.AutoConfig.from_pretrained(one.source)
    agrees(load_factorized(one.kind(config), one.output), one)


@pytest.mark.parametrize("name", TIED)
def test_a_tied_head_uses_the_same_factors_and_adds_to_their_gradient(checkpoint, name):
    one = checkpoint(name)
    model = one.kind.from_pretrained(one.output)
    head = model.get_output_embeddings()
    assert isinstance(head, FactorizedLinear)
    assert head.weight is embeddings(model).weight and head._pair() is embeddings(model)._pair()
    dense = one.kind.from_pretrained(one.dense)
    for each in (model, dense):
        each.eval()(**one.inputs()).logits.square().mean().backward()
    table, pair = embeddings(model), embeddings(model)._pair()
    gradient = embeddings(dense).weight.grad
    assert torch.allclose(table.weight.grad, gradient @ pair.weight, rtol=1e-3, atol=1e-6)
    assert torch.allclose(pair.weight.grad, gradient.t() @ table.weight, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_can_be_resized(checkpoint, name):
    one = checkpoint(name)
    model = one.kind.from_pretrained(one.output)
    model.resize_token_embeddings(VOCABULARY + 5)
    assert embeddings(model).weight.shape == (VOCABULARY + 5, RANK)
    out = outputs(model, one.inputs())
    expected = outputs(one.kind.from_pretrained(one.dense), one.inputs())
    if name in ("bert-bare",):
        assert (out - expected).abs().max() <= 1e-5
    else:
        assert out.shape[-1] == VOCABULARY + 5
        assert (out[..., :VOCABULARY] - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "bart"])
def test_half_precision_loads_and_runs(checkpoint, name):
    one = checkpoint(name)
    model = one.kind.from_pretrained(one.output, torch_dtype=torch.bfloat16)
    assert embeddings(model).weight.dtype == torch.bfloat16 == embeddings(model)._pair().weight.dtype
    agrees(model, one, tolerance=0.1)
    agrees(one.kind.from_pretrained(one.output).to(torch.bfloat16), one, tolerance=0.1)
    assert one.kind.from_pretrained(one.output).half().dtype == torch.float16


def test_a_padding_row_stays_nothing_and_gets_no_gradient(checkpoint):
    one = checkpoint("bert")
    model = one.kind.from_pretrained(one.output).train()
    table = embeddings(model)
    assert table.padding_idx == 0
    ids = torch.tensor([[5, 0, 7, 0]])
    table(ids).square().sum().backward()
    assert float(table.weight.grad[0].abs().max()) == 0.0 < float(table.weight.grad[5].abs().max())
    assert float(table(torch.tensor([0])).abs().max()) <= 1e-6


def test_a_scaled_table_stays_of_its_class(checkpoint):
    model = checkpoint("bart").kind.from_pretrained(checkpoint("bart").output)
    scaled = type(checkpoint("bart").kind(model.config).get_input_embeddings())
    assert isinstance(embeddings(model), scaled)


def test_a_deep_copy_is_tied_to_itself(checkpoint):
    one = checkpoint("gpt2")
    model = one.kind.from_pretrained(one.output)
    twin = copying.deepcopy(model)
    agrees(twin, one)
    assert twin.get_output_embeddings()._pair() is embeddings(twin)._pair() is not embeddings(model)._pair()


def test_a_model_moved_to_another_dtype_stays_tied(checkpoint):
    one = checkpoint("t5")
    model = one.kind.from_pretrained(one.output).double()
    assert model.get_output_embeddings().weight is embeddings(model).weight
    agrees(model, one)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_trusting_remote_code_needs_no_import(checkpoint, name, tmp_path):
    one = checkpoint(name)
    auto = {"bert": "AutoModelForMaskedLM", "gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}[name]
    program = f"""
import torch, transformers
model = transformers.{auto}.from_pretrained({str(one.output)!r}, trust_remote_code=True).eval()
inputs = torch.load({str(tmp_path / 'inputs')!r})
with torch.no_grad(): torch.save(model(**inputs).logits, {str(tmp_path / 'logits')!r})
"""
    torch.save(one.inputs(), tmp_path / "inputs")
    done = python(program, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = outputs(one.kind.from_pretrained(one.dense), one.inputs())
    assert (torch.load(tmp_path / "logits") - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "bart", "opt", "llama-untied"])
def test_without_the_loader_loading_fails(checkpoint, name, tmp_path):
    one = checkpoint(name)
    program = f"""
import transformers
transformers.{one.kind.__name__}.from_pretrained({str(one.output)!r})
"""
    done = python(program, tmp_path)
    assert done.returncode != 0 and "Error" in done.stderr, done.stderr
    assert "rankfold" in done.stderr or "size mismatch" in done.stderr or "ignore_mismatched_sizes" in done.stderr


def python(program, folder):
    environment = {"HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)


def test_changed_weights_are_refused(checkpoint, copy):
    one = checkpoint("bert")
    changed = copy(one.output)
    file = changed / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    config = transformers.AutoConfig.from_pretrained(one.source)
    with pytest.raises(RankfoldError, match="digest"):
        one.kind.from_pretrained(changed)
    with pytest.raises(RankfoldError, match="digest"):
        load_factorized(one.kind(config), changed)


def test_a_weight_file_that_the_manifest_lacks_is_refused(checkpoint, copy):
    changed = copy(checkpoint("bert").output)
    (changed / "extra.safetensors").write_bytes((changed / "model.safetensors").read_bytes())
    with pytest.raises(RankfoldError, match="extra.safetensors"):
        checkpoint("bert").kind.from_pretrained(changed)


def test_a_missing_weight_file_is_named(checkpoint, copy):
    changed = copy(checkpoint("bert").output)
    (changed / "model.safetensors").unlink()
    config = transformers.AutoConfig.from_pretrained(checkpoint("bert").source)
    with pytest.raises(RankfoldError, match="model.safetensors"):
        load_factorized(checkpoint("bert").kind(config), changed)


def test_an_unknown_method_and_a_newer_version_are_errors(checkpoint):
    one = checkpoint("bert")
    block = json.loads((one.output / "config.json").read_text())["quantization_config"]
    name, table = next(iter(block["tables"].items()))
    with pytest.raises(RankfoldError, match="some-codec"):
        rankfold_loader.swap_tables(one.kind.from_pretrained(one.dense), {name: {**table, "method": "some-codec"}})
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    with pytest.raises(RankfoldError, match="version 2"):
        AUTO_QUANTIZATION_CONFIG_MAPPING["rankfold"].from_dict({**block, "version": 2})


class Plain(torch.nn.Module):
    """A model of no library, with a tied head."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.mix = torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.mix(self.words(ids))))


def test_a_module_of_no_library_loads_with_its_tied_head(tmp_path):
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    model = Plain()
    state = {key: value for key, value in model.state_dict().items() if key != "head.weight"}
    save_file(state, tmp_path / "model.safetensors")
    run("compress", tmp_path / "model.safetensors", "-o", tmp_path / "out", "--rank", RANK, "--include", "words.weight")
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    loaded, ids = load_factorized(Plain(), tmp_path / "out"), torch.arange(40).reshape(4, 10)
    model.load_state_dict(load_file(tmp_path / "dense" / "model.safetensors"), strict=False)
    assert (loaded(ids) - model(ids)).abs().max() <= 1e-5
    assert loaded.head.weight is loaded.words.weight
    with pytest.raises(RankfoldError, match="missing"):
        load_factorized(torch.nn.ModuleDict({"words": Plain().words, "other": torch.nn.Linear(2, 2)}), tmp_path / "out")


def test_no_stub_leaves_the_loader_out(checkpoint, tmp_path):
    one = checkpoint("bert")
    run("compress", one.source, "-o", tmp_path / "out", "--rank", RANK, "--no-stub")
    assert not list((tmp_path / "out").glob("*.py"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "auto_map" not in config and config["quantization_config"]["quant_method"] == "rankfold"
    agrees(one.kind.from_pretrained(tmp_path / "out"), one)


def test_restore_drops_the_loader_and_gives_the_configuration_back(checkpoint):
    one = checkpoint("bert")
    assert (one.output / "rankfold_loader.py").is_file() and not list(one.dense.glob("*.py"))
    assert (one.dense / "config.json").read_bytes() == (one.source / "config.json").read_bytes()
    run("verify", one.output, "--source", one.source)
    run("verify", one.dense, "--source", one.output)


def test_the_biases_of_a_new_head_are_zero_whatever_was_in_memory(tmp_path):
    config = transformers.BertConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=48)
    transformers.BertModel(config).save_pretrained(tmp_path / "source")
    run("compress", tmp_path / "source", "-o", tmp_path / "model", "--rank", RANK)
    used = [torch.full((VOCABULARY,), float("nan")) for _ in range(2000)]
    del used
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    assert not model.cls.predictions.bias.any() and not model.cls.predictions.decoder.bias.any()
    assert model.cls.predictions.transform.dense.weight.any()
