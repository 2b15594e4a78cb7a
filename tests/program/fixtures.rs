//! Every fixture goes through compress, verify and restore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::{assert_verifies, compress, fixture, rankfold, tree, weights};

/// A fixture and what compressing it by half must do.
struct Case {
    /// File or directory below `fixtures/`.
    path: &'static str,
    /// Flags besides the target.
    flags: &'static [&'static str],
    /// Tables that become factor pairs.
    tables: &'static [&'static str],
    /// Names that share a table's bytes and are not stored again.
    tied: &'static [&'static str],
}

/// Where the second factor of `table` is stored.
fn projection(table: &str) -> String {
    format!("{}.proj.weight", table.strip_suffix(".weight").unwrap_or(table))
}

fn key(name: &str) -> (PathBuf, String) {
    (PathBuf::new(), name.to_owned())
}

impl Case {
    fn compress_to(&self, out: &Path, threads: &str) {
        let mut command = compress(&fixture(self.path), out, &["--reduction", "0.5", "--threads", threads]);
        command.args(self.flags).assert().code(0);
    }

    fn stores_factor_pairs_and_leaves_the_rest(&self) {
        let sandbox = tempfile::tempdir().unwrap();
        let out = sandbox.path().join("out");
        self.compress_to(&out, "1");
        let before = weights::read(&fixture(self.path));
        let after = weights::read(&out);

        let mut expected: BTreeSet<_> = before.keys().cloned().collect();
        for name in self.tied {
            assert!(expected.remove(&key(name)), "`{name}` is in the fixture");
        }
        expected.extend(self.tables.iter().map(|table| key(&projection(table))));
        assert_eq!(after.keys().cloned().collect::<BTreeSet<_>>(), expected);

        for table in self.tables {
            let [rows, columns] = before[&key(table)].shape[..] else { panic!("`{table}` is a matrix") };
            let rank = rows * columns / (2 * (rows + columns));
            assert_eq!(after[&key(table)].shape, [rows, rank], "`{table}`");
            assert_eq!(after[&key(&projection(table))].shape, [columns, rank], "`{table}`");
            assert_eq!(after[&key(table)].dtype, before[&key(table)].dtype, "`{table}`");
            expected.remove(&key(table));
            expected.remove(&key(&projection(table)));
        }
        for name in &expected {
            assert!(after[name] == before[name], "`{}` was touched", name.1);
        }
        assert_verifies(&out);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &fixture(self.path)]).assert().code(0);
    }

    fn restores_names_shapes_and_dtypes(&self) {
        let sandbox = tempfile::tempdir().unwrap();
        let (out, dense) = (sandbox.path().join("out"), sandbox.path().join("dense"));
        self.compress_to(&out, "1");
        rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
        let before = weights::read(&fixture(self.path));
        let after = weights::read(&dense);

        let shapes = |tensors: &BTreeMap<(PathBuf, String), weights::Tensor>| {
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dtype, tensor.shape.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shapes(&after), shapes(&before));
        for (name, tensor) in &before {
            let is_table = [self.tables, self.tied].concat().contains(&name.1.as_str());
            // A table of full rank cannot survive being halved: equal bytes would mean that nothing was compressed.
            assert_eq!(after[name] == *tensor, !is_table, "`{}`", name.1);
        }
        for tied in self.tied {
            assert!(after[&key(tied)] == after[&key(self.tables[0])], "`{tied}` is still tied");
        }
    }

    fn gives_the_same_bytes_on_one_thread_and_on_two(&self) {
        let sandbox = tempfile::tempdir().unwrap();
        let (one, two) = (sandbox.path().join("one"), sandbox.path().join("two"));
        self.compress_to(&one, "1");
        self.compress_to(&two, "2");
        tree::assert_same(&one, &two);
    }
}

macro_rules! fixtures {
    ($($module:ident: $case:expr;)*) => {
        $(mod $module {
            use super::Case;

            pub(super) const CASE: Case = $case;

            #[test]
            fn stores_factor_pairs_and_leaves_the_rest() {
                CASE.stores_factor_pairs_and_leaves_the_rest();
            }

            #[test]
            fn restores_names_shapes_and_dtypes() {
                CASE.restores_names_shapes_and_dtypes();
            }

            #[test]
            fn gives_the_same_bytes_on_one_thread_and_on_two() {
                CASE.gives_the_same_bytes_on_one_thread_and_on_two();
            }
        })*

        const CASES: &[&Case] = &[$(&$module::CASE),*];
    };
}

fixtures! {
    bert_tied: Case {
        path: "bert-tied",
        flags: &[],
        tables: &["bert.embeddings.word_embeddings.weight"],
        tied: &["cls.predictions.decoder.weight"],
    };
    bert_untied: Case {
        path: "bert-untied",
        flags: &[],
        tables: &["bert.embeddings.word_embeddings.weight"],
        tied: &[],
    };
    bert_encoder: Case {
        path: "bert-encoder",
        flags: &[],
        tables: &["embeddings.word_embeddings.weight"],
        tied: &[],
    };
    llama_bf16_sharded: Case {
        path: "llama-bf16-sharded",
        flags: &[],
        tables: &["model.embed_tokens.weight"],
        tied: &[],
    };
    gpt2_f16: Case { path: "gpt2-f16", flags: &[], tables: &["wte.weight"], tied: &[] };
    t5_shared: Case {
        path: "t5-shared",
        flags: &[],
        tables: &["shared.weight"],
        tied: &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
    };
    dtypes: Case {
        path: "dtypes",
        flags: &["--include", "embedding.weight"],
        tables: &["embedding.weight"],
        tied: &[],
    };
    word_vectors: Case {
        path: "word-vectors/vectors.safetensors",
        flags: &[],
        tables: &["embeddings"],
        tied: &[],
    };
    sentence_transformers: Case {
        path: "sentence-transformers",
        flags: &[],
        tables: &["embeddings.word_embeddings.weight"],
        tied: &[],
    };
    wide: Case {
        path: "wide",
        flags: &[],
        tables: &["esm.embeddings.word_embeddings.weight"],
        tied: &["lm_head.decoder.weight"],
    };
}

#[test]
fn every_fixture_has_a_case() {
    let folder = |case: &&Case| case.path.split('/').next().unwrap().to_owned();
    let mut cases: BTreeSet<String> = CASES.iter().map(folder).collect();
    // Fixtures of other formats have tests of their own: pytorch_files, conversion, onnx.
    // What classifiers are trained on is in the documents of `train`, `retrain` and `evaluate`.
    cases.extend(["pytorch", "pytorch-legacy", "numpy", "onnx", "sentences"].map(String::from));
    let root = fixture("");
    let folders: BTreeSet<String> =
        tree::names(&root).into_iter().filter(|name| root.join(name).is_dir() && !name.starts_with("__")).collect();
    assert_eq!(cases, folders);
}
