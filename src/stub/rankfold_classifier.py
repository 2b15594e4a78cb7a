"""Loads a classifier of sentences that `rankfold train` made, dense or compressed, and runs it with PyTorch.

    model = rankfold_classifier.load(directory)
    model.predict(["a fine film , truly"])            # [("positive", 0.97)]
    model(*model.encode(["a fine film , truly"]))     # logits [1, classes]

The model is a plain `nn.Module`: gradients flow into factor pairs, as they do into a dense table. Codes do not learn.

Needs torch and safetensors; for a compressed table the files that `rankfold compress` put beside this one.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

PADDING, UNKNOWN = 0, 1


class Classifier(nn.Module):
    """An embedding with a network behind it; the names of its parameters are those of the checkpoint."""

    def __init__(self, config: dict, words: list[str]) -> None:
        super().__init__()
        self.rows = {word: row for row, word in enumerate(words)}
        self.lower = bool(config["do_lower_case"])
        self.max_tokens = int(config["max_tokens"])
        self.labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        self.embedding = nn.Embedding(len(words), config["embedding_size"])
        self.dropout = nn.Dropout(config["dropout"])

    def encode(self, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of words [b, t], padded behind, and the words of each sentence [b], at least one."""
        rows = [[self._row(word) for word in sentence.split()[: self.max_tokens]] or [UNKNOWN]
                for sentence in sentences]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        return ids, torch.tensor([len(row) for row in rows])

    def _row(self, word: str) -> int:
        # A text cannot name the padding.
        return self.rows.get(word.lower() if self.lower else word, UNKNOWN) or UNKNOWN

    @torch.no_grad()
    def predict(self, sentences: list[str]) -> list[tuple[str, float]]:
        """The label of each sentence and its probability."""
        best = self(*self.encode(sentences)).softmax(-1).max(-1)
        return [(self.labels[number], share) for number, share in zip(best.indices.tolist(), best.values.tolist())]

    @staticmethod
    def mean(vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mean of [b, t, w] over the words that are no padding."""
        steps = torch.arange(vectors.shape[1], device=vectors.device)
        mask = (steps[None] < lengths[:, None].to(vectors.device)).unsqueeze(-1)
        # Not a product: what stands behind a sentence does not count, whatever it is.
        return vectors.masked_fill(~mask, 0).sum(1) / lengths[:, None].to(vectors)


class Dan(Classifier):
    """The mean of the words' embeddings through hidden layers of rectified linear units."""

    def __init__(self, config: dict, words: list[str]) -> None:
        super().__init__(config, words)
        widths = [config["embedding_size"], *config["hidden_sizes"]]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.classifier = nn.Linear(widths[-1], len(self.labels))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        vectors = self.dropout(self.mean(self.embedding(ids), lengths))
        for layer in self.hidden:
            vectors = layer(vectors).relu()
        return self.classifier(vectors)


class Lstm(Classifier):
    """A long short-term memory, and the mean of its hidden states over time."""

    def __init__(self, config: dict, words: list[str]) -> None:
        super().__init__(config, words)
        (units,) = config["hidden_sizes"]
        self.lstm = nn.LSTM(config["embedding_size"], units, batch_first=True)
        self.classifier = nn.Linear(units, len(self.labels))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        # Padding comes last, so that no state that counts has seen it.
        states, _ = self.lstm(self.embedding(ids))
        return self.classifier(self.dropout(self.mean(states, lengths)))


ARCHITECTURES = {"rankfold-dan": Dan, "rankfold-lstm": Lstm}


def load(directory: str | os.PathLike) -> Classifier:
    """The classifier in `directory`, in evaluation mode."""
    folder = Path(directory)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Words have no white space in them, but Python sees ends of lines where the file has none.
    words = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if config.get("model_type") not in ARCHITECTURES:
        raise ValueError(f"rankfold: `{config.get('model_type')}` is none of {', '.join(ARCHITECTURES)}")
    model = ARCHITECTURES[config["model_type"]](config, words)
    manifest = folder / "rankfold.json"
    if manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8"))["tables"]:
        _beside(folder).load_factorized(model, folder)
    else:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.eval()


def _beside(folder: Path):
    """The loader of compressed tables: the file of the directory, unless one is imported already."""
    if "rankfold_loader" not in sys.modules and not (folder / "rankfold_loader.py").is_file():
        raise FileNotFoundError(f"rankfold: no `rankfold_loader.py` in `{folder}`; compress without `--no-stub`")
    sys.path.insert(0, str(folder.absolute()))
    try:
        # The loader asks for the decoders only when a row is decoded, when the path is as it was again.
        importlib.import_module("rankfold_codecs")
        return importlib.import_module("rankfold_loader")
    finally:
        sys.path.remove(str(folder.absolute()))
