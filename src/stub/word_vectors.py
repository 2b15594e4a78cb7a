"""Word vectors as rankfold stores them: `vectors = WordVectors("DIRECTORY"); vectors["word"]`.

Needs numpy alone. The table is read from `model.safetensors` beside this file: dense, as a factor pair A [V, k] and B
transposed [d, k], or as the codes of another method, which `rankfold.json` names and `rankfold_codecs.py` decodes. Only
what is stored is in memory; a vector is decoded when it is asked for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

TABLE = "embedding.weight"
PROJECTION = "embedding.proj.weight"
# Where a model of sentence-transformers has the factors.
STATIC = "0_StaticEmbedding/model.safetensors"
DENSE = "1_Dense/model.safetensors"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "U8": "|u1"}
FLOATS = ("F64", "F32", "F16", "BF16")
BLOCK = 1 << 14


class WordVectors:
    """Words and their vectors; a word that occurs twice stands for its first row."""

    def __init__(self, directory: str | Path = Path(__file__).parent) -> None:
        directory = Path(directory)
        static, dense = directory / STATIC, directory / DENSE
        tensors = _read(static if static.exists() else directory / "model.safetensors")
        if dense.exists():
            tensors[PROJECTION] = _read(dense, "linear.")["linear.weight"]
        self._decoder = None
        if set(tensors) <= {TABLE, PROJECTION} and all(kind in FLOATS for kind, _ in tensors.values()):
            self._table = tensors[TABLE][1]
            self._projection = _widen(*tensors[PROJECTION]) if PROJECTION in tensors else None
            self._kind, count = tensors[TABLE][0], len(self._table)
        else:
            self._decoder = _decoder(directory, tensors)
            count = self._decoder.height
        text = (Path(directory) / "vocab.txt").read_bytes()
        self.words: list[str] = [_unescape(line) for line in text.split(b"\n")[:-1]]
        if len(self.words) != count:
            raise ValueError(f"{len(self.words)} words for {count} rows")
        self._rows: dict[str, int] = {}
        for row, word in enumerate(self.words):
            self._rows.setdefault(word, row)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def __getitem__(self, word: str) -> Vector:
        row = self._rows[word]
        return self._decode(row, row + 1)[0]

    @property
    def dimension(self) -> int:
        """d."""
        if self._decoder is not None:
            return int(self._decoder.width)
        return int((self._table if self._projection is None else self._projection.T).shape[1])

    def most_similar(self, word: str | Vector, count: int = 10) -> list[tuple[str, float]]:
        """The words with the largest cosine to a word (which is left out) or to a vector, largest first."""
        wanted = self[word] if isinstance(word, str) else np.asarray(word, dtype=np.float32)
        own = self._rows[word] if isinstance(word, str) else None
        cosines = np.concatenate([_cosines(block, wanted) for block in self._blocks()])
        if own is not None:
            cosines[own] = -np.inf
        order = np.argsort(-cosines, kind="stable")[: max(0, min(count, len(self) - (own is not None)))]
        return [(self.words[row], float(cosines[row])) for row in order]

    def save_word2vec(self, path: str | Path, binary: bool = False) -> None:
        """Writes the vectors in the form of word2vec; the binary one has no place for blanks in words."""
        with open(path, "wb") as file:
            file.write(f"{len(self)} {self.dimension}\n".encode())
            words = iter(self.words)
            for block in self._blocks():
                for vector, word in zip(block, words):
                    name = word.encode("utf-8", "surrogateescape")
                    if b"\n" in name or (binary and b" " in name):
                        raise ValueError(f"word2vec has no place for the word {word!r}")
                    numbers = vector.astype("<f4").tobytes() if binary else " ".join(map(str, vector)).encode()
                    file.write(name + b" " + numbers + b"\n")

    def _decode(self, start: int, end: int) -> Vector:
        if self._decoder is not None:
            return self._decoder.rows(np.arange(start, end))
        rows = _widen(self._kind, self._table[start:end])
        return rows if self._projection is None else rows @ self._projection.T

    def _blocks(self) -> Iterator[Vector]:
        return (self._decode(start, min(start + BLOCK, len(self))) for start in range(0, len(self), BLOCK))


def _cosines(vectors: Vector, wanted: Vector) -> Vector:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
    return np.divide(vectors @ wanted, norms, out=np.zeros_like(norms), where=norms > 0)


def _widen(kind: str, rows: NDArray[np.generic]) -> Vector:
    if kind == "BF16":  # the upper half of a single
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32)


def _decoder(directory: Path, tensors: dict[str, tuple[str, NDArray[np.generic]]]) -> Any:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        from rankfold_codecs import DECODERS
    finally:
        sys.path.pop(0)
    (table,) = json.loads((directory / "rankfold.json").read_text(encoding="utf-8"))["tables"]
    if table["method"] not in DECODERS:
        raise ValueError(f"no decoder for the method {table['method']}; `rankfold restore` makes a dense table of it")
    parts = [_widen(*tensors[name]) if tensors[name][0] == "BF16" else tensors[name][1] for name in table["parts"]]
    return DECODERS[table["method"]](np, table["setting"], table["shape"], parts)


def _read(path: Path, prefix: str = "embedding.") -> dict[str, tuple[str, NDArray[np.generic]]]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8 : 8 + length]))
    tensors: dict[str, tuple[str, NDArray[np.generic]]] = {}
    for name, entry in header.items():
        if name.startswith(prefix) and entry["dtype"] in DTYPES:
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[start:end], dtype=DTYPES[entry["dtype"]])
            tensors[name] = (entry["dtype"], values.reshape(entry["shape"]))
    return tensors


_ESCAPE = re.compile(rb"\\(\\|n|r|x[0-9a-f]{2})")


def _unescape(line: bytes) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" else {b"n": b"\n", b"r": b"\r"}.get(code, b"\\")

    return _ESCAPE.sub(character, line).decode("utf-8", "surrogateescape")
