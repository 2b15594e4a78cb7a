"""What other programs take to encode and decode a table: numpy for 8 bits per row, faiss for product quantization.

    python tests/bench/codecs.py MODEL.safetensors TENSOR [SUBQUANTIZERS]
    python tests/bench/codecs.py ROWS COLUMNS [SUBQUANTIZERS]

needs numpy, and for the second line of results faiss-cpu (`pip install faiss-cpu`). Prints the least seconds of three
rounds and the relative Frobenius error. Threads are those of OMP_NUM_THREADS.
"""

import sys
import time

import numpy as np


def table(first, second):
    if first.isdigit():
        rows, columns = int(first), int(second)
        # Rows of unlike columns, as the Rust program makes them, though not the same numbers.
        numbers = np.random.default_rng(1).standard_normal((rows, columns), dtype=np.float32)
        return numbers / (1 + 8 * np.arange(columns, dtype=np.float32) / columns)
    from safetensors import safe_open

    with safe_open(first, "np") as model:
        return model.get_tensor(second).astype(np.float32)


def least(act, rounds=3):
    seconds, made = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        made = act()
        seconds.append(time.perf_counter() - start)
    return min(seconds), made


def error(weights, decoded):
    return float(np.linalg.norm(weights - decoded) / np.linalg.norm(weights))


def show(name, weights, encode, decode, rounds=3):
    encoding, encoded = least(lambda: encode(weights), rounds)
    decoding, decoded = least(lambda: decode(encoded), rounds)
    rate = weights.nbytes / 1e9
    print(
        f"{name}: encode {encoding:.3f} s, {rate / encoding:.3f} GB/s; decode {decoding:.3f} s, "
        f"{rate / decoding:.3f} GB/s; error {error(weights, decoded):.4f}"
    )


def int8_encode(weights):
    scale = np.abs(weights).max(axis=1, keepdims=True) / 127.5
    scale[scale == 0] = 1
    return np.clip(np.rint(weights / scale), -128, 127).astype(np.int8), scale


def main():
    weights = np.ascontiguousarray(table(sys.argv[1], sys.argv[2]))
    rows, columns = weights.shape
    print(f"[{rows}, {columns}], {weights.nbytes} bytes; copy {least(weights.copy)[0]:.4f} s")
    show("numpy, 8 bits per row", weights, int8_encode, lambda made: made[0] * made[1])
    try:
        import faiss
    except ImportError:
        print("faiss is not installed")
        return
    pieces = int(sys.argv[3]) if len(sys.argv) > 3 else columns // 2
    quantizer = faiss.ProductQuantizer(columns, pieces, 8)

    def encode(numbers):
        quantizer.train(numbers)
        return quantizer.compute_codes(numbers)

    show(f"faiss {faiss.__version__}, PQ{pieces}x8", weights, encode, quantizer.decode, rounds=1)


if __name__ == "__main__":
    main()
