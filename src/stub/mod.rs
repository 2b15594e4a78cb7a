//! The programs that go into an output: the loader, the schedules, the fine-tuning program.
//!
//! They stand beside `config.json`, where transformers looks for the modules that `auto_map` names.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A file that an output gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whether it trains factors, and has nothing to do where the tables are codes.
    pub trains: bool,
}

/// The files of the stub. The first is the loader, which needs none of the others for factor pairs.
pub const PROGRAMS: &[Program] = &[
    Program { name: "rankfold_loader.py", text: include_str!("rankfold_loader.py"), trains: false },
    CODECS,
    Program { name: "rankfold_schedule.py", text: include_str!("rankfold_schedule.py"), trains: true },
    Program { name: "rankfold_manifest.py", text: include_str!("rankfold_manifest.py"), trains: true },
    Program { name: "finetune.py", text: include_str!("finetune.py"), trains: true },
];

/// The decoders, which the class for word vectors needs too.
pub(crate) const CODECS: Program =
    Program { name: "rankfold_codecs.py", text: include_str!("rankfold_codecs.py"), trains: false };

/// The classes of classifiers of sentences, which go into what `train` makes and from there into every output.
#[cfg(feature = "train")]
pub(crate) const CLASSIFIER: Program =
    Program { name: "rankfold_classifier.py", text: include_str!("rankfold_classifier.py"), trains: false };

/// The methods that the loader reads; an output with a table of another gets no stub, which could but refuse it.
const METHODS: &[&str] = &["low-rank", "low-rank-fixed", "fixed-point", "cast", "transform", "product", "ggml"];

/// Whether the loader reads tables of `method`.
pub(crate) fn reads(method: &str) -> bool {
    METHODS.contains(&method)
}

/// The Auto classes of transformers that the loader stands in for when `trust_remote_code=True` is given.
pub(crate) const AUTO_CLASSES: &[&str] = &[
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
];

/// The value of `auto_map`: for each Auto class the name of its stand-in in the loader.
pub(crate) fn auto_map() -> Value {
    let classes = AUTO_CLASSES.iter().map(|class| ((*class).into(), format!("rankfold_loader.Rankfold{class}").into()));
    Value::Object(classes.collect::<Map<_, _>>())
}

/// Where the files go: beside the configuration at `config`, or to the root where there is none.
pub(crate) fn paths(config: Option<&Path>) -> impl Iterator<Item = (PathBuf, &'static Program)> {
    let folder = config.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
    PROGRAMS.iter().map(move |program| (folder.join(program.name), program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_reads_the_methods_that_it_is_written_for_and_no_others() {
        let (_, table) = PROGRAMS[0].text.split_once("\nMETHODS: ").expect("the loader's methods");
        let (table, _) = table.split_once("\n}\n").expect("the end of the table");
        for codec in crate::codec::CODECS {
            assert_eq!(table.contains(&format!("\"{}\":", codec.name())), reads(codec.name()), "{}", codec.name());
        }
    }
}
