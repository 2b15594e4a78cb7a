//! Files: what each format holds, how it can lie, and what is converted between them.

#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod conversion;
mod every_format;
mod fasttext_models;
mod gguf;
mod gguf_tables;
mod hostile_index;
mod hostile_safetensors;
mod onnx;
mod pytorch_files;
mod real_formats;
mod safetensors_files;
mod word_vectors;
mod written_vectors;
