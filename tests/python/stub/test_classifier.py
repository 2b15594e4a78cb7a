"""Classifiers that `rankfold train` made, dense and compressed: PyTorch gives the logits that `rankfold evaluate` gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rankfold_classifier
import torch
from conftest import run

SENTENCES = Path(__file__).parents[3] / "fixtures" / "sentences"
COMPRESSIONS = {
    "dense": None,
    "low-rank": ["--reduction", "0.6"],
    "fixed-point": ["--method", "fixed-point", "--bits", "4"],
    "low-rank-fixed": ["--method", "low-rank-fixed", "--reduction", "0.8"],
}


@pytest.fixture(scope="module", params=["dan", "lstm"])
def trained(request, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / request.param
    run("train", "--arch", request.param, "--train", SENTENCES / "train.txt", "--dev", SENTENCES / "dev.tsv",
        "--width", "24", "--epochs", "3", "--schedule", "constant", "--max-lr", "0.01", "-o", out)
    return out


def predictions(model: Path, data: Path, out: Path) -> list[dict]:
    run("evaluate", model, "--data", data, "--predictions", out)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_logits_are_those_of_the_program(trained, name, tmp_path):
    model = trained
    if COMPRESSIONS[name]:
        model = tmp_path / "small"
        run("compress", trained, "-o", model, *COMPRESSIONS[name])
    sentences = ["word1 WORD12 word30", "never seen", "", " ".join(f"word{n % 50}" for n in range(90)), "<pad> word2"]
    data = tmp_path / "data.txt"
    data.write_text("".join(f"good {sentence}\n" for sentence in sentences))
    expected = predictions(model, data, tmp_path / "predictions.jsonl")
    classifier = rankfold_classifier.load(model)
    with torch.no_grad():
        logits = classifier(*classifier.encode(sentences))
    wanted = torch.tensor([line["logits"] for line in expected])
    assert (logits - wanted).abs().max() <= 1e-5
    assert [label for label, _ in classifier.predict(sentences)] == [line["given"] for line in expected]
    # One by one, so without the padding of a batch.
    with torch.no_grad():
        alone = torch.cat([classifier(*classifier.encode([sentence])) for sentence in sentences])
    assert (alone - logits).abs().max() <= 1e-5


def test_gradients_reach_the_factors(trained, tmp_path):
    small = tmp_path / "small"
    run("compress", trained, "-o", small, "--reduction", "0.6")
    classifier = rankfold_classifier.load(small)
    classifier(*classifier.encode(["word1 word12"])).sum().backward()
    assert classifier.embedding.weight.grad.abs().sum() > 0
    assert classifier.embedding.proj.weight.grad.abs().sum() > 0


def test_the_loader_that_an_output_has_works_where_nothing_else_is(trained, tmp_path):
    small = tmp_path / "small"
    run("compress", trained, "-o", small, "--method", "fixed-point", "--bits", "8")
    program = "import rankfold_classifier as c; print(c.load('.').predict(['word1 word3'])[0][0])"
    done = subprocess.run([sys.executable, "-B", "-c", program], cwd=small, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("good", "bad")


def test_without_the_loader_beside_it_a_compressed_table_is_an_error(trained, tmp_path, monkeypatch):
    small = tmp_path / "small"
    run("compress", trained, "-o", small, "--reduction", "0.6", "--no-stub")
    monkeypatch.delitem(sys.modules, "rankfold_loader", raising=False)
    with pytest.raises(FileNotFoundError, match="no-stub"):
        rankfold_classifier.load(small)


def test_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("<pad>\n<unk>\n")
    with pytest.raises(ValueError, match="rankfold-dan"):
        rankfold_classifier.load(tmp_path)
