//! What is known of model families, as data: names of tables, names of layers, default ties.

use super::Role;

/// A name, or the end of one, and what tensors of that name are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name itself, or its end after a dot.
    pub pattern: &'static str,
    /// What such a tensor is for.
    pub role: Role,
    /// The model families that use the name; empty where many other tensors have it too, so that the name alone
    /// does not decide.
    pub models: &'static str,
}

const fn token(pattern: &'static str, models: &'static str) -> Family {
    Family { pattern, role: Role::Token, models }
}

const fn head(pattern: &'static str, models: &'static str) -> Family {
    Family { pattern, role: Role::OutputHead, models }
}

const fn position(pattern: &'static str, models: &'static str) -> Family {
    Family { pattern, role: Role::Position, models }
}

const fn token_type(pattern: &'static str, models: &'static str) -> Family {
    Family { pattern, role: Role::TokenType, models }
}

const fn relative(pattern: &'static str, models: &'static str) -> Family {
    Family { pattern, role: Role::RelativeBias, models }
}

/// Every name that is known. Of several that fit, the longest counts.
pub const FAMILIES: &[Family] = &[
    token("embeddings.word_embeddings.weight", "BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA, ALBERT, MPNet, DeBERTa"),
    token("embedding.word_embeddings.weight", "ChatGLM, Megatron"),
    token("word_embeddings.weight", "BLOOM, Falcon"),
    token("word_embedding.weight", "XLNet"),
    token("wte.weight", "GPT-2, GPT-J, MPT, Qwen"),
    token("tokens_embed.weight", "OpenAI GPT"),
    token("embed_in.weight", "GPT-NeoX"),
    token("embed_tokens.weight", "Llama, Mistral, Qwen2, Gemma, Phi, OPT, T5, BART, Whisper"),
    token("embed_tokens_per_layer.weight", "Gemma 3n"),
    token("shared.weight", "T5, BART, Marian"),
    token("token_embedding.weight", "CLIP, Whisper"),
    token("tok_embeddings.weight", "ModernBERT, Llama, Mistral"),
    token("backbone.embeddings.weight", "Mamba"),
    token("backbone.embedding.weight", "Mamba"),
    token("token_embd.weight", "GGUF"),
    token("embedding.weight", ""),
    token("embeddings.weight", ""),
    token("embed.weight", ""),
    token("emb.weight", ""),
    token("embedding", ""),
    token("embeddings", ""),
    token("vectors", ""),
    token("word_vectors", ""),
    head("lm_head.weight", "GPT-2, Llama, Mistral, Qwen2, Gemma, OPT, T5, BART, Falcon, BLOOM"),
    head("lm_head.decoder.weight", "RoBERTa, XLM-R"),
    head("predictions.decoder.weight", "BERT, ALBERT"),
    head("vocab_projector.weight", "DistilBERT"),
    head("generator_lm_head.weight", "ELECTRA"),
    head("lm_loss.weight", "XLNet"),
    head("pred_layer.proj.weight", "XLM"),
    head("embed_out.weight", "GPT-NeoX"),
    head("output_layer.weight", "ChatGLM"),
    head("proj_out.weight", ""),
    head("decoder.weight", ""),
    head("output.weight", ""),
    head("head.weight", ""),
    position("position_embeddings.weight", "BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA, ALBERT, MPNet, DeBERTa"),
    position("wpe.weight", "GPT-2, MPT"),
    position("position_embd.weight", "GGUF"),
    position("embed_positions.weight", "OPT, BART, Whisper"),
    position("positions_embed.weight", "OpenAI GPT"),
    position("position_embedding.weight", "CLIP"),
    position("positional_embedding", "CLIP, Whisper"),
    position("distance_embedding.weight", "BERT with relative positions"),
    position("pos_embed.weight", "vision transformers"),
    position("pos_emb.weight", "x-transformers"),
    token_type("token_type_embeddings.weight", "BERT, RoBERTa, XLM-R, ELECTRA, ALBERT, DeBERTa"),
    token_type("token_types.weight", "GGUF"),
    token_type("segment_embeddings.weight", "BERT-like models"),
    token_type("lang_embeddings.weight", "XLM"),
    relative("relative_attention_bias.weight", "T5, MPNet"),
    relative("rel_embeddings.weight", "DeBERTa"),
    relative("relative_position_bias_table", "Swin"),
];

/// The row of [`FAMILIES`] that fits a tensor's name best.
pub(super) fn family_of(name: &str) -> Option<&'static Family> {
    let fits = |family: &&Family| {
        name.strip_suffix(family.pattern).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    FAMILIES.iter().filter(fits).max_by_key(|family| family.pattern.len())
}

/// Parts of dotted names, in lower case, that layers and codebooks have and embedding tables have not: anywhere in a
/// part.
const LAYER_PARTS: &[&str] = &[
    "attn",
    "attention",
    "proj",
    "dense",
    "mlp",
    "ffn",
    "feed_forward",
    "expert",
    "classif",
    "pooler",
    "conv",
    "lora",
    "adapter",
    "codebook",
    "quantiz",
    "weight_ih",
    "weight_hh",
    "linear",
    "norm",
];

/// The same, for whole parts.
const LAYER_WORDS: &[&str] = &[
    "fc", "fc1", "fc2", "lin1", "lin2", "query", "key", "value", "q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo", "w1",
    "w2", "w3", "gate", "score", "ff",
];

/// The first part of a tensor's name that is a layer's.
pub(super) fn layer_part(name: &str) -> Option<&str> {
    name.split('.').find(|part| {
        let lower = part.to_ascii_lowercase();
        LAYER_WORDS.contains(&lower.as_str()) || LAYER_PARTS.iter().any(|layer| lower.contains(layer))
    })
}

/// The first part of a tensor's name that numbers a block. A number in front of everything counts modules of a
/// pipeline (`0.auto_model.embeddings...`), not blocks.
pub(super) fn block_part(name: &str) -> Option<&str> {
    name.split('.').skip(1).find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Values of `model_type` whose configs mean `tie_word_embeddings = true` where the key is absent: the default of
/// transformers' base config up to version 4, which these do not change.
pub const TIED_BY_DEFAULT: &[&str] = &[
    "albert",
    "bart",
    "bert",
    "blenderbot",
    "bloom",
    "camembert",
    "cohere",
    "ctrl",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "longformer",
    "m2m_100",
    "mamba",
    "marian",
    "mbart",
    "modernbert",
    "mpnet",
    "mpt",
    "mt5",
    "openai-gpt",
    "opt",
    "pegasus",
    "roberta",
    "t5",
    "whisper",
    "xglm",
    "xlm",
    "xlm-roberta",
    "xlnet",
];

/// Values of `model_type` whose configs mean `tie_word_embeddings = false` where the key is absent.
pub const UNTIED_BY_DEFAULT: &[&str] = &[
    "codegen",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_neox",
    "gptj",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "olmo",
    "olmo2",
    "persimmon",
    "phi",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "stablelm",
];
