"""Tiny models of many families, compressed by the real program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RANKFOLD = os.environ.get("RANKFOLD_BIN") or "rankfold"
STUB = Path(__file__).parents[3] / "src" / "stub"
VOCABULARY, WIDTH, RANK = 120, 32, 6
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

sys.path.insert(0, str(STUB))
sys.dont_write_bytecode = True


def run(*arguments, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([RANKFOLD, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, f"rankfold {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def families() -> dict:
    """Name to (configuration, class of the model, sequence-to-sequence or not)."""
    import transformers as t

    small = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                 vocab_size=VOCABULARY, max_position_embeddings=64)
    decoder = dict(small, num_key_value_heads=2, pad_token_id=0)
    gpt = dict(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=64)
    opt = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48,
               max_position_embeddings=64, word_embed_proj_dim=WIDTH)
    tiny = {
        "bert": (t.BertConfig(**small), t.BertForMaskedLM),
        "bert-bare": (t.BertConfig(**small), t.BertModel),
        "roberta": (t.RobertaConfig(**small, pad_token_id=1), t.RobertaForMaskedLM),
        "distilbert": (t.DistilBertConfig(vocab_size=VOCABULARY, dim=WIDTH, n_layers=2, n_heads=4, hidden_dim=48,
                                          max_position_embeddings=64), t.DistilBertForMaskedLM),
        "gpt2": (t.GPT2Config(**gpt), t.GPT2LMHeadModel),
        "gpt2-untied": (t.GPT2Config(**gpt, tie_word_embeddings=False), t.GPT2LMHeadModel),
        "llama-tied": (t.LlamaConfig(**decoder, tie_word_embeddings=True), t.LlamaForCausalLM),
        "llama-untied": (t.LlamaConfig(**decoder, tie_word_embeddings=False), t.LlamaForCausalLM),
        "gemma": (t.GemmaConfig(**decoder, head_dim=8), t.GemmaForCausalLM),
        "t5": (t.T5Config(vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                          decoder_start_token_id=0), t.T5ForConditionalGeneration),
        "t5-untied": (t.T5Config(vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                                 decoder_start_token_id=0, tie_word_embeddings=False), t.T5ForConditionalGeneration),
        "bart": (t.BartConfig(vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=2, decoder_layers=2,
                              encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
                              decoder_ffn_dim=48, max_position_embeddings=64, scale_embedding=True),
                 t.BartForConditionalGeneration),
        "opt": (t.OPTConfig(**opt), t.OPTForCausalLM),
        "opt-untied": (t.OPTConfig(**opt, tie_word_embeddings=False), t.OPTForCausalLM),
        "qwen2-tied": (t.Qwen2Config(**decoder, tie_word_embeddings=True), t.Qwen2ForCausalLM),
        "qwen2-untied": (t.Qwen2Config(**decoder, tie_word_embeddings=False), t.Qwen2ForCausalLM),
    }
    if hasattr(t, "ModernBertConfig"):
        config = t.ModernBertConfig(**small, pad_token_id=0, global_attn_every_n_layers=2)
        tiny["modernbert"] = (config, t.ModernBertForMaskedLM)
    return tiny


NAMES = ["bert", "bert-bare", "roberta", "distilbert", "gpt2", "gpt2-untied", "llama-tied", "llama-untied", "gemma",
         "t5", "t5-untied", "bart", "opt", "opt-untied", "qwen2-tied", "qwen2-untied", "modernbert"]
TIED = ["bert", "roberta", "distilbert", "gpt2", "llama-tied", "gemma", "t5", "bart", "opt", "qwen2-tied",
        "modernbert"]


class Checkpoint:
    """A model as saved by transformers, compressed, and restored: the last has A B multiplied in."""

    def __init__(self, name: str, root: Path) -> None:
        config, self.kind = families()[name]
        self.name, self.source, self.output, self.dense = name, root / "source", root / "output", root / "dense"
        torch.manual_seed(0)
        self.kind(config).eval().save_pretrained(self.source)
        run("compress", self.source, "-o", self.output, "--rank", RANK)
        run("restore", self.output, "-o", self.dense)

    def inputs(self) -> dict:
        ids = torch.arange(3, 27).reshape(2, 12)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.name.startswith(("t5", "bart")):
            inputs["decoder_input_ids"] = ids[:, :5] + 30
        return inputs


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    made: dict[str, Checkpoint] = {}

    def get(name: str) -> Checkpoint:
        if name not in made:
            if name not in families():
                pytest.skip(f"this version of transformers has no {name}")
            made[name] = Checkpoint(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def copy(tmp_path):
    def make(directory: Path, name: str = "copy") -> Path:
        shutil.copytree(directory, tmp_path / name)
        return tmp_path / name

    return make


def files_of(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` but the records of this program."""
    files = (path for path in directory.rglob("*") if path.is_file())
    named = {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in named.items() if name not in ("rankfold.json", "SHA256SUMS")}


def real_model() -> Path:
    directory = os.environ.get("RANKFOLD_MINILM")
    assert directory, "RANKFOLD_MINILM is not set to the directory of all-MiniLM-L6-v2; tests/run sets it"
    return Path(directory)


ALONE = """
import json, sys, torch
if not hasattr(torch, "float8_e4m3fn"):  # torch 1.13; compressed-tensors names it in a constant
    torch.float8_e4m3fn = torch.float16
import transformers
found = {}
for directory, kind, options, inputs in json.loads(sys.argv[1]):
    try:
        if kind == "SentenceTransformer":
            import sentence_transformers
            model = sentence_transformers.SentenceTransformer(directory, device="cpu", **options)
        else:
            model = getattr(transformers, kind).from_pretrained(directory, **options).eval()
    except Exception as error:
        found[directory] = f"{type(error).__name__}: {error}"
        continue
    with torch.no_grad():
        inputs = {name: torch.tensor(value) for name, value in inputs.items()}
        found[directory] = model(**inputs).logits.tolist() if inputs else "loaded"
print(json.dumps(found))
"""


def alone(folder, cases):
    """What becomes of (directory, class, options, inputs) in a process that has not seen the loader."""
    environment = {"HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-B", "-c", ALONE, json.dumps(cases)], cwd=folder, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
