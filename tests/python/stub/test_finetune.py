"""The fine-tuning program, run as people run it."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rankfold_loader  # noqa: F401  what the output needs to load
import torch
import transformers
from conftest import RANK, STUB, run
from rankfold_schedule import SCHEDULES, Settings

FIXTURES = Path(__file__).parents[3] / "fixtures"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "fine", "great", "bad", "poor", "awful", "the", "film",
         "was", "very", "a", "quite", "story"] + [f"word{number}" for number in range(102)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny BERT with a tokenizer, compressed, with data of which the label can be learned."""
    root = tmp_path_factory.mktemp("finetune")
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=48, max_position_embeddings=32)
    transformers.BertModel(config).save_pretrained(root / "source")
    (root / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(root / "vocab.txt")).save_pretrained(root / "source")
    run("compress", root / "source", "-o", root / "model", "--rank", RANK)
    dice = random.Random(0)
    rows = []
    for _ in range(120):
        label = dice.choice(["good", "bad"])
        mood = dice.choice(WORDS[5:8] if label == "good" else WORDS[8:11])
        rows.append((label, f"the {dice.choice(['film', 'story'])} was {dice.choice(['very', 'quite'])} {mood}"))
    (root / "train.txt").write_text("".join(f"{label} {text}\n" for label, text in rows))
    (root / "dev.tsv").write_text("label\tsentence\n" + "".join(f"{label}\t{text}\n" for label, text in rows[:30]))
    (root / "train.csv").write_text("".join(f'"{label}","{text}"\n' for label, text in rows))
    (root / "train.jsonl").write_text("".join(json.dumps({"label": a, "text": b}) + "\n" for a, b in rows))
    (root / "text.txt").write_text("".join(f"{text}\n" for _, text in rows))
    return root


def command(root, output, *options, model="model"):
    return [sys.executable, str(root / model / "finetune.py"), "-o", str(output), "--batch", "20", "--step-size", "7",
            "--max-length", "16", *map(str, options)]


def finetune(root, output, *options, model="model"):
    done = subprocess.run(command(root, output, *options, model=model), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (output / "training.jsonl").read_text().splitlines()]


def test_classification_learns_and_its_output_verifies_back_to_the_source(bert, tmp_path):
    log = finetune(bert, tmp_path / "out", "--train", bert / "train.txt", "--dev", bert / "dev.tsv", "--epochs", 8,
                   "--max-lr", "2e-2", "--decay", "0.7")
    updates = [entry for entry in log if "lr" in entry]
    assert len(updates) == 48
    assert [entry["dev_accuracy"] for entry in log if "dev_accuracy" in entry][-1] >= 0.9
    assert updates[-1]["loss"] < updates[0]["loss"] / 2
    run("verify", tmp_path / "out", "--source", bert / "model")
    shown = run("verify", tmp_path / "out", "--chain", bert / "model", bert / "source").stdout
    steps = [line.split(":")[0] for line in shown.splitlines() if ": sha256" in line and "manifest" not in line]
    assert steps == ["source", "compress", "retrain"]
    manifest = json.loads((tmp_path / "out" / "rankfold.json").read_text())
    assert manifest["source"]["manifest_sha256"] in run("verify", bert / "model").stdout
    assert str(bert) not in (tmp_path / "out" / "rankfold.json").read_text(), "no place on this machine"
    assert str(bert) not in (tmp_path / "out" / "config.json").read_text()
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "training.svg").is_file() == (importlib.util.find_spec("matplotlib") is not None)


def test_the_best_on_the_development_data_is_kept_not_the_last(bert, tmp_path):
    """The development data contradict the training data, so that every epoch makes it worse there."""
    lines = (bert / "train.txt").read_text().splitlines()[:40]
    other = {"good": "bad", "bad": "good"}
    (tmp_path / "dev.txt").write_text("".join(f"{other[line.split()[0]]} {line.split(' ', 1)[1]}\n" for line in lines))
    options = ("--train", bert / "train.txt", "--dev", tmp_path / "dev.txt", "--epochs", 8, "--max-lr", "2e-2", "--decay",
               "0.7", "--optimizer", "adam")
    log = finetune(bert, tmp_path / "out", *options)
    found = {entry["update"]: entry["dev_accuracy"] for entry in log if "dev_accuracy" in entry}
    best = max(found, key=lambda update: (found[update], -update))
    assert list(found) == list(range(6, 49, 6)) and best < 48 and found[48] < found[best]
    manifest = json.loads((tmp_path / "out" / "rankfold.json").read_text())
    assert manifest["request"]["best_update"] == best
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    right = 0
    for line in (tmp_path / "dev.txt").read_text().splitlines():
        label, text = line.split(" ", 1)
        with torch.no_grad():
            right += model.config.id2label[int(model(**tokenizer(text, return_tensors="pt")).logits.argmax())] == label
    assert right / 40 == pytest.approx(found[best])


def test_outputs_that_have_no_factors_of_a_model_are_refused_with_the_reason(bert, tmp_path):
    opt = transformers.OPTForCausalLM(transformers.OPTConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=1, ffn_dim=48, num_attention_heads=2, word_embed_proj_dim=32,
        max_position_embeddings=32))
    opt.save_pretrained(tmp_path / "opt")
    run("compress", tmp_path / "opt", "-o", tmp_path / "native", "--rank", RANK, "--carrier", "native")
    run("compress", FIXTURES / "onnx" / "gemm.onnx", "-o", tmp_path / "onnx", "--rank", 5)
    (tmp_path / "vectors.txt").write_text("".join(f"w{n} {n} {n * n % 7} {n % 3} 1\n" for n in range(40)))
    run("compress", tmp_path / "vectors.txt", "-o", tmp_path / "words", "--rank", 2)
    run("compress", bert / "source", "-o", tmp_path / "codes", "--method", "fixed-point", "--bits", 6)
    run("restore", bert / "model", "-o", tmp_path / "dense")
    reasons = {"native": "`opt` has a place for them", "onnx": "no config.json", "words": "no config.json",
               "codes": "do not train: ['fixed-point']", "dense": "are dense", "opt": "no rankfold.json"}
    program = "import sys\nsys.path.insert(0, sys.argv[1])\nimport finetune\nfrom pathlib import Path\n" \
              "for one in sys.argv[2:]:\n    try: finetune.parent_of(Path(one))\n    except SystemExit as e: print(e.code)"
    done = subprocess.run([sys.executable, "-B", "-c", program, STUB, *(tmp_path / name for name in reasons)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(said) == len(reasons)
    for line, (name, reason) in zip(said, reasons.items()):
        assert reason in line and str(tmp_path / name) in line, line


def test_the_way_from_a_retrained_model_back_to_its_source_is_walked_by_digests(bert, tmp_path):
    finetune(bert, tmp_path / "once", "--train", bert / "train.txt", "--epochs", 1)
    finetune(tmp_path, tmp_path / "twice", "--train", bert / "train.txt", "--epochs", 1, model="once")
    run("restore", tmp_path / "twice", "-o", tmp_path / "dense")
    way = [bert / "source", bert / "model", tmp_path / "once", tmp_path / "twice"]
    for output, ancestors, steps in [
        (tmp_path / "once", way[:2], ["source", "compress", "retrain"]),
        (tmp_path / "twice", way[:3][::-1], ["source", "compress", "retrain", "retrain"]),
        (tmp_path / "dense", way, ["source", "compress", "retrain", "retrain", "restore"]),
    ]:
        report = json.loads(run("verify", output, "--json", "--chain", *ancestors).stdout)
        assert [link["step"] for link in report["chain"]] == steps
        assert [link["path"] for link in report["chain"]] == [*map(str, sorted(ancestors, key=way.index)), str(output)]

    def differences(*ancestors):
        report = json.loads(run("verify", tmp_path / "twice", "--json", "--chain", *ancestors, code=3).stdout)
        return {(one["change"], one["subject"], one["name"]) for one in report["differences"]}

    assert ("missing", "step", "source") in differences(*way[:2]), "a step is left out"
    shutil.copytree(tmp_path / "once", tmp_path / "changed")
    weights = tmp_path / "changed" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert ("changed", "file", str(weights)) in differences(*way[:2], tmp_path / "changed")
    shutil.copytree(bert / "source", tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text() + " ")
    changed = differences(tmp_path / "other", *way[1:3])
    assert changed == {("changed", "source-file", str(config))}


def test_the_retrained_model_loads_restores_and_can_be_retrained(bert, tmp_path):
    finetune(bert, tmp_path / "once", "--train", bert / "train.jsonl", "--epochs", 1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "once")
    assert model.config.id2label == {0: "bad", 1: "good"}
    run("restore", tmp_path / "once", "-o", tmp_path / "dense")
    dense = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "dense")
    ids = torch.tensor([[2, 11, 12, 13, 14, 5, 3]])
    with torch.no_grad():
        assert (model.eval()(ids).logits - dense.eval()(ids).logits).abs().max() <= 1e-5
    finetune(tmp_path, tmp_path / "twice", "--train", bert / "train.csv", "--epochs", 1, model="once")
    shown = run("verify", tmp_path / "twice", "--source", tmp_path / "once").stdout
    assert shown.count("retrain: sha256") == 2


def test_the_learning_rate_is_the_closed_form_and_factors_alone_learn_where_asked(bert, tmp_path):
    for name in ("calr", "triangular", "cosine"):
        log = finetune(bert, tmp_path / name, "--train", bert / "train.txt", "--epochs", 3, "--schedule", name,
                       "--max-lr", "1e-3", "--base-lr", "1e-5", "--max-updates", 15, "--trainable", "factors")
        settings = Settings(1e-3, 1e-5, 7, 6, updates=15)
        assert [entry["lr"] for entry in log if "lr" in entry] == [SCHEDULES[name](settings, t) for t in range(15)]
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (bert / "model", tmp_path / "calr"))
    changed = {name for name in before if not torch.equal(before[name], after[f"bert.{name}"])}
    assert changed == {"embeddings.word_embeddings.weight", "embeddings.word_embeddings.proj.weight"}


def test_a_killed_run_goes_on_as_if_nothing_had_been(bert, tmp_path):
    options = ("--train", bert / "train.txt", "--dev", bert / "dev.tsv", "--epochs", 30, "--save-every", 4)
    expected = finetune(bert, tmp_path / "whole", *options)
    log = tmp_path / "out.training" / "log.jsonl"
    running = subprocess.Popen(command(bert, tmp_path / "out", *options), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            if log.exists() and log.read_text().count("\n") >= 11:
                break
            time.sleep(0.01)
        assert running.poll() is None, "it was to be killed in the middle"
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (tmp_path / "out").exists()
    assert (log.parent / "last.pt").exists()
    found = finetune(bert, tmp_path / "out", *options)
    assert [e.get("lr") for e in found] == [e.get("lr") for e in expected]
    assert [e["update"] for e in found] == [e["update"] for e in expected]
    for one, other in zip(found, expected):
        assert one.get("loss", 0.0) == pytest.approx(other.get("loss", 0.0), rel=1e-4, abs=1e-6)
    assert not log.parent.exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_distillation_moves_the_factors_only_towards_the_original(bert, tmp_path, optimizer):
    log = finetune(bert, tmp_path / "out", "--task", "distill", "--teacher", bert / "source", "--train",
                   bert / "text.txt", "--dev", bert / "text.txt", "--epochs", 5, "--max-lr",
                   "1" if optimizer == "sgd" else "1e-2", "--optimizer", optimizer)
    losses = [entry["dev_loss"] for entry in log if "dev_loss" in entry]
    assert min(losses) < losses[0] and losses[0] < 1.0
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (bert / "model", tmp_path / "out"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"embeddings.word_embeddings.weight", "embeddings.word_embeddings.proj.weight"}
    run("verify", tmp_path / "out")


def test_masked_language_modelling_runs(bert, tmp_path):
    log = finetune(bert, tmp_path / "out", "--task", "mlm", "--train", bert / "text.txt", "--dev", bert / "text.txt",
                   "--epochs", 6, "--max-lr", "1e-2")
    losses = [entry["dev_loss"] for entry in log if "dev_loss" in entry]
    assert losses[-1] < losses[0]
    run("verify", tmp_path / "out")


def test_causal_language_modelling_runs(tmp_path, bert):
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=1, n_head=2, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "source")
    transformers.BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(tmp_path / "source")
    run("compress", tmp_path / "source", "-o", tmp_path / "model", "--rank", RANK)
    log = finetune(tmp_path, tmp_path / "out", "--task", "causal-lm", "--train", bert / "text.txt", "--epochs", 3,
                   "--max-lr", "1e-2")
    losses = [entry["loss"] for entry in log if "lr" in entry]
    assert losses[-1] < losses[0]
    run("verify", tmp_path / "out", "--source", tmp_path / "model")


def test_other_options_do_not_go_on_with_a_run(bert, tmp_path):
    options = ["--train", bert / "train.txt", "--epochs", 1]
    folder = tmp_path / "out.training"
    folder.mkdir()
    torch.save({"request": "another"}, folder / "last.pt")
    done = subprocess.run(command(bert, tmp_path / "out", *options), capture_output=True, text=True)
    assert done.returncode == 1 and "other options or data" in done.stderr


def test_wrong_data_and_wrong_options_are_named(bert, tmp_path):
    wrong = {"bad.tsv": "good\tthe film\nbad\n", "bad.jsonl": '{"label": 1, "text": "a"}\nno\n',
             "bad.json": '{"label": 1, "text": "a"}\n{"label": 2}\n', "bad.txt": "good the film\nbad\n"}
    for name, text in wrong.items():
        (tmp_path / name).write_text(text)
    program = "import sys\nsys.path.insert(0, sys.argv[1])\nimport finetune\nfrom pathlib import Path\n" \
              "for one in sys.argv[2:]:\n    try: finetune.read_rows(Path(one), True)\n" \
              "    except SystemExit as e: print(e.code)"
    done = subprocess.run([sys.executable, "-B", "-c", program, STUB, *(tmp_path / name for name in wrong)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(wrong)
    assert all(f"{name}` line 2: expected" in line for name, line in zip(wrong, said)), said
    done = subprocess.run(command(bert, tmp_path / "out", "--train", bert / "train.txt", "--decay", 1),
                          capture_output=True, text=True)
    assert done.returncode == 2 and "base_lr" in done.stderr and "Traceback" not in done.stderr
    assert not os.path.exists(tmp_path / "out")
