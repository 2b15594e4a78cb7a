"""How much of a sentence encoder distillation wins back: `distill.py RANKFOLD MODEL TEXT [OPTION OF finetune.py ...]`.

TEXT has a text a line; every sixteenth is held out. Compresses the model at k = 128, teaches the factors the outputs of
the original with the fine-tuning program of the output, and prints a Markdown table: the mean cosine between the last
hidden states of either and the original's over the tokens of the held-out texts, their mean-pooled embeddings likewise,
and the seconds of the training.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

RANK, HELD_OUT, BATCH = 128, 16, 50


def cosines(model: torch.nn.Module, original: torch.nn.Module, tokenizer, texts: list[str]) -> tuple[float, float]:
    """Mean cosine of tokens, and of mean-pooled texts."""
    tokens, pooled = [], []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(texts[start:start + BATCH], padding=True, truncation=True, max_length=128, return_tensors="pt")
        mask = batch["attention_mask"].unsqueeze(-1)
        with torch.no_grad():
            one, other = (each(**batch).last_hidden_state * mask for each in (model, original))
        tokens.append(torch.cosine_similarity(one, other, -1)[mask[..., 0].bool()])
        pooled.append(torch.cosine_similarity(one.sum(1), other.sum(1), -1))
    return float(torch.cat(tokens).mean()), float(torch.cat(pooled).mean())


def main(program: str, source: str, text: str, *options: str) -> None:
    lines = [line for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    held = lines[::HELD_OUT]
    kept = [line for number, line in enumerate(lines) if number % HELD_OUT]
    with tempfile.TemporaryDirectory() as folder:
        small, out, train = (Path(folder) / name for name in ("small", "out", "train.txt"))
        train.write_text("\n".join(kept), encoding="utf-8")
        subprocess.run([program, "compress", source, "-o", small, "--rank", str(RANK), "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        start = time.perf_counter()
        subprocess.run([sys.executable, small / "finetune.py", "--task", "distill", "--teacher", source, "--train", train,
                        "-o", out, "--batch", str(BATCH), *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        log = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
        sys.path.insert(0, str(small))
        import rankfold_loader  # noqa: F401  what the outputs need to load

        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        original, before, after = (transformers.AutoModel.from_pretrained(one).eval() for one in (source, small, out))
        print(f"{len(held)} held-out texts, {sum('lr' in entry for entry in log)} updates of {BATCH} texts, {seconds:.0f} s")
        print("| model | cosine of tokens | cosine of embeddings |\n|---|---|---|")
        for label, model in (("compressed", before), ("distilled", after)):
            print(f"| {label} | {' | '.join(f'{one:.3f}' for one in cosines(model, original, tokenizer, held))} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
