"""Word vectors as rankfold stores them: `vectors = WordVectors("DIRECTORY"); vectors["word"]`.

Needs numpy alone. The table is read from `model.safetensors` beside this file, dense or as a factor pair A [V, k] and
B transposed [d, k]; a vector is the product of a row of A and B, so that only the factors are in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

TABLE = "embedding.weight"
PROJECTION = "embedding.proj.weight"
# Where a model of sentence-transformers has the factors.
STATIC = "0_StaticEmbedding/model.safetensors"
DENSE = "1_Dense/model.safetensors"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
BLOCK = 1 << 14


class WordVectors:
    """Words and their vectors; a word that occurs twice stands for its first row."""

    def __init__(self, directory: str | Path = Path(__file__).parent) -> None:
        static = Path(directory) / STATIC
        tensors = _read(static if static.exists() else Path(directory) / "model.safetensors")
        self._table = tensors[TABLE]
        dense = Path(directory) / DENSE
        projection = _read(dense, "linear.")["linear.weight"] if dense.exists() else tensors.get(PROJECTION)
        self._projection = None if projection is None else _widen(projection)
        others = [name for name in tensors if name.startswith("embedding.") and name not in (TABLE, PROJECTION)]
        if others:
            raise ValueError(f"{others[0]} is stored by a method that is not a factor pair; `rankfold restore` decodes it")
        text = (Path(directory) / "vocab.txt").read_bytes()
        self.words: list[str] = [_unescape(line) for line in text.split(b"\n")[:-1]]
        if len(self.words) != len(self._table):
            raise ValueError(f"{len(self.words)} words for {len(self._table)} rows")
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
        rows = _widen(self._table[start:end])
        return rows if self._projection is None else rows @ self._projection.T

    def _blocks(self) -> Iterator[Vector]:
        return (self._decode(start, min(start + BLOCK, len(self))) for start in range(0, len(self), BLOCK))


def _cosines(vectors: Vector, wanted: Vector) -> Vector:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
    return np.divide(vectors @ wanted, norms, out=np.zeros_like(norms), where=norms > 0)


def _widen(rows: NDArray[np.generic]) -> Vector:
    if rows.dtype == np.uint16:  # BF16: the upper half of a single.
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32)


def _read(path: Path, prefix: str = "embedding.") -> dict[str, NDArray[np.generic]]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8 : 8 + length]))
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, entry in header.items():
        if name.startswith(prefix) and entry["dtype"] in DTYPES:
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[start:end], dtype=DTYPES[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors


_ESCAPE = re.compile(rb"\\(\\|n|r|x[0-9a-f]{2})")


def _unescape(line: bytes) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" else {b"n": b"\n", b"r": b"\r"}.get(code, b"\\")

    return _ESCAPE.sub(character, line).decode("utf-8", "surrogateescape")
