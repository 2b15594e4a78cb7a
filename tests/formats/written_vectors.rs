//! Word vectors that `convert` writes: read back, read by gensim, and refused where a word does not fit.

use std::path::Path;
use std::process::Command;

use crate::support::{assert_verifies, fixture, python, rankfold, tree};
use rankfold::format::{Reader, WRITERS, open};

/// `rankfold convert SOURCE OUT FLAGS`, which must end with `code`; gives standard error.
fn convert(source: &Path, out: &Path, flags: &[&str], code: i32) -> String {
    let mut command = rankfold([Path::new("convert"), source, out]);
    let assert = command.args(flags).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// Names of the formats with a word for each row, and what their files are called.
fn encodings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let words = WRITERS.iter().filter(|format| format.table_of_words().is_some());
    words.map(|format| (format.name(), format.extension()))
}

fn content(path: &Path) -> (String, Vec<Vec<u8>>, Vec<u8>) {
    let reader: Box<dyn Reader> = open(path).unwrap();
    let mut words = Vec::new();
    let mut take = |word: &[u8]| {
        words.push(word.to_vec());
        Ok(())
    };
    reader.vocabulary().unwrap().for_each(&mut take).unwrap();
    (reader.metadata()["encoding"].clone(), words, reader.bytes(0).unwrap().into_owned())
}

/// Rows of every magnitude, words of every kind that fits; more rows than one piece has.
fn source(directory: &Path) -> (std::path::PathBuf, usize) {
    let path = directory.join("vectors.txt");
    let mut text = Vec::new();
    let rows = 2_000;
    for row in 0..rows {
        let mut state = row as u32 + 1;
        let mut single = || loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(state.rotate_left(7));
            if value.is_finite() {
                return value;
            }
        };
        text.extend(format!("w{row}").bytes());
        text.extend(if row == 7 { b"\xff\\n\xc3\xa4".as_slice() } else { b"" });
        (0..9).for_each(|_| text.extend(format!(" {}", single()).bytes()));
        text.push(b'\n');
    }
    std::fs::write(&path, text).unwrap();
    (path, rows)
}

#[test]
fn every_encoding_gives_back_every_bit_and_every_word() {
    let sandbox = tempfile::tempdir().unwrap();
    let (path, rows) = source(sandbox.path());
    let (_, words, numbers) = content(&path);
    assert_eq!((words.len(), numbers.len()), (rows, rows * 9 * 4));
    assert_eq!(encodings().count(), 3);
    for (name, extension) in encodings() {
        let [out, alone, plain, again] =
            ["out", "alone", "plain", "again"].map(|kind| sandbox.path().join(format!("{name}-{kind}")));
        convert(&path, &out, &["--to", name], 0);
        let file = format!("vectors.{extension}");
        assert_eq!(tree::names(&out), ["SHA256SUMS".to_owned(), "rankfold.json".into(), file.clone()]);
        assert_eq!(content(&out.join(&file)), (name.to_owned(), words.clone(), numbers.clone()));
        assert_verifies(&out);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &path]).assert().code(0);
        convert(&path, &alone, &["--to", name, "--threads", "1"], 0);
        tree::assert_same(&out, &alone);
        // Through safetensors, whose words are in `vocab.txt`.
        convert(&out, &plain, &[], 0);
        let files =
            ["SHA256SUMS", "model.safetensors", "rankfold.json", "rankfold_codecs.py", "vocab.txt", "word_vectors.py"];
        assert_eq!(tree::names(&plain), files);
        convert(&plain, &again, &["--to", name], 0);
        let file = format!("model.{extension}");
        assert_eq!(tree::names(&again), ["SHA256SUMS".to_owned(), file.clone(), "rankfold.json".into()]);
        assert_eq!(content(&again.join(&file)), (name.to_owned(), words.clone(), numbers.clone()));
        rankfold([Path::new("verify"), &again, Path::new("--source"), &plain]).assert().code(0);
    }
}

#[test]
fn a_table_of_a_model_gets_the_words_of_the_vocabulary_beside_it() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    let table = "bert.embeddings.word_embeddings.weight";
    let flags = ["--to", "word2vec-text", "--tensors", table];
    convert(&fixture("bert-untied"), &out, &flags, 0);
    let (_, words, _) = content(&out.join("model.vec"));
    let vocabulary = std::fs::read_to_string(fixture("bert-untied").join("vocab.txt")).unwrap();
    assert!(words.iter().map(|word| std::str::from_utf8(word).unwrap()).eq(vocabulary.lines()));
    // A vocabulary of the source's own stays.
    assert_eq!(std::fs::read_to_string(out.join("vocab.txt")).unwrap(), vocabulary);
    let manifest = std::fs::read_to_string(out.join("rankfold.json")).unwrap();
    assert!(manifest.contains(&format!(r#""source": "{table}""#)), "{manifest}");
    assert_verifies(&out);
    rankfold([Path::new("verify"), &out, Path::new("--source"), &fixture("bert-untied")]).assert().code(0);
}

#[test]
fn a_table_in_any_format_gets_the_words_of_the_vocabulary_beside_it() {
    let sandbox = tempfile::tempdir().unwrap();
    let (path, rows) = source(sandbox.path());
    let (_, _, numbers) = content(&path);
    let vocabulary: String = (0..rows).map(|row| format!("word{row}\n")).collect();
    let formats = WRITERS.iter().filter(|format| format.table_of_words().is_none());
    for format in formats {
        let [table, out] = ["table", "out"].map(|kind| sandbox.path().join(format!("{}-{kind}", format.name())));
        convert(&path, &table, &["--to", format.name()], 0);
        // The table alone, as it lies on somebody's disk, with the words as they are.
        for name in tree::names(&table) {
            if ["rankfold.json", "SHA256SUMS", "word_vectors.py", "rankfold_codecs.py"].contains(&name.as_str()) {
                std::fs::remove_file(table.join(name)).unwrap();
            }
        }
        std::fs::write(table.join("vocab.txt"), &vocabulary).unwrap();
        convert(&table, &out, &["--to", "word2vec-binary"], 0);
        let file = tree::names(&out).into_iter().find(|name| name.ends_with(".bin")).unwrap();
        let (_, words, found) = content(&out.join(file));
        assert!(found == numbers && words.iter().map(|word| std::str::from_utf8(word).unwrap()).eq(vocabulary.lines()));
    }
    // A pickle with its words.
    let model = sandbox.path().join("pickle");
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(fixture("pytorch").join("pytorch_model.bin"), model.join("pytorch_model.bin")).unwrap();
    std::fs::write(model.join("vocab.txt"), vocabulary.lines().take(120).collect::<Vec<_>>().join("\n")).unwrap();
    let flags = ["--to", "glove-text", "--tensors", "bert.embeddings.word_embeddings.weight"];
    convert(&model, &sandbox.path().join("pickle-out"), &flags, 0);
}

#[test]
fn what_the_format_has_no_place_for_is_refused_with_the_word_and_the_row() {
    let sandbox = tempfile::tempdir().unwrap();
    let refusal = |lines: &str, flags: &[&str]| {
        let (path, out) = (sandbox.path().join("glove.txt"), sandbox.path().join("out"));
        std::fs::write(&path, lines).unwrap();
        let message = convert(&path, &out, flags, 1);
        assert!(!out.exists());
        message
    };
    for (name, _) in encodings() {
        let message = refusal("a 1 2\nnew york 3 4\n", &["--to", name]);
        let expected = "no place for the word of a row: expected a word without blanks and ends of lines, found `new york` in row 1";
        assert!(message.contains(expected), "{message}");
    }
    let message = refusal("a 1 2\nb nan 4\n", &["--to", "glove-text"]);
    assert!(message.contains("tensor `embedding.weight`") && message.contains("NaN in row 1"), "{message}");
    let message = refusal("a 1 2\nb 3 4\n", &["--to", "glove-text", "--dtype", "f16"]);
    assert!(message.contains("word vectors are singles"), "{message}");
}

#[test]
fn a_table_without_words_and_several_tables_are_refused() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    let message = convert(&fixture("numpy").join("table.npy"), &out, &["--to", "word2vec-text"], 1);
    assert!(message.contains("there are no words for the rows") && message.contains("hint: "), "{message}");
    let message = convert(&fixture("bert-untied"), &out, &["--to", "word2vec-text"], 1);
    assert!(message.contains("word vectors are one table") && message.contains("`--tensors`"), "{message}");
    let table = ["--to", "word2vec-text", "--tensors", "bert.embeddings.position_embeddings.weight"];
    let message = convert(&fixture("bert-untied"), &out, &table, 1);
    assert!(message.contains("the words are not as many as the rows"), "{message}");
    assert!(!out.exists());
}

/// gensim reads what is written to the bit, and what gensim writes is read.
#[test]
fn real_gensim_agrees_on_every_encoding() {
    let sandbox = tempfile::tempdir().unwrap();
    let (path, _) = source(sandbox.path());
    for (name, _) in encodings() {
        convert(&path, &sandbox.path().join(name), &["--to", name], 0);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/gensim_oracle.py");
    let output = Command::new(python()).arg(script).arg(sandbox.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, mut words, numbers) = content(&path);
    words[7] = b"w7".to_vec();
    for (name, encoding) in [("gensim.txt", "word2vec-text"), ("gensim.bin", "word2vec-binary")] {
        let found = content(&sandbox.path().join(name));
        assert_eq!((found.0.as_str(), &found.1, &found.2), (encoding, &words, &numbers));
    }
}
