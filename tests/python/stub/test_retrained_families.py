"""The fine-tuning program on models of other kinds than BERT, tied and not."""

import json
import random
import shutil
import sys

import pytest
import torch
from conftest import RANK, families, run
from rankfold_loader import FactorizedEmbedding

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"word{number}" for number in range(115)]
TASKS = {"gpt2": "causal-lm", "gpt2-untied": "causal-lm", "opt": "causal-lm", "opt-untied": "causal-lm", "t5": "distill",
         "t5-untied": "distill"}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A tokenizer, and texts in which each word follows from the one before it."""
    import transformers

    root = tmp_path_factory.mktemp("text")
    (root / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(
        str(root / "vocab.txt"), model_input_names=["input_ids", "attention_mask"]).save_pretrained(root / "tokenizer")
    dice = random.Random(0)
    starts = [dice.randrange(20) for _ in range(80)]
    lines = (" ".join(f"word{start + step}" for step in range(8)) for start in starts)
    (root / "text.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.mark.parametrize("name", TASKS)
def test_factors_of_every_kind_learn_and_their_output_verifies(name, text, checkpoint, tmp_path, monkeypatch):
    import finetune

    one = checkpoint(name)
    source, task = tmp_path / "source", TASKS[name]
    shutil.copytree(one.source, source)
    shutil.copytree(text / "tokenizer", source, dirs_exist_ok=True)
    run("compress", source, "-o", tmp_path / "model", "--rank", RANK)
    teacher = ["--teacher", source] if task == "distill" else []
    options = ["--task", task, *teacher, "--train", text / "text.txt", "--dev", text / "text.txt", "--model",
               tmp_path / "model", "-o", tmp_path / "out", "--epochs", 4, "--batch", 16, "--max-lr", "1e-2",
               "--step-size", 5, "--decay", "0.5", "--trainable", "factors"]
    monkeypatch.setattr(sys, "argv", ["finetune.py", *map(str, options)])
    finetune.main()
    log = [json.loads(line) for line in (tmp_path / "out" / "training.jsonl").read_text().splitlines()]
    losses = [entry["dev_loss"] for entry in log if "dev_loss" in entry]
    assert len(losses) == 4 and losses[-1] < losses[0]
    shown = run("verify", tmp_path / "out", "--chain", tmp_path / "model", source).stdout
    assert "retrain: sha256" in shown and "source: sha256" in shown
    before, after = (families()[name][1].from_pretrained(path) for path in (tmp_path / "model", tmp_path / "out"))
    assert isinstance(after.get_input_embeddings(), FactorizedEmbedding)
    changed = {key for key, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[key])}
    assert changed and all(value.shape[-1] == RANK for key, value in after.state_dict().items() if key in changed)
