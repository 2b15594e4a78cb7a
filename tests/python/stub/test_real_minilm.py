"""all-MiniLM-L6-v2 through sentence-transformers, transformers' Trainer and the fine-tuning program."""

import json
import subprocess
import sys

import numpy
import pytest
import rankfold_loader  # noqa: F401  what the output needs to load
import torch
import transformers
from conftest import real_model, run

SENTENCES = ["A man is eating food.", "The girl is carrying a baby.", "Zürich lies by a lake.", "", "tokenization " * 40]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    root = tmp_path_factory.mktemp("minilm")
    run("compress", real_model(), "-o", root / "model", "--rank", 128)
    run("restore", root / "model", "-o", root / "dense")
    return root


def encode(directory):
    """Mean pooling and normalization, as the model's own modules say, or those where it has them."""
    from sentence_transformers import SentenceTransformer, models

    transformer = models.Transformer(str(directory), max_seq_length=128)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu").encode(SENTENCES)


def test_real_sentence_embeddings_are_those_of_the_dense_model(minilm):
    found, expected = encode(minilm / "model"), encode(minilm / "dense")
    assert found.shape == (len(SENTENCES), 384)
    assert numpy.abs(found - expected).max() <= 1e-5


def test_real_trainer_trains_both_factors_and_its_output_loads(minilm, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm / "model", num_labels=2)
    rows = [{**tokenizer(text, padding="max_length", max_length=12, truncation=True), "labels": index % 2}
            for index, text in enumerate(SENTENCES * 4)]
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    pair = model.bert.embeddings.word_embeddings.proj.weight.detach().clone()
    options = transformers.TrainingArguments(str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=4,
                                             report_to=[], use_cpu=True, save_strategy="no", learning_rate=1e-3)
    from rankfold_schedule import CALR

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = CALR(optimizer, 1e-3, 1e-4, step_size=2, steps_per_epoch=5)
    trainer = transformers.Trainer(model, options, train_dataset=rows, optimizers=(optimizer, schedule))
    trainer.train()
    assert not torch.equal(before, model.bert.embeddings.word_embeddings.weight)
    assert not torch.equal(pair, model.bert.embeddings.word_embeddings.proj.weight)
    trainer.save_model(str(tmp_path / "saved"))
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    batch = tokenizer(SENTENCES[:2], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert (again(**batch).logits - model.eval()(**batch).logits).abs().max() <= 1e-5


def test_real_distillation_lowers_the_loss_and_verifies(minilm, tmp_path):
    words = "the a man girl cat dog is was eats reads sees food book house river old new small".split()
    lines = [" ".join(words[(i * 7 + j * j * 3 + i * j) % len(words)] for j in range(8)) for i in range(96)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    done = subprocess.run([sys.executable, minilm / "model" / "finetune.py", "--task", "distill", "--teacher",
                           real_model(), "--train", tmp_path / "text.txt", "-o", tmp_path / "out", "--batch", "16",
                           "--epochs", "2", "--step-size", "4", "--max-lr", "2e-3", "--max-length", "16"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "out" / "training.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "lr" in entry]
    assert len(losses) == 12 and sum(losses[-3:]) < 0.8 * sum(losses[:3])
    shown = run("verify", tmp_path / "out", "--source", minilm / "model").stdout
    assert "retrain: sha256" in shown and "no difference" in shown
    assert encode(tmp_path / "out").shape == (len(SENTENCES), 384)
