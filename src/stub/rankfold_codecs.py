"""Rows of a table from the parts that rankfold stores, for every method whose codes have to be read.

Works on torch tensors and on numpy arrays, and imports neither: `lib` is the one or the other. A decoder is made of the
parts of a table, in the order in which the manifest lists them, and gives the rows of some ids as

    W[ids] ~ left(ids) right        left(ids) [n, k], right [k, d]; without `right`, left(ids) are the rows

so that only the rows that are asked for are ever decoded, and an output head can compute (h right^T) left^T. Numbers are
singles. What the methods compute is in rankfold's docs/methods.md.
"""

from __future__ import annotations

from typing import Any, Optional

Array = Any  # of torch or of numpy


def _as(array: Array, dtype: Any) -> Array:
    return array.to(dtype) if hasattr(array, "to") else array.astype(dtype)


class Decoder:
    """The rows of one table."""

    right: Optional[Array] = None

    def __init__(self, lib: Any, setting: dict, shape: list[int], parts: list[Array]) -> None:
        self.lib, self.setting, (self.height, self.width), self.parts = lib, setting, shape, parts
        # Where the parts are, numbers that go with them have to be.
        self.place = {"device": parts[0].device} if hasattr(lib, "nn") else {}
        self.prepare()

    def prepare(self) -> None:
        """What is computed once, and is small."""

    def left(self, ids: Array) -> Array:
        """The rows `ids` of the left factor."""
        raise NotImplementedError

    def rows(self, ids: Array) -> Array:
        """The rows `ids` of the table: [n, d]."""
        left = self.left(ids)
        return left if self.right is None else left @ self.right

    def single(self, array: Array) -> Array:
        return _as(array, self.lib.float32)

    def whole(self, array: Array) -> Array:
        return _as(array, self.lib.int64)

    def count(self, stop: int) -> Array:
        return self.lib.arange(stop, **self.place)

    def unpack(self, rows: Array, offsets: Array, bits: Any) -> Array:
        """Codes of at most 17 bits out of `rows`, bytes [n, B]: [n, c], those that begin at the bits `offsets` of a row.

        The first code is in the lowest bits, and what lies beyond the last byte belongs to no code.
        """
        first, last = offsets >> 3, rows.shape[1] - 1
        second = first + self.whole(first < last)
        third = second + self.whole(second < last)
        word = self.whole(rows[:, first])
        word = word | self.whole(rows[:, second]) << 8 | self.whole(rows[:, third]) << 16
        return (word >> (offsets & 7)) & ((1 << bits) - 1)


class FixedPoint(Decoder):
    """(code - zero point) * scale; the product is rounded once, so that every bit is that of `rankfold restore`."""

    def prepare(self) -> None:
        self.codes, self.scales, *rest = self.parts
        self.zeros = rest[0] if self.setting["scheme"] == "affine" else None
        self.bits = int(self.setting["bits"])
        kind, _, group = self.setting["granularity"].partition(":")
        self.shared = kind == "tensor"
        self.group = self.count(self.width) // (int(group) if group else max(self.width, 1))
        if self.codes.dtype == self.lib.uint8:
            self.codes = self.codes.reshape(self.height, -1)

    def left(self, ids: Array) -> Array:
        codes = self.codes[ids]
        if self.codes.dtype == self.lib.int8:
            codes = self.whole(codes)
        else:
            stream = codes.view(self.lib.uint8)
            codes = self.unpack(stream, self.count(self.width) * self.bits, self.bits) - (1 << (self.bits - 1))
        if self.zeros is not None:
            codes = codes - self.of_columns(self.zero_points(ids))
        scales = self.scales if self.shared else self.scales[ids]
        return self.single(codes) * self.of_columns(self.single(scales))

    def of_columns(self, groups: Array) -> Array:
        """One number for each column out of one for each group of them."""
        return groups if self.shared else groups[:, self.group]

    def zero_points(self, ids: Array) -> Array:
        if self.shared:
            return self.whole(self.zeros)
        if self.zeros.dtype == self.lib.int32:  # four bits each, eight rows in a word
            return (self.whole(self.zeros[ids >> 3]) >> (4 * (ids & 7))[:, None] & 15) - 8
        return self.whole(self.zeros[ids])


class LowRankFixed(Decoder):
    """A factor pair whose entries are offset + step * code."""

    def prepare(self) -> None:
        self.codes, self.grids, codes, grids = self.parts
        right = self.factor(codes, grids, int(self.setting["right_bits"]))
        self.right = right.swapaxes(0, 1)

    def left(self, ids: Array) -> Array:
        return self.factor(self.codes[ids], self.grids, int(self.setting["left_bits"]))

    def factor(self, codes: Array, grids: Array, bits: int) -> Array:
        codes = self.unpack(codes, self.count(int(self.setting["rank"])) * bits, bits)
        grids = self.single(grids)
        return grids[:, 1] * self.single(codes) + grids[:, 0]


class Product(Decoder):
    """For each piece of a row the nearest of 16 or 256 centroids."""

    def prepare(self) -> None:
        self.codes, books, *rest = self.parts
        self.books = self.single(books)
        if self.setting["rotation"]:
            self.right = self.single(rest.pop(0)).swapaxes(0, 1)
        self.norms = rest if self.setting["norms"] else None
        self.bits, self.pieces = int(self.setting["bits"]), int(self.setting["subquantizers"])
        # The first `longer` pieces have a column more than the others.
        short, longer = divmod(self.width, self.pieces)
        columns = self.count(self.width)
        of_longer = columns // (short + 1)
        of_shorter = longer + (columns - longer * (short + 1)) // max(short, 1)
        self.piece = self.lib.where(columns < longer * (short + 1), of_longer, of_shorter)

    def left(self, ids: Array) -> Array:
        codes = self.unpack(self.codes[ids], self.count(self.pieces) * self.bits, self.bits)
        rows = self.books[codes[:, self.piece], self.count(self.width)]
        if self.norms is None:
            return rows
        codes, levels = self.norms
        return rows * self.single(levels)[self.whole(codes[ids])[:, 0]]


class Transform(Decoder):
    """Trellis-coded components along a stored basis, times the gain of the row."""

    GAIN_BITS = 4
    FEEDBACK, FORWARD = 0o515, 0o362  # parity-check polynomials of Ungerboeck's code with 256 states

    def prepare(self) -> None:
        self.codes, bits, levels, basis, scales, gains = self.parts
        widths = [int(one) for one in bits.tolist()]
        self.gains = self.single(gains)
        self.bits = self.whole(bits)
        self.offsets = self.lib.cumsum(self.bits, 0) - self.bits + self.GAIN_BITS
        counts = 2 << self.bits
        self.starts = self.lib.cumsum(counts, 0) - counts
        component = [component for component, one in enumerate(widths) for _ in range(2 << one)]
        component = self.lib.asarray(component, dtype=self.lib.int64, **self.place)
        self.levels = self.single(levels) * self.single(scales)[0][component]
        self.memory = self.responses(len(widths))
        self.right = self.vectors(widths, basis, scales[1].tolist())

    def left(self, ids: Array) -> Array:
        rows = self.codes[ids]
        gains = self.gains[self.whole(rows[:, 0]) & ((1 << self.GAIN_BITS) - 1)]
        codes = self.unpack(rows, self.offsets, self.bits)
        # Which of its two levels a code means: a parity of the lowest bits of the codes before it, counted exactly.
        parity = self.whole(self.single(codes & 1) @ self.memory) & 1
        return gains[:, None] * self.levels[self.starts + 2 * codes + parity]

    def responses(self, count: int) -> Array:
        """[k, k]: whether a bit of component i shows in the state that component j meets. The code is linear, so that
        the response to one bit tells all."""
        state, response = self.FORWARD >> 1, [0]
        for _ in range(count):
            response.append(state & 1)
            state = (state >> 1) ^ ((state & 1) * (self.FEEDBACK >> 1))
        places = self.count(count)
        apart = places[None, :] - places[:, None]
        known = self.lib.zeros(count + 1, dtype=self.lib.float32, **self.place)
        for place, one in enumerate(response):
            known[place] = one
        return known[self.whole(apart * self.whole(apart > 0))]

    def vectors(self, widths: list[int], basis: Array, steps: list[float]) -> Array:
        """The basis [k, d] from Householder reflections, each packed from a whole byte on: row j is H_1 ... H_j e_j."""
        lib, size = self.lib, len(widths)
        reflections = lib.zeros((self.width, size), dtype=lib.float64, **self.place)
        start = 0
        for component, (bits, step) in enumerate(zip(widths, steps)):
            entry, count = bits + 2, self.width - 1 - component
            end = start + (count * entry + 7) // 8
            if count > 0:
                codes = self.unpack(basis[start:end][None, :], self.count(count) * entry, entry)[0]
                middle = (1 << (entry - 1)) - 0.5
                reflections[component + 1:, component] = (_as(codes, lib.float64) - middle) * step
            start = end
        factors = 2.0 / (1.0 + (reflections * reflections).sum(0))
        if hasattr(lib.linalg, "householder_product"):
            return self.single(lib.linalg.householder_product(reflections, factors)).swapaxes(0, 1)
        vectors = lib.eye(self.width, size, dtype=lib.float64)
        for component in reversed(range(size)):
            reflection = reflections[component:, component].copy()
            reflection[0] = 1.0
            rest = vectors[component:, component:]
            rest -= reflection[:, None] * (factors[component] * (reflection @ rest))
        return self.single(vectors).swapaxes(0, 1)


class Blocks(Decoder):
    """Blocks of 32 numbers of a row: a half as scale, in some types another as least value, and codes."""

    # Bits of a code, and whether there is a least value.
    TYPES = {"q4_0": (4, False), "q4_1": (4, True), "q5_0": (5, False), "q5_1": (5, True), "q8_0": (8, False)}

    def prepare(self) -> None:
        self.bits, self.has_least = self.TYPES[self.setting["type"]]
        self.codes = self.parts[0].reshape(self.height, self.width // 32, -1)

    def left(self, ids: Array) -> Array:
        blocks = self.whole(self.codes[ids])
        scale, at = self.half(blocks, 0), 2
        if self.has_least:
            least, at = self.half(blocks, 2), 4
        if self.bits == 8:
            codes = (blocks[..., at:] ^ 128) - 128
        else:
            fifth = self.lib.zeros_like(blocks[..., :1])
            if self.bits == 5:
                fifth = blocks[..., at:at + 4].repeat_interleave(8, -1) if hasattr(self.lib, "nn") else \
                    blocks[..., at:at + 4].repeat(8, -1)
                fifth, at = (fifth >> (self.count(32) & 7) & 1) << 4, at + 4
            # The low halves of the 16 bytes are the codes of the first 16 numbers, the high ones those of the others.
            both = self.lib.stack((blocks[..., at:] & 15, blocks[..., at:] >> 4), -2)
            codes = both.reshape(*both.shape[:-2], 32) | fifth
            codes = codes - (0 if self.has_least else 1 << (self.bits - 1))
        rows = self.single(codes) * scale
        return (rows + least if self.has_least else rows).reshape(-1, self.width)

    def half(self, blocks: Array, at: int) -> Array:
        """The number of 16 bits at the byte `at` of each block."""
        bits = blocks[..., at:at + 1] | blocks[..., at + 1:at + 2] << 8
        return self.single(_as(bits, self.lib.int16).view(self.lib.float16))


DECODERS: dict[str, type[Decoder]] = {
    "low-rank-fixed": LowRankFixed,
    "fixed-point": FixedPoint,
    "transform": Transform,
    "product": Product,
    "ggml": Blocks,
}
