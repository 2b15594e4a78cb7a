"""What the loader promises, on every family."""

import copy as copying
import json
from pathlib import Path

import pytest
import rankfold_loader
import torch
import transformers
from conftest import NAMES, RANK, VOCABULARY, WIDTH, alone, families, run
from rankfold_loader import FactorizedEmbedding, RankfoldError, load_factorized


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


FIXTURES = Path(__file__).parents[3] / "fixtures"
AUTO = {"bert": "AutoModelForMaskedLM", "gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}


def test_trusting_remote_code_needs_no_import(checkpoint, tmp_path):
    made = {name: checkpoint(name) for name in AUTO}
    inputs = {name: {key: value.tolist() for key, value in one.inputs().items()} for name, one in made.items()}
    found = alone(tmp_path, [(str(one.output), AUTO[name], {"trust_remote_code": True}, inputs[name])
                             for name, one in made.items()])
    for name, one in made.items():
        logits = found[str(one.output)]
        assert isinstance(logits, list), f"{name}: {logits}"
        expected = outputs(one.kind.from_pretrained(one.dense), one.inputs())
        assert (torch.tensor(logits) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_without_the_loader_every_family_fails_and_says_why(checkpoint, tmp_path):
    made = [checkpoint(name) for name in NAMES if name in families()]
    bare = tmp_path / "no-stub"
    run("compress", made[0].source, "-o", bare, "--rank", RANK, "--no-stub")
    cases = [(one.output, one.kind.__name__) for one in made] + [(bare, made[0].kind.__name__)]
    sentences = FIXTURES / "sentence-transformers"
    run("compress", sentences, "-o", tmp_path / "sentences", "--rank", RANK)
    cases.append((tmp_path / "sentences", "SentenceTransformer"))
    dense = [(sentences, "SentenceTransformer"), (made[0].dense, made[0].kind.__name__)]
    found = alone(tmp_path, [(str(path), kind, {}, {}) for path, kind in cases + dense])
    assert [found.pop(str(path)) for path, _ in dense] == ["loaded"] * 2, "what was not compressed does load"
    assert len(found) == len(cases)
    for path, message in found.items():
        assert "Error" in message, f"{path}: {message}"
        assert any(part in message for part in ("rankfold", "size mismatch", "ignore_mismatched_sizes")), message


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
