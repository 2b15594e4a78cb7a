//! A folder with a data set, read for an experiment.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::output::digest_file;
use crate::train::data::vectors::initial_table;
use crate::train::data::{
    Casing, Dataset, Encoding, Example, FileFormat, Labels, ReadOptions, Vocabulary, read, split_dev,
};
use crate::train::model::Matrix;

/// What the tenth for choosing epochs is drawn with, where there is no file of it: the same for all runs.
const SPLIT_SEED: u64 = 0;

/// What words without a vector are drawn with: the same for all runs, as vectors are.
const VECTORS_SEED: u64 = 0;

/// A data set as runs take it.
pub(super) struct DataSet {
    pub(super) facts: DataFacts,
    pub(super) train: Dataset,
    pub(super) dev: Dataset,
    pub(super) test: Dataset,
    pub(super) vocabulary: Vocabulary,
    /// The table that training starts from, where vectors were given.
    pub(super) vectors: Option<Matrix>,
}

/// What a report says of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataFacts {
    /// Name of the folder.
    pub name: String,
    /// Sentences trained on.
    pub train: usize,
    /// Sentences that epochs are chosen on.
    pub dev: usize,
    /// Sentences that are looked at once.
    pub test: usize,
    /// Whether dev was drawn from the training file.
    pub dev_was_drawn: bool,
    /// Classes.
    pub classes: usize,
    /// Words of the vocabulary, the two special ones included.
    pub vocabulary: usize,
    /// Words that have a vector.
    pub vectors_found: usize,
    /// Mean number of words of a test sentence, at most [`super::MAX_TOKENS`] counted of each.
    pub mean_tokens: f64,
    /// Files with their SHA-256.
    pub files: Vec<FileFacts>,
}

/// A file and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Name, without directories.
    pub name: String,
    /// Lower-case hex.
    pub sha256: String,
}

impl FileFacts {
    /// Digests `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn of(path: &Path, observer: &dyn Observer) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(FileFacts { name, sha256: digest_file(path, observer)?.1 })
    }
}

/// The folders of `directory` that have a training file, by name.
///
/// # Errors
/// [`ErrorKind::Io`]; [`ErrorKind::Request`] where there is none.
pub(super) fn folders(directory: &Path) -> Result<Vec<PathBuf>> {
    let refused = |error| Error::io("cannot list", directory, error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        if find(&path, "train").is_some() {
            folders.push(path);
        }
    }
    folders.sort();
    match folders.is_empty() {
        false => Ok(folders),
        true => Err(Error::new(ErrorKind::Request, "the directory has no data set")
            .at(directory)
            .expected("folders with `train.txt` and `test.txt`, or other extensions of data files")),
    }
}

/// The file of a folder for a purpose: `train.txt`, or another extension that data files have.
fn find(folder: &Path, purpose: &str) -> Option<PathBuf> {
    let extensions = ["txt"].into_iter().chain(FileFormat::ALL.map(|(name, _)| name));
    extensions.map(|extension| folder.join(format!("{purpose}.{extension}"))).find(|path| path.is_file())
}

impl DataSet {
    /// Reads a folder. UTF-8 is tried before `encoding`, so that one option serves folders of both.
    ///
    /// # Errors
    /// Those of reading; [`ErrorKind::Request`] where there is no test file or it has labels that training lacks.
    pub(super) fn open(
        folder: &Path,
        encoding: Encoding,
        vectors: Option<&Path>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut files = Vec::new();
        let mut examples = |path: &Path| -> Result<Vec<Example>> {
            files.push(FileFacts::of(path, observer)?);
            let options = |encoding| ReadOptions { encoding, ..ReadOptions::default() };
            match read(path, &options(Encoding::Utf8)) {
                Err(error) if error.kind() == ErrorKind::Malformed && encoding != Encoding::Utf8 => {
                    read(path, &options(encoding))
                }
                other => other,
            }
        };
        let missing = |name: &str| {
            Error::new(ErrorKind::Request, format!("the data set has no {name} file"))
                .at(folder)
                .expected(format!("`{name}.txt`"))
        };
        let all = examples(&find(folder, "train").ok_or_else(|| missing("train"))?)?;
        let labels = Labels::of(&all);
        let dev_file = find(folder, "dev");
        let (train, dev) = match &dev_file {
            Some(path) => (all, examples(path)?),
            None => split_dev(all, SPLIT_SEED)?,
        };
        let test_file = find(folder, "test").ok_or_else(|| missing("test"))?;
        let test = examples(&test_file)?;
        // As in the paper's experiment, a word that training lacks keeps its vector; one without a vector would be noise.
        let unseen = dev.iter().chain(&test).filter(|_| vectors.is_some());
        let vocabulary = Vocabulary::of(train.iter().chain(unseen), Casing::Lower);
        let encode = |examples: &[Example], path: &Path| {
            Dataset::encode(examples, &vocabulary, &labels, super::MAX_TOKENS).map_err(|error| error.at(path))
        };
        let (train, dev, test) =
            (encode(&train, folder)?, encode(&dev, dev_file.as_deref().unwrap_or(folder))?, encode(&test, &test_file)?);
        let table = vectors.map(|path| initial_table(path, &vocabulary, VECTORS_SEED)).transpose()?;
        let facts = DataFacts {
            name: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            train: train.len(),
            dev: dev.len(),
            test: test.len(),
            dev_was_drawn: dev_file.is_none(),
            classes: labels.len(),
            vocabulary: vocabulary.len(),
            vectors_found: table.as_ref().map_or(0, |table| table.found),
            mean_tokens: test.lengths.iter().map(|&length| f64::from(length)).sum::<f64>() / test.len() as f64,
            files,
        };
        let vectors = table.map(|table| Matrix::new(table.values, vocabulary.len(), table.columns)).transpose()?;
        Ok(DataSet { facts, train, dev, test, vocabulary, vectors })
    }
}
