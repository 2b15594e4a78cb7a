//! Tensors of real models, a few of each: names, shapes, configs.

use rankfold::locate::Role;
use serde_json::{Value, json};

/// Name, config, tensors, the tables taken, and the roles of all other candidates.
pub(crate) type Row = (
    &'static str,
    Value,
    &'static [(&'static str, &'static [usize])],
    &'static [&'static str],
    &'static [(&'static str, Role)],
);

/// One row per model family.
pub(crate) fn families() -> Vec<Row> {
    use Role::*;
    vec![
        (
            "RoBERTa",
            json!({"model_type": "roberta", "vocab_size": 50265}),
            &[
                ("roberta.embeddings.word_embeddings.weight", &[50265, 768]),
                ("roberta.embeddings.position_embeddings.weight", &[514, 768]),
                ("roberta.embeddings.token_type_embeddings.weight", &[1, 768]),
                ("roberta.encoder.layer.0.intermediate.dense.weight", &[3072, 768]),
                ("lm_head.dense.weight", &[768, 768]),
                ("lm_head.bias", &[50265]),
            ],
            &["roberta.embeddings.word_embeddings.weight"],
            &[
                ("roberta.embeddings.position_embeddings.weight", Position),
                ("roberta.embeddings.token_type_embeddings.weight", TokenType),
            ],
        ),
        (
            "XLM-R",
            json!({"model_type": "xlm-roberta", "vocab_size": 250002}),
            &[
                ("embeddings.word_embeddings.weight", &[250002, 1024]),
                ("embeddings.position_embeddings.weight", &[514, 1024]),
                ("encoder.layer.23.output.dense.weight", &[1024, 4096]),
            ],
            &["embeddings.word_embeddings.weight"],
            &[("embeddings.position_embeddings.weight", Position)],
        ),
        (
            "DistilBERT",
            json!({"model_type": "distilbert", "vocab_size": 30522}),
            &[
                ("distilbert.embeddings.word_embeddings.weight", &[30522, 768]),
                ("distilbert.embeddings.position_embeddings.weight", &[512, 768]),
                ("distilbert.transformer.layer.0.ffn.lin1.weight", &[3072, 768]),
                ("vocab_transform.weight", &[768, 768]),
                ("vocab_projector.weight", &[30522, 768]),
            ],
            &["distilbert.embeddings.word_embeddings.weight"],
            &[("distilbert.embeddings.position_embeddings.weight", Position), ("vocab_projector.weight", OutputHead)],
        ),
        (
            "ModernBERT",
            json!({"model_type": "modernbert", "vocab_size": 50368}),
            &[
                ("model.embeddings.tok_embeddings.weight", &[50368, 768]),
                ("model.layers.0.attn.Wqkv.weight", &[2304, 768]),
                ("model.layers.0.mlp.Wi.weight", &[2304, 768]),
                ("head.dense.weight", &[768, 768]),
                ("decoder.weight", &[50368, 768]),
                ("decoder.bias", &[50368]),
            ],
            &["model.embeddings.tok_embeddings.weight"],
            &[("decoder.weight", OutputHead)],
        ),
        (
            "GPT-2",
            json!({"model_type": "gpt2", "vocab_size": 50257}),
            &[
                ("wte.weight", &[50257, 768]),
                ("wpe.weight", &[1024, 768]),
                ("h.0.attn.c_attn.weight", &[768, 2304]),
                ("h.0.mlp.c_proj.weight", &[3072, 768]),
            ],
            &["wte.weight"],
            &[("wpe.weight", Position)],
        ),
        (
            "GPT-NeoX",
            json!({"model_type": "gpt_neox", "vocab_size": 50432}),
            &[
                ("gpt_neox.embed_in.weight", &[50432, 6144]),
                ("gpt_neox.layers.0.mlp.dense_h_to_4h.weight", &[24576, 6144]),
                ("embed_out.weight", &[50432, 6144]),
            ],
            &["gpt_neox.embed_in.weight"],
            &[("embed_out.weight", OutputHead)],
        ),
        (
            "Llama",
            json!({"model_type": "llama", "vocab_size": 32000, "tie_word_embeddings": false}),
            &[
                ("model.embed_tokens.weight", &[32000, 4096]),
                ("model.layers.0.self_attn.q_proj.weight", &[4096, 4096]),
                ("model.layers.0.mlp.gate_proj.weight", &[11008, 4096]),
                ("lm_head.weight", &[32000, 4096]),
            ],
            &["model.embed_tokens.weight"],
            &[("lm_head.weight", OutputHead)],
        ),
        (
            "Llama as first released",
            Value::Null,
            &[
                ("tok_embeddings.weight", &[32000, 4096]),
                ("layers.0.feed_forward.w1.weight", &[11008, 4096]),
                ("output.weight", &[32000, 4096]),
            ],
            &["tok_embeddings.weight"],
            &[("output.weight", OutputHead)],
        ),
        (
            "Qwen2",
            json!({"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": true}),
            &[("model.embed_tokens.weight", &[151936, 896]), ("model.layers.0.mlp.up_proj.weight", &[4864, 896])],
            &["model.embed_tokens.weight"],
            &[],
        ),
        (
            "Gemma 3",
            json!({"model_type": "gemma3", "text_config": {"vocab_size": 262208}, "vision_config": {"hidden_size": 1152}}),
            &[
                ("language_model.model.embed_tokens.weight", &[262208, 2560]),
                ("vision_tower.vision_model.embeddings.position_embedding.weight", &[4096, 1152]),
                ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", &[4304, 1152]),
            ],
            &["language_model.model.embed_tokens.weight"],
            &[("vision_tower.vision_model.embeddings.position_embedding.weight", Position)],
        ),
        (
            "OPT",
            json!({"model_type": "opt", "vocab_size": 50272}),
            &[
                ("model.decoder.embed_tokens.weight", &[50272, 512]),
                ("model.decoder.embed_positions.weight", &[2050, 1024]),
                ("model.decoder.project_in.weight", &[1024, 512]),
                ("model.decoder.project_out.weight", &[512, 1024]),
                ("model.decoder.layers.0.fc1.weight", &[4096, 1024]),
            ],
            &["model.decoder.embed_tokens.weight"],
            &[("model.decoder.embed_positions.weight", Position)],
        ),
        (
            "MPT",
            json!({"model_type": "mpt", "vocab_size": 50432}),
            &[("transformer.wte.weight", &[50432, 4096]), ("transformer.blocks.0.ffn.up_proj.weight", &[16384, 4096])],
            &["transformer.wte.weight"],
            &[],
        ),
        (
            "Falcon",
            json!({"model_type": "falcon", "vocab_size": 65024}),
            &[
                ("transformer.word_embeddings.weight", &[65024, 4544]),
                ("transformer.h.0.mlp.dense_h_to_4h.weight", &[18176, 4544]),
                ("lm_head.weight", &[65024, 4544]),
            ],
            &["transformer.word_embeddings.weight"],
            &[("lm_head.weight", OutputHead)],
        ),
        (
            "BLOOM",
            json!({"model_type": "bloom", "vocab_size": 250880}),
            &[
                ("word_embeddings.weight", &[250880, 1024]),
                ("word_embeddings_layernorm.weight", &[1024]),
                ("h.0.self_attention.query_key_value.weight", &[3072, 1024]),
            ],
            &["word_embeddings.weight"],
            &[],
        ),
        (
            "CLIP text",
            json!({"model_type": "clip", "text_config": {"vocab_size": 49408}}),
            &[
                ("text_model.embeddings.token_embedding.weight", &[49408, 512]),
                ("text_model.embeddings.position_embedding.weight", &[77, 512]),
                ("text_model.encoder.layers.0.mlp.fc1.weight", &[2048, 512]),
                ("text_projection.weight", &[512, 512]),
                ("visual_projection.weight", &[512, 768]),
            ],
            &["text_model.embeddings.token_embedding.weight"],
            &[("text_model.embeddings.position_embedding.weight", Position)],
        ),
        (
            "Whisper",
            json!({"model_type": "whisper", "vocab_size": 51865}),
            &[
                ("model.encoder.embed_positions.weight", &[1500, 384]),
                ("model.decoder.embed_tokens.weight", &[51865, 384]),
                ("model.decoder.embed_positions.weight", &[448, 384]),
                ("model.decoder.layers.0.fc1.weight", &[1536, 384]),
                ("proj_out.weight", &[51865, 384]),
            ],
            &["model.decoder.embed_tokens.weight"],
            &[
                ("model.encoder.embed_positions.weight", Position),
                ("model.decoder.embed_positions.weight", Position),
                ("proj_out.weight", OutputHead),
            ],
        ),
        (
            "BART",
            json!({"model_type": "bart", "vocab_size": 50265}),
            &[
                ("model.shared.weight", &[50265, 768]),
                ("model.encoder.embed_positions.weight", &[1026, 768]),
                ("model.encoder.layers.0.fc1.weight", &[3072, 768]),
            ],
            &["model.shared.weight"],
            &[("model.encoder.embed_positions.weight", Position)],
        ),
        (
            "T5",
            json!({"model_type": "t5", "vocab_size": 32128}),
            &[
                ("shared.weight", &[32128, 512]),
                ("encoder.block.0.layer.0.SelfAttention.q.weight", &[512, 512]),
                ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 8]),
                ("encoder.block.0.layer.1.DenseReluDense.wi.weight", &[2048, 512]),
            ],
            &["shared.weight"],
            &[("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", RelativeBias)],
        ),
        (
            "encoder and decoder of different vocabularies",
            json!({"encoder": {"vocab_size": 30522}, "decoder": {"vocab_size": 50257}}),
            &[
                ("encoder.embeddings.word_embeddings.weight", &[30522, 768]),
                ("decoder.transformer.wte.weight", &[50257, 768]),
                ("decoder.lm_head.weight", &[50257, 768]),
            ],
            &["encoder.embeddings.word_embeddings.weight", "decoder.transformer.wte.weight"],
            &[("decoder.lm_head.weight", OutputHead)],
        ),
        ("word vectors", Value::Null, &[("vectors", &[400000, 300]), ("norms", &[400000])], &["vectors"], &[]),
        ("word vectors under any name", Value::Null, &[("glove.6B", &[400000, 50])], &["glove.6B"], &[]),
        ("StaticEmbedding", Value::Null, &[("embedding.weight", &[30522, 1024])], &["embedding.weight"], &[]),
        ("Model2Vec", json!({"model_type": "model2vec"}), &[("embeddings", &[29528, 256])], &["embeddings"], &[]),
        (
            "a classifier with an embedding layer",
            Value::Null,
            &[("embedding.weight", &[20000, 300]), ("lstm.weight_ih_l0", &[1024, 300]), ("fc.weight", &[5, 256])],
            &["embedding.weight"],
            &[],
        ),
    ]
}
