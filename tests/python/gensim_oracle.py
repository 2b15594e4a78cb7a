"""Holds word vectors that rankfold wrote against gensim, and lets gensim write them: `gensim_oracle.py DIR`.

`DIR/vectors.txt` is GloVe text; below `DIR` are the folders `word2vec-text`, `word2vec-binary` and `glove-text`, each
with a file `vectors.*`. Writes `DIR/gensim.txt` and `DIR/gensim.bin`.
"""

import sys
from pathlib import Path

import numpy
from gensim.models import KeyedVectors


def load(path: Path, **how: bool) -> KeyedVectors:
    """What gensim reads; words that are not UTF-8 keep their bytes."""
    return KeyedVectors.load_word2vec_format(str(path), unicode_errors="surrogateescape", **how)


def main(folder: Path) -> None:
    """Fails where a word or a bit differs."""
    lines = (folder / "vectors.txt").read_bytes().splitlines()
    words = [line.split(b" ")[0].decode("utf-8", "surrogateescape") for line in lines]
    numbers = numpy.array([line.split(b" ")[1:] for line in lines]).astype("S").astype("f4")
    text = load(folder / "word2vec-text/vectors.vec")
    binary = load(folder / "word2vec-binary/vectors.bin", binary=True)
    glove = load(folder / "glove-text/vectors.vec", no_header=True)
    for vectors in (text, binary, glove):
        assert vectors.index_to_key == words
        assert vectors.vectors.dtype == "f4" and (vectors.vectors.view("u4") == numbers.view("u4")).all()
    # gensim cannot write a word that is not UTF-8.
    text.key_to_index["w7"] = text.key_to_index.pop(words[7])
    text.index_to_key[7] = "w7"
    for name, how in (("gensim.txt", False), ("gensim.bin", True)):
        text.save_word2vec_format(str(folder / name), binary=how, sort_attr="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
