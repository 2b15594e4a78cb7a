"""Factor pairs in the places that architectures have for them: stock libraries load the output, no loader needed."""

import json
import sys

import numpy
import pytest
import torch
import transformers
from conftest import RANK, VOCABULARY, WIDTH, files_of, run

IDS = torch.arange(3, 27).reshape(2, 12)


def opt(tied=True, **more):
    config = transformers.OPTConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, ffn_dim=48,
                                    num_attention_heads=4, max_position_embeddings=64, word_embed_proj_dim=WIDTH,
                                    tie_word_embeddings=tied, **more)
    return transformers.OPTForCausalLM(config)


def deberta(kind=transformers.DebertaV2Model, **more):
    config = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4,
                  intermediate_size=48, max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"],
                  position_biased_input=False, type_vocab_size=0)
    return kind(transformers.DebertaV2Config(**{**config, **more}))


MODELS = {"opt": opt, "deberta-v2": deberta,
          "deberta-v3-labels": lambda: deberta(transformers.DebertaV2ForSequenceClassification, num_labels=3)}


def saved(model, directory):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.eval().save_pretrained(directory)
    return type(model)


def output(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS))[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_native_place_gives_what_the_dense_model_gives(name, tmp_path):
    kind = saved(MODELS[name](), tmp_path / "source")
    run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "native")
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    assert not list((tmp_path / "out").glob("*.py"))
    model, report = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    table = model.get_input_embeddings()
    assert type(table) is torch.nn.Embedding and table.weight.shape == (VOCABULARY, RANK)
    expected = output(kind.from_pretrained(tmp_path / "dense"))
    assert (output(model) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(output(kind.from_pretrained(tmp_path / "again")), output(model))
    shown = json.loads((tmp_path / "out" / "rankfold.json").read_text())
    assert shown["carrier"]["name"] == shown["request"]["carrier"] != "native"
    assert (tmp_path / "dense" / "config.json").read_bytes() == (tmp_path / "source" / "config.json").read_bytes()
    run("verify", tmp_path / "out", "--source", tmp_path / "source")
    run("verify", tmp_path / "dense", "--source", tmp_path / "out")
    run("diff", tmp_path / "out", tmp_path / "dense", "--max-error", "1e-6")


def test_a_tied_opt_head_is_the_table_still(tmp_path):
    saved(opt(), tmp_path / "source")
    run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "auto")
    model = transformers.OPTForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    decoder = model.model.decoder
    assert torch.equal(decoder.project_in.weight, decoder.project_out.weight.t())


@pytest.mark.parametrize("make, reason", [
    (lambda: opt(tied=False), "not tied"),
    (lambda: transformers.OPTModel(opt().config), "output head"),
    (lambda: deberta(position_biased_input=True), "positions are added"),
    (lambda: deberta(type_vocab_size=2), "token types are added"),
    (lambda: deberta(transformers.DebertaV2ForMaskedLM), "head over the vocabulary"),
    (lambda: transformers.BertModel(transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)),
     "no place for a factor pair"),
], ids=["opt untied", "opt without head", "positions", "token types", "masked head", "bert"])
def test_what_would_change_the_outputs_is_refused_and_auto_takes_the_loader(make, reason, tmp_path):
    saved(make(), tmp_path / "source")
    failed = run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "native", code=1)
    assert reason in failed.stderr and "--carrier loader" in failed.stderr
    assert not (tmp_path / "out").exists()
    run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "auto")
    assert (tmp_path / "out" / "rankfold_loader.py").is_file()


def test_other_methods_have_no_place_in_a_model(tmp_path):
    saved(opt(), tmp_path / "source")
    failed = run("compress", tmp_path / "source", "-o", tmp_path / "out", "--method", "fixed-point", "--bits", 6,
                 "--carrier", "opt", code=1)
    assert "factor pair" in failed.stderr


def static(directory):
    """A StaticEmbedding with the tokenizer of words `w0` to `w119`, normalized."""
    import tokenizers
    from sentence_transformers import SentenceTransformer, models

    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    # Without a scale of their own the rows would all be of one length.
    table = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0)).cumsum(1).numpy()
    module = models.StaticEmbedding(tokenizer, embedding_weights=table)
    SentenceTransformer(modules=[module, models.Normalize()], device="cpu").save(str(directory))


def test_a_static_embedding_is_followed_by_a_dense(tmp_path):
    from sentence_transformers import SentenceTransformer

    static(tmp_path / "source")
    refused = run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "loader", code=1)
    assert "would take codes for the table" in refused.stderr, refused.stderr
    run("compress", tmp_path / "source", "-o", tmp_path / "out", "--rank", RANK, "--carrier", "native")
    run("restore", tmp_path / "out", "-o", tmp_path / "dense")
    texts = ["w1 w2 w3", "w7", "w100 w100 w5 w6"]
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    found = model.encode(texts)
    expected = SentenceTransformer(str(tmp_path / "dense"), device="cpu").encode(texts)
    assert [type(module).__name__ for module in model] == ["StaticEmbedding", "Dense", "Normalize"]
    assert model[0].embedding.weight.shape == (VOCABULARY, RANK) and model[1].linear.bias is None
    assert found.shape == (3, WIDTH) and numpy.abs(found - expected).max() <= 1e-5
    run("verify", tmp_path / "out", "--source", tmp_path / "source")
    run("verify", tmp_path / "dense", "--source", tmp_path / "out")
    run("diff", tmp_path / "out", tmp_path / "dense", "--max-error", "1e-6")
    restored, original = files_of(tmp_path / "dense"), files_of(tmp_path / "source")
    assert {name: data for name, data in restored.items() if not name.endswith(".safetensors")} == \
        {name: data for name, data in original.items() if not name.endswith(".safetensors")}


def test_word_vectors_become_a_static_embedding(tmp_path):
    from sentence_transformers import SentenceTransformer

    table = torch.randn(90, 24, generator=torch.Generator().manual_seed(1)).cumsum(1).numpy()
    # Words that need care in JSON, one that repeats, one that cannot be in a text, and ones that begin others.
    words = [f"w{number}" for number in range(84)] + ["w", '"\\', "\u2581", "grün", "w3", "new york"]
    with open(tmp_path / "vectors.txt", "w", encoding="utf-8") as file:
        file.writelines(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, table))
    out = tmp_path / "out"
    run("compress", tmp_path / "vectors.txt", "-o", out, "--rank", 7, "--carrier", "sentence-transformers")
    run("verify", out, "--source", tmp_path / "vectors.txt")
    run("restore", out, "-o", tmp_path / "dense")
    sys.path.insert(0, str(out))
    from word_vectors import WordVectors

    dense = WordVectors(tmp_path / "dense")
    pair = WordVectors(out)
    assert pair.dimension == 24 and numpy.abs(pair["w3"] - dense["w3"]).max() <= 1e-4
    model = SentenceTransformer(str(out), device="cpu")
    assert [type(module).__name__ for module in model] == ["StaticEmbedding", "Dense"]
    assert model[0].embedding.weight.shape == (90, 7)
    texts = ["w1 w2 w3", 'grün "\\  \u2581\nw', "w7 wholly unknown w9", "nothing of it"]
    known = [["w1", "w2", "w3"], ["grün", '"\\', "\u2581", "w"], ["w7", "w9"], []]
    expected = [sum((dense[word] for word in one), numpy.zeros(24)) / max(1, len(one)) for one in known]
    assert numpy.abs(model.encode(texts) - numpy.array(expected)).max() <= 1e-4
