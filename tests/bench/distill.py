"""How near a factorized model comes to the original again when `finetune.py --task distill` teaches it.

    python tests/bench/distill.py RANKFOLD MODEL_DIR TRAIN.txt DEV.txt [RANK UPDATES [FLAG...]]

compresses MODEL_DIR (rank 128 unless told otherwise), distils on the lines of TRAIN.txt (125 updates of 32 texts;
further flags go to `finetune.py`), and prints the mean cosine of the last hidden state of each token of DEV.txt to the
original's, before and after, with the seconds of the program. Needs torch and transformers.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers


def hidden(directory: Path, texts: list[str], tokenizer) -> list[torch.Tensor]:
    """The last hidden states of the tokens of each 32 texts, padding left out."""
    model = transformers.AutoModel.from_pretrained(directory, trust_remote_code=True).eval()
    states = []
    with torch.no_grad():
        for start in range(0, len(texts), 32):
            some = texts[start : start + 32]
            batch = tokenizer(some, padding=True, truncation=True, max_length=128, return_tensors="pt")
            states.append(model(**batch).last_hidden_state[batch["attention_mask"].bool()])
    return states


def cosine(states: list[torch.Tensor], originals: list[torch.Tensor]) -> float:
    return float(torch.nn.functional.cosine_similarity(torch.cat(states), torch.cat(originals), dim=-1).mean())


def main() -> None:
    program, source, train, dev = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    rank, updates, *flags = sys.argv[5:] or ["128", "125"]
    texts = [line for line in dev.read_text(encoding="utf-8").splitlines() if line.strip()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    originals = hidden(source, texts, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        compressed, out = Path(folder, "compressed"), Path(folder, "distilled")
        subprocess.run([program, "compress", source, "--rank", rank, "-o", compressed], check=True, capture_output=True)
        before = cosine(hidden(compressed, texts, tokenizer), originals)
        # Up and down once: a cycle of the usual length would end while the rate still rises.
        step_size = str(max(int(updates) // 2, 1))
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, compressed / "finetune.py", "--task", "distill", "--teacher", source, "--train", train,
             "--epochs", "1", "--max-updates", updates, "--batch", "32", "--step-size", step_size, *flags, "-o", out],
            check=True, capture_output=True,
        )
        seconds = time.perf_counter() - start
        after = cosine(hidden(out, texts, tokenizer), originals)
        subprocess.run([program, "verify", out], check=True, capture_output=True)
    tokens = sum(len(state) for state in originals)
    print(f"rank {rank}: cosine of {tokens} tokens {before:.4f} -> {after:.4f} in {updates} updates, {seconds:.0f} s")


if __name__ == "__main__":
    main()
