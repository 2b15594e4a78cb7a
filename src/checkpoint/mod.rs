//! A checkpoint: the shards that hold the tensors, the configuration beside them, and every other file.
