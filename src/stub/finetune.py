#!/usr/bin/env python3
"""Retrains a checkpoint that `rankfold compress` made, under the cyclically annealed learning rate (CALR).

    python finetune.py --train train.txt --dev dev.txt -o OUT                      # sentence classification
    python finetune.py --task distill --teacher SOURCE --train text.txt -o OUT     # no labels: learn the original's outputs
    python finetune.py --task mlm --train text.txt -o OUT                          # or causal-lm

Labelled data, by the ending of the name: .txt (label, blank, sentence), .tsv and .csv (columns `label` and `text` or
`sentence` if the first line names them, else label and text in this order), .jsonl ({"label": ..., "text": ...}).
Plain text is one text a line. The best model by the development data is kept; a run that was killed goes on where its
last checkpoint was when the same command is given again. OUT is a checkpoint like its parent, with a manifest that
names the parent by digest: `rankfold verify OUT` shows the way from the source.

Needs torch, safetensors and transformers; matplotlib for the plot.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True  # a __pycache__ would be a file that the manifest lacks

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402

import rankfold_loader  # noqa: E402
import rankfold_manifest  # noqa: E402
from rankfold_schedule import SCHEDULES, RateScheduler, Settings  # noqa: E402

AUTO = {
    "classify": transformers.AutoModelForSequenceClassification,
    "mlm": transformers.AutoModelForMaskedLM,
    "causal-lm": transformers.AutoModelForCausalLM,
}
Row = tuple[str, Optional[str]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="FILE")
    add("--dev", type=Path, metavar="FILE", help="chooses the best epoch; without it the last one is kept")
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="the directory to make")
    add("--model", type=Path, default=HERE, metavar="DIR", help="the compressed checkpoint; that of this program")
    add("--task", choices=["classify", "distill", "mlm", "causal-lm"], default="classify")
    add("--teacher", type=Path, metavar="SOURCE_DIR", help="the original checkpoint, for --task distill")
    add("--trainable", choices=["factors", "all"], help="what learns; `factors` for distill, else `all`")
    add("--optimizer", choices=["sgd", "adam", "adamw"], default="adamw")
    add("--schedule", choices=list(SCHEDULES), default="calr")
    add("--max-lr", type=float, default=1e-3)
    add("--base-lr", type=float, help="max-lr * decay^3 unless given")
    add("--step-size", type=int, default=1000, help="half a cycle, in updates")
    add("--decay", type=float, default=0.1)
    add("--decay-every", type=int, default=1, help="epochs from one decay to the next")
    add("--epochs", type=int, default=4)
    add("--batch", type=int, default=50)
    add("--max-length", type=int, default=128, help="tokens of a text")
    add("--max-updates", type=int, help="stop early")
    add("--save-every", type=int, default=100, help="updates from one checkpoint of the run to the next")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if (given.task == "distill") != (given.teacher is not None):
        parser.error("--task distill and --teacher go together")
    for name in ("epochs", "batch", "max_length", "save_every"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1")
    given.trainable = given.trainable or ("factors" if given.task == "distill" else "all")
    if given.base_lr is None:
        given.base_lr = given.max_lr * math.pow(given.decay, 3.0)
    try:
        Settings(given.max_lr, given.base_lr, given.step_size, 1, given.decay, given.decay_every)
    except ValueError as error:
        parser.error(str(error))
    return given


# Data ----------------------------------------------------------------------------------------------------------------


def read_rows(path: Path, labelled: bool) -> list[Row]:
    rows = list(_labelled(path) if labelled else _plain(path))
    if not rows:
        sys.exit(f"error: `{path}`: no text in it")
    return rows


def _labelled(path: Path) -> Iterator[Row]:
    kind = path.suffix.lower()
    with path.open(encoding="utf-8-sig", newline="") as file:
        if kind in (".csv", ".tsv"):
            yield from _columns(path, csv.reader(file, delimiter="," if kind == ".csv" else "\t"))
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if kind in (".jsonl", ".json"):
                entry = _entry(path, number, line)
                text, label = entry.get("text", entry.get("sentence")), entry.get("label")
            else:
                label, _, text = line.strip().replace("\t", " ").partition(" ")
            if text in (None, "") or label is None:
                sys.exit(f"error: `{path}` line {number}: expected a label and a text")
            yield str(text).strip(), str(label)


def _entry(path: Path, number: int, line: str) -> dict:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        entry = None
    if not isinstance(entry, dict):
        sys.exit(f"error: `{path}` line {number}: expected a JSON object")
    return entry


def _columns(path: Path, lines: Any) -> Iterator[Row]:
    label, text = 0, 1
    for number, fields in enumerate(lines, 1):
        names = [field.strip().lower() for field in fields]
        if number == 1 and "label" in names and ({"text", "sentence"} & set(names)):
            label, text = names.index("label"), names.index("text" if "text" in names else "sentence")
        elif fields:
            if len(fields) <= max(label, text):
                sys.exit(f"error: `{path}` line {number}: expected a label and a text, found {len(fields)} columns")
            yield fields[text].strip(), fields[label].strip()


def _plain(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            text = _entry(path, number, line).get("text") if path.suffix == ".jsonl" else line
            if not isinstance(text, str):
                sys.exit(f"error: `{path}` line {number}: expected a `text`")
            yield text.strip(), None


# Tasks: each gives the loss of a batch and, where there is one, how many of how many are right --------------------------


class Task:
    def __init__(self, given: argparse.Namespace, labels: list[str]) -> None:
        self.given, self.labels = given, labels
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        extra: dict[str, Any] = {}
        if given.task == "classify":
            extra = {"num_labels": len(labels), "id2label": dict(enumerate(labels)),
                     "label2id": {label: index for index, label in enumerate(labels)}}
        kind = AUTO.get(given.task) or own_class(given.model)
        self.model = kind.from_pretrained(given.model, **extra).to(given.device)
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.teacher = None
        if given.task == "distill":
            self.teacher = own_class(given.teacher).from_pretrained(given.teacher).to(given.device).eval()
            self.teacher.requires_grad_(False)

    def loss(self, rows: list[Row], generator: torch.Generator) -> tuple[torch.Tensor, int, int]:
        batch = self.tokenizer([text for text, _ in rows], padding=True, truncation=True,
                               max_length=self.given.max_length, return_tensors="pt").to(self.given.device)
        return getattr(self, "_" + self.given.task.replace("-", "_"))(batch, rows, generator)

    def _classify(self, batch: Any, rows: list[Row], generator: torch.Generator) -> tuple[torch.Tensor, int, int]:
        wanted = torch.tensor([self.labels.index(label) for _, label in rows], device=self.given.device)
        logits = self.model(**batch).logits
        return F.cross_entropy(logits, wanted), int((logits.argmax(-1) == wanted).sum()), len(rows)

    def _distill(self, batch: Any, rows: list[Row], generator: torch.Generator) -> tuple[torch.Tensor, int, int]:
        if self.model.config.is_encoder_decoder:
            batch["decoder_input_ids"] = batch["input_ids"]
        own, original = self.model(**batch), self.teacher(**batch)
        mask = batch["attention_mask"].unsqueeze(-1)
        if "logits" in own:
            divergence = F.kl_div(F.log_softmax(own.logits, -1), F.log_softmax(original.logits, -1), reduction="none",
                                  log_target=True)
            return (divergence.sum(-1, keepdim=True) * mask).sum() / mask.sum(), 0, 0
        difference = own.last_hidden_state - original.last_hidden_state
        return (difference.square() * mask).sum() / (mask.sum() * difference.shape[-1]), 0, 0

    def _mlm(self, batch: Any, rows: list[Row], generator: torch.Generator) -> tuple[torch.Tensor, int, int]:
        """Of the tokens 15 % are asked for: 80 % of them masked, 10 % replaced, 10 % left (Devlin et al. 2019)."""
        ids = batch["input_ids"].cpu()
        special = torch.tensor([self.tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True)
                                for row in ids.tolist()], dtype=torch.bool)
        dice = torch.rand(2, *ids.shape, generator=generator)
        asked = (dice[0] < 0.15) & ~special
        if not asked.any():
            asked = ~special & (dice[0] == dice[0].masked_fill(special, 2.0).min())
        any_token = torch.randint(len(self.tokenizer), ids.shape, generator=generator)
        shown = torch.where(asked & (dice[1] < 0.8), torch.full_like(ids, self.tokenizer.mask_token_id), ids)
        shown = torch.where(asked & (dice[1] >= 0.9), any_token, shown)
        batch["input_ids"] = shown.to(self.given.device)
        return self._tokens(self.model(**batch).logits, ids, asked)

    def _causal_lm(self, batch: Any, rows: list[Row], generator: torch.Generator) -> tuple[torch.Tensor, int, int]:
        ids, mask = batch["input_ids"].cpu(), batch["attention_mask"].cpu().bool()
        return self._tokens(self.model(**batch).logits[:, :-1], ids[:, 1:], mask[:, 1:])

    def _tokens(self, logits: torch.Tensor, ids: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, int, int]:
        logits, wanted = logits[asked.to(logits.device)], ids[asked].to(logits.device)
        return F.cross_entropy(logits, wanted), int((logits.argmax(-1) == wanted).sum()), len(wanted)


def own_class(directory: Path) -> Any:
    """The class that the checkpoint was saved by."""
    names = transformers.AutoConfig.from_pretrained(directory).architectures or []
    return getattr(transformers, names[0], None) if names else transformers.AutoModel


def trained(model: torch.nn.Module, which: str) -> list[torch.nn.Parameter]:
    """The parameters that learn; the others are frozen. A new head learns in any case."""
    if which == "factors":
        own = {id(p) for m in model.modules() if isinstance(m, rankfold_loader._Factorized) for p in m.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in own)
        for name in ("classifier", "score", "pre_classifier", "classification_head"):
            if hasattr(model, name):
                getattr(model, name).requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


# The run -------------------------------------------------------------------------------------------------------------


class Run:
    """A training that can be killed at any time: its state is in a folder beside the output."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        labelled = given.task == "classify"
        self.rows = read_rows(given.train, labelled)
        self.dev = read_rows(given.dev, labelled) if given.dev else []
        labels = sorted({label for _, label in self.rows if label is not None})
        unknown = {label for _, label in self.dev} - set(labels) - {None}
        if unknown:
            sys.exit(f"error: `{given.dev}`: labels that the training data lacks: {sorted(unknown)}")
        if labelled and len(labels) < 2:
            sys.exit(f"error: `{given.train}`: expected two labels or more, found {labels}")
        random.seed(given.seed)
        torch.manual_seed(given.seed)
        self.task = Task(given, labels)
        self.per_epoch = math.ceil(len(self.rows) / given.batch)
        self.total = min(given.epochs * self.per_epoch, given.max_updates or sys.maxsize)
        self.settings = Settings(given.max_lr, given.base_lr, given.step_size, self.per_epoch, given.decay,
                                 given.decay_every, updates=self.total)
        parameters = trained(self.task.model, given.trainable)
        kinds: dict[str, Callable] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        self.optimizer = kinds[given.optimizer](parameters, lr=given.max_lr)
        self.scheduler = RateScheduler(self.optimizer, self.settings, given.schedule)
        self.folder = given.output.with_name(given.output.name + ".training")
        self.done, self.best = 0, math.inf
        self.best_update = 0

    def request(self) -> dict:
        """The options as they were in force, without places on this machine."""
        given = self.given
        record = {key: value for key, value in vars(given).items() if not isinstance(value, Path)}
        record = {key: value for key, value in record.items() if key not in ("output", "device")}
        for name in ("train", "dev"):
            path = getattr(given, name)
            record[name] = {"name": path.name, "sha256": rankfold_manifest.file_digest(path)} if path else None
        if given.teacher:
            weights = sorted(given.teacher.rglob("*.safetensors"))
            record["teacher"] = {file.relative_to(given.teacher).as_posix(): rankfold_manifest.file_digest(file)
                                 for file in weights}
        return {**record, "schedule_settings": asdict(self.settings)}

    def train(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            while self.done < self.total:
                epoch, position = divmod(self.done, self.per_epoch)
                entry = self._update(epoch, position)
                log.write(json.dumps(entry) + "\n")
                if self.done % self.per_epoch == 0 or self.done == self.total:
                    log.write(json.dumps(self._evaluate(epoch)) + "\n")
                log.flush()
                if self.done % self.given.save_every == 0 or self.done % self.per_epoch == 0:
                    self._save()
        self._save()

    def _update(self, epoch: int, position: int) -> dict:
        """One update; everything random in it follows from the seed and its number."""
        order = list(range(len(self.rows)))
        random.Random(f"{self.given.seed} {epoch}").shuffle(order)
        rows = [self.rows[i] for i in order[position * self.given.batch:(position + 1) * self.given.batch]]
        torch.manual_seed(hash((self.given.seed, self.done)) & 0x7FFFFFFF)
        generator = torch.Generator().manual_seed(hash((self.given.seed, self.done, 1)) & 0x7FFFFFFF)
        self.task.model.train()
        loss, right, asked = self.task.loss(rows, generator)
        if not torch.isfinite(loss):
            sys.exit(f"error: the loss of update {self.done} is {float(loss)}; try a smaller --max-lr")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.scheduler.step()
        entry = {"update": self.done, "epoch": epoch, "lr": rate, "loss": float(loss.detach())}
        self.done += 1
        return {**entry, "accuracy": right / asked} if asked else entry

    @torch.no_grad()
    def _evaluate(self, epoch: int) -> dict:
        """Measures on the development data, and keeps the model if it is the best so far."""
        entry: dict[str, Any] = {"update": self.done, "epoch": epoch}
        value = -float(self.done)  # without development data the last is the best
        if self.dev:
            self.task.model.eval()
            loss = right = asked = count = 0.0
            for start in range(0, len(self.dev), self.given.batch):
                rows = self.dev[start:start + self.given.batch]
                one, correct, of = self.task.loss(rows, torch.Generator().manual_seed(self.given.seed + start))
                loss, right, asked, count = loss + float(one) * len(rows), right + correct, asked + of, count + len(rows)
            entry["dev_loss"] = loss / count
            value = loss / count
            if asked:
                entry["dev_accuracy"] = right / asked
                value = -right / asked if self.given.task == "classify" else value
            print(json.dumps(entry), flush=True)
        if value < self.best:
            self.best, self.best_update = value, self.done
            _replace(self.folder / "best.pt", self.task.model.state_dict())
        return entry

    def _save(self) -> None:
        _replace(self.folder / "last.pt", {
            "request": json.dumps(self.request(), sort_keys=True), "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict(), "done": self.done,
            "best": self.best, "best_update": self.best_update,
        })

    def _resume(self) -> None:
        last, log = self.folder / "last.pt", self.folder / "log.jsonl"
        if not last.exists():
            log.write_text("")
            return
        state = torch.load(last, map_location=self.given.device)
        if state["request"] != json.dumps(self.request(), sort_keys=True):
            sys.exit(f"error: `{self.folder}` is of a training with other options or data; remove it, or choose another "
                     f"output")
        self.task.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.done, self.best, self.best_update = state["done"], state["best"], state["best_update"]
        # Updates after the checkpoint are done again, so what the log says of them goes.
        lines = [line for line in log.read_text().splitlines(True) if line.endswith("\n")]
        kept = [line for line in lines if _belongs(json.loads(line), self.done)]
        log.write_text("".join(kept))
        print(f"resuming after update {self.done}", file=sys.stderr)

    # The output ------------------------------------------------------------------------------------------------------

    def publish(self, parent: dict, parent_sha256: str) -> None:
        """Writes the output beside its name, then renames it."""
        given, model = self.given, self.task.model
        model.load_state_dict(torch.load(self.folder / "best.pt", map_location=given.device))
        staged = given.output.with_name(given.output.name + ".part")
        shutil.rmtree(staged, ignore_errors=True)
        root = root_of(given.model)
        inner = given.model.resolve().relative_to(root)
        for record in parent["files"]:
            path = Path(record["path"])
            if "tensors" not in record and path != inner / "config.json" and not path.name.endswith(".index.json"):
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, staged / path)
        _keep_dtypes(model, given.model)
        model.save_pretrained(staged / inner, safe_serialization=True)
        stored = {tensor["name"]: tensor for record in rankfold_manifest.file_records(staged)
                  for tensor in record.get("tensors", [])}
        rename = rankfold_manifest.renamer(parent, stored, getattr(model, "base_model_prefix", ""))
        errors = {table["name"]: rankfold_manifest.moved(table, given.model, staged / inner, rename)
                  for table in parent["tables"]}
        tables = rankfold_manifest.renamed_tables(parent, stored, rename, errors)
        rankfold_manifest.write_config(staged / inner / "config.json", tables)
        shutil.copyfile(self.folder / "log.jsonl", staged / "training.jsonl")
        plot(staged / "training.jsonl", staged / "training.svg")
        request = {**self.request(), "best_update": self.best_update}
        sha256 = rankfold_manifest.write_retrained(staged, parent, parent_sha256, request, tables)
        os.replace(staged, given.output)
        for name in ("last.pt", "best.pt", "log.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        print(json.dumps({"output": str(given.output), "manifest_sha256": sha256, "best_update": self.best_update}))


def _belongs(entry: dict, done: int) -> bool:
    """Whether a line of the log tells of the first `done` updates: an evaluation comes after its last update."""
    return entry["update"] < done if "lr" in entry else entry["update"] <= done


def _replace(path: Path, state: Any) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def root_of(directory: Path) -> Path:
    """Where the manifest is: the directory itself, or one above it where a model is a module of another."""
    folder = directory.resolve()
    for place in (folder, *list(folder.parents)[:2]):
        if (place / rankfold_manifest.MANIFEST).is_file():
            return place
    sys.exit(f"error: no {rankfold_manifest.MANIFEST} at `{directory}`: not an output of `rankfold compress`")


def _keep_dtypes(model: torch.nn.Module, directory: Path) -> None:
    """Stores every parameter in the dtype that it had, whatever it was trained in."""
    places, prefix = rankfold_manifest.stored_tensors(directory), getattr(model, "base_model_prefix", "")
    for name, parameter in model.named_parameters():
        for old in (name, name[len(prefix) + 1:] if name.startswith(prefix + ".") else name, f"{prefix}.{name}"):
            if old in places:
                parameter.data = parameter.data.to(rankfold_manifest.tensor_of(places, old).dtype)
                break


def plot(log: Path, path: Path) -> None:
    """Loss, accuracy and learning rate by update, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rankfold"  # the same picture has the same bytes
    from matplotlib import pyplot

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    shown = [("loss", "dev_loss"), ("accuracy", "dev_accuracy"), ("lr",)]
    figure, axes = pyplot.subplots(len(shown), 1, sharex=True, figsize=(8, 7))
    for axis, names in zip(axes, shown):
        for name in names:
            points = [(entry["update"], entry[name]) for entry in entries if name in entry]
            if points:
                axis.plot(*zip(*points), label=name, marker="o" if name.startswith("dev") else None)
        axis.set_ylabel(names[0])
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    axes[-1].set_xlabel("update")
    figure.savefig(path, metadata={"Date": None})


def parent_of(directory: Path) -> tuple[dict, str]:
    """The manifest of the checkpoint to retrain and its digest; ends the program where there is nothing to train."""
    text = (root_of(directory) / rankfold_manifest.MANIFEST).read_bytes()
    parent = json.loads(text)
    if parent["operation"] in ("restore", "convert", "train"):
        sys.exit(f"error: the tables of `{directory}` are dense; retrain the output of `rankfold compress`")
    other = {table["method"] for table in parent["tables"]} - {"low-rank"}
    if other:
        sys.exit(f"error: the tables of `{directory}` are of methods that do not train: {sorted(other)}")
    if parent.get("carrier"):
        sys.exit(f"error: the factors of `{directory}` are where `{parent['carrier']['name']}` has a place for them; any "
                 f"program that trains such models trains them\n"
                 f"hint: `rankfold compress --carrier loader` makes a checkpoint for this one")
    if not (directory / "config.json").is_file():
        sys.exit(f"error: no config.json at `{directory}`: this program retrains models of transformers\n"
                 f"hint: for ONNX models retrain the checkpoint that they were exported from; word vectors have no model")
    return parent, rankfold_manifest.sha256(text)


def main() -> None:
    given = arguments()
    if given.output.exists():
        sys.exit(f"error: `{given.output}` exists")
    parent, digest = parent_of(given.model)
    run = Run(given)
    run.train()
    run.publish(parent, digest)


if __name__ == "__main__":
    main()
