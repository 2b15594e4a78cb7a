//! Word vectors: what each encoding says, what odd files mean, and that hostile ones are refused.

use std::path::Path;

use crate::support::files::message_of_file;
use crate::support::{assert_verifies, compress, rankfold, weights};
use rankfold::format::{Reader, open};

/// Opens a file of that name and content, for as long as the directory lives.
fn opened(name: &str, content: &[u8]) -> (tempfile::TempDir, Box<dyn Reader>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    let reader = open(&path).unwrap();
    (directory, reader)
}

fn values(reader: &dyn Reader, index: usize) -> Vec<f32> {
    reader.bytes(index).unwrap().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn words(reader: &dyn Reader) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut take = |word: &[u8]| {
        words.push(word.to_vec());
        Ok(())
    };
    reader.vocabulary().unwrap().for_each(&mut take).unwrap();
    words
}

/// The encoding, the words and the numbers of a file.
fn content(name: &str, bytes: &[u8]) -> (String, Vec<Vec<u8>>, Vec<f32>) {
    let (_directory, reader) = opened(name, bytes);
    (reader.metadata()["encoding"].clone(), words(reader.as_ref()), values(reader.as_ref(), 0))
}

fn bytes_of(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The error of decoding a file that opens.
fn decoding_error(name: &str, bytes: &[u8]) -> String {
    let (_directory, reader) = opened(name, bytes);
    reader.bytes(0).expect_err("a row cannot be decoded").to_string()
}

#[test]
fn text_without_a_header_is_glove() {
    let (encoding, words, values) = content("v.txt", b"the 0.5 -1.25 3\nof 1e-2 .5 -0\n");
    assert_eq!(encoding, "glove-text");
    assert_eq!(words, bytes_of(&["the", "of"]));
    assert_eq!(values, [0.5, -1.25, 3.0, 0.01, 0.5, 0.0]);
}

#[test]
fn text_with_a_header_is_word2vec_with_or_without_blanks_and_returns_at_the_ends_of_lines() {
    for text in
        ["2 2\na 1 2\nb 3 4\n", "2 2 \na 1 2 \nb 3 4 ", "2 2\r\na 1 2\r\nb 3 4\r\n", "2 2\na\t1\t2\nb\t3  4\n\n"]
    {
        let (encoding, words, values) = content("v.vec", text.as_bytes());
        assert_eq!((encoding.as_str(), words), ("word2vec-text", bytes_of(&["a", "b"])), "{text:?}");
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0], "{text:?}");
    }
}

#[test]
fn the_last_numbers_of_a_line_are_the_vector_and_the_rest_is_the_word() {
    let (_, found, values) = content("v.txt", b"plain 1 2\n. . . 3 4\nat 7 5 6\nname@domain.com 7 8\n 9 10\n");
    assert_eq!(found, bytes_of(&["plain", ". . .", "at 7", "name@domain.com", ""]));
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
}

#[test]
fn words_that_repeat_and_words_that_are_not_utf8_are_rows_like_any_other() {
    let (_, found, values) = content("v.txt", b"a 1 2\n\xff\xfe 3 4\na 5 6\n");
    assert_eq!(found, [b"a".to_vec(), b"\xff\xfe".to_vec(), b"a".to_vec()]);
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn rows_far_into_a_file_are_found() {
    let text: String = (0..30_000).map(|row| format!("word{row} {row} {}.5\n", row % 7)).collect();
    let (_directory, reader) = opened("v.txt", text.as_bytes());
    let rows = reader.rows(0).unwrap();
    assert_eq!(rows.shape(), (30_000, 2));
    for start in [0, 1, 4_095, 12_345, 29_998] {
        let mut out = [0.0f32; 4];
        rows.read_f32(start..start + 2, &mut out).unwrap();
        let expected = [start, start + 1].map(|row| [row as f32, (row % 7) as f32 + 0.5]);
        assert_eq!(out, *expected.as_flattened(), "row {start}");
    }
    assert_eq!(words(reader.as_ref())[29_999], b"word29999");
}

fn word2vec(rows: &[(&str, [f32; 2])], newline: &str) -> Vec<u8> {
    let mut bytes = format!("{} 2\n", rows.len()).into_bytes();
    for (word, numbers) in rows {
        bytes.extend(format!("{word} ").into_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(newline.bytes());
    }
    bytes
}

#[test]
fn binary_word2vec_is_read_with_and_without_newlines() {
    for newline in ["", "\n"] {
        let (encoding, words, values) = content("v.bin", &word2vec(&[("a", [0.5, 3.0]), ("bc", [2.0, -1.0])], newline));
        assert_eq!((encoding.as_str(), words), ("word2vec-binary", bytes_of(&["a", "bc"])));
        assert_eq!(values, [0.5, 3.0, 2.0, -1.0]);
    }
}

#[test]
fn a_header_that_lies_about_the_rows_is_refused_with_what_it_should_be() {
    for stated in ["3", "1", "1000000000000000000"] {
        let message = message_of_file("v.vec", format!("{stated} 2\na 1 2\nb 3 4\n").as_bytes());
        let expected =
            format!("the first line lies about the number of rows: expected {stated} rows, as it says, found 2");
        assert_eq!(message, expected);
    }
    let mut binary = word2vec(&[("a", [0.5, 3.0]), ("b", [2.0, -1.0])], "\n");
    binary[0] = b'1';
    assert!(message_of_file("v.bin", &binary).starts_with("the first line lies about the number of rows"));
    let huge = [b"1000000000000000000 300\nword ".as_slice(), &[0, 0, 1, 2]].concat();
    assert!(message_of_file("v.bin", &huge).starts_with("the first line lies about the size of the file"));
}

#[test]
fn a_header_that_lies_about_the_columns_is_refused() {
    let message = message_of_file("v.vec", b"2 1000000000000000000\na 1 2\nb 3 4\n");
    assert!(message.starts_with("the file is too short for its rows"), "{message}");
    let message = message_of_file("v.vec", b"2 0\na 1 2\nb 3 4\n");
    assert!(message.starts_with("the file is too short for its rows"), "{message}");
    assert!(decoding_error("v.vec", b"2 3\na 1 2\nb 3 4\n").contains("line 2 is too short"));
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let message = decoding_error("v.txt", b"a 1 2\nb 3 x4\n");
    assert_eq!(message, "line 2 has a field that is no number: expected a decimal number, found `x4`");
    assert!(decoding_error("v.vec", b"3 2\na 1 2\n\nb 3 4\n").contains("line 3 is too short: expected a word and 2"));
}

#[test]
fn a_line_without_an_end_is_refused_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v.vec");
    std::fs::write(&path, b"1 2\nword ").unwrap();
    // A hole of a gigabyte, which takes no room on the disk.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    let message = open(&path).err().expect("refused").to_string();
    assert!(
        message.contains("has no end of its word") || message.contains("too long") || message.contains("lies"),
        "{message}"
    );
    std::fs::write(&path, [b"word 1 2\n".as_slice(), &vec![b'x'; 40 << 20]].concat()).unwrap();
    let message = open(&path).err().expect("refused").to_string();
    assert!(message.contains("a line is too long: expected at most 16777216 bytes"), "{message}");
}

#[test]
fn text_cut_anywhere_has_whole_rows_or_is_refused() {
    let glove = b"the 0.5 -1.25\nof 1.5 2.5\nin 3.5 4.5\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v.txt");
    for (header, whole) in [("", &glove[..]), ("3 2\n", glove)] {
        let whole = [header.as_bytes(), whole].concat();
        for length in 1..whole.len() - 1 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let Ok(reader) = open(&path) else { continue };
            // A number that is cut is one; a header tells that there are fewer rows.
            let rows = whole[header.len()..length].iter().filter(|byte| **byte == b'\n').count();
            let found = reader.tensors()[0].shape[0];
            assert!(found == rows || found == rows + 1, "{length} bytes");
            assert!(header.is_empty() || found == 3, "{length} bytes");
        }
    }
    // Within the last row, of which a number is missing, beyond the lines that tell d.
    let long: Vec<u8> = (0..200).flat_map(|row| format!("w{row} 0.5 1.5\n").into_bytes()).collect();
    assert!(decoding_error("v.txt", &long[..long.len() - 5]).contains("line 200 is too short"));
}

#[test]
fn vectors_alone_in_a_directory_are_its_weights_whatever_they_are_called() {
    let sandbox = tempfile::tempdir().unwrap();
    let shapes = |name: &str| {
        let checkpoint = rankfold::checkpoint::Checkpoint::open(&sandbox.path().join(name)).map_err(|e| e.to_string());
        checkpoint.map(|checkpoint| checkpoint.tensors().map(|(_, meta)| meta.shape.clone()).collect::<Vec<_>>())
    };
    let put = |name: &str, content: &[u8]| {
        let path = sandbox.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    put("glove/vectors.50d.txt", b"a 1 2 3\nb 4 5 6\n");
    put("glove/README.md", b"# Vectors\nof two words\n");
    assert_eq!(shapes("glove"), Ok(vec![vec![2, 3]]));
    put("text/vectors.vec", b"2 3\na 1 2 3\nb 4 5 6\n");
    assert_eq!(shapes("text"), Ok(vec![vec![2, 3]]));
    put("binary/vectors.bin", &word2vec(&[("a", [0.5, 3.0])], "\n"));
    put("binary/vocab.txt", b"a\n");
    assert_eq!(shapes("binary"), Ok(vec![vec![1, 2]]));
    let model = Model { words: vec!["</s>", "ab"], buckets: 2, quantized: true };
    put("quantized/model.ftz", &model.bytes());
    assert_eq!(shapes("quantized"), Ok(vec![vec![2, 4], vec![2, 4], vec![1, 4]]));
    put("glove/other.txt", b"a 1 2 3\n");
    let message = shapes("glove").unwrap_err();
    assert!(message.contains("several files") && message.contains("`other.txt`, `vectors.50d.txt`"), "{message}");
}

#[test]
fn an_empty_file_and_one_without_numbers_are_refused() {
    assert_eq!(message_of_file("v.vec", b""), "the file is empty");
    assert_eq!(message_of_file("v.vec", b"\n\n"), "there is no word in the file");
    assert!(message_of_file("v.vec", b"word\n").starts_with("a line has a word and no number"));
}

#[test]
fn binary_word2vec_cut_anywhere_is_refused() {
    let whole = word2vec(&[("a", [0.5, 3.0]), ("bc", [2.0, -1.0])], "");
    for length in 4..whole.len() {
        assert!(message_of_file("v.vec", &whole[..length]).len() > 10, "{length} bytes");
    }
}

/// A fastText model: `words` with n-grams of 3 characters in `buckets`, d = 4.
struct Model {
    words: Vec<&'static str>,
    buckets: i32,
    quantized: bool,
}

impl Model {
    fn rows(&self) -> usize {
        self.words.len() + self.buckets as usize
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let ints = |out: &mut Vec<u8>, values: &[i32]| out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        ints(&mut out, &[793_712_314, 12, 4, 5, 5, 1, 5, 1, 2, 2, self.buckets, 3, 3, 100]);
        out.extend(1e-4f64.to_le_bytes());
        let count = self.words.len() as i32;
        ints(&mut out, &[count, count, 0]);
        out.extend(100i64.to_le_bytes());
        out.extend((-1i64).to_le_bytes());
        for word in &self.words {
            out.extend([word.as_bytes(), &[0], &7i64.to_le_bytes(), &[0]].concat());
        }
        let rows = self.rows() as i64;
        out.push(self.quantized.into());
        if self.quantized {
            // With norms; pieces of 3 and 1 numbers.
            out.push(1);
            out.extend([rows.to_le_bytes(), 4i64.to_le_bytes()].concat());
            ints(&mut out, &[2 * rows as i32]);
            out.extend((0..2 * rows).map(|code| code as u8));
            ints(&mut out, &[4, 2, 3, 1]);
            out.extend((0..4 * 256).flat_map(|number| (number as f32 / 8.0).to_le_bytes()));
            out.extend((0..rows).map(|code| (code % 3) as u8));
            ints(&mut out, &[1, 1, 1, 1]);
            out.extend((0..256).flat_map(|number| (1.0 + number as f32).to_le_bytes()));
        } else {
            out.extend([rows.to_le_bytes(), 4i64.to_le_bytes()].concat());
            out.extend((0..4 * rows).flat_map(|number| (number as f32).to_le_bytes()));
        }
        out.push(0);
        out.extend([1i64.to_le_bytes(), 4i64.to_le_bytes()].concat());
        out.extend([1.0f32; 4].iter().flat_map(|number| number.to_le_bytes()));
        out
    }
}

/// fastText's hash of a string.
fn hash(text: &str) -> usize {
    text.bytes().fold(2_166_136_261u32, |hash, byte| (hash ^ byte as i8 as u32).wrapping_mul(16_777_619)) as usize
}

#[test]
fn a_fasttext_word_is_the_mean_of_its_row_and_those_of_its_ngrams() {
    let model = Model { words: vec!["</s>", "ab", "é"], buckets: 5, quantized: false };
    let (_directory, reader) = opened("m.bin", &model.bytes());
    let names: Vec<_> = reader.tensors().iter().map(|meta| (meta.name.as_str(), meta.shape.clone())).collect();
    let expected = [("embedding.weight", vec![3, 4]), ("subwords.weight", vec![5, 4]), ("output.weight", vec![1, 4])];
    assert_eq!(names, expected);
    assert_eq!(words(reader.as_ref()), bytes_of(&["</s>", "ab", "é"]));
    let row = |number: usize| (0..4).map(|column| (4 * number + column) as f32).collect::<Vec<_>>();
    let mean = |rows: &[usize]| -> Vec<f32> {
        let sum = |column: usize| rows.iter().map(|&number| row(number)[column]).sum::<f32>();
        (0..4).map(|column| sum(column) * (1.0 / rows.len() as f64) as f32).collect()
    };
    let bucket = |ngram: &str| 3 + hash(ngram) % 5;
    let expected = [row(0), mean(&[1, bucket("<ab"), bucket("ab>")]), mean(&[2, bucket("<é>")])].concat();
    assert_eq!(values(reader.as_ref(), 0), expected);
    assert_eq!(values(reader.as_ref(), 1), (3..8).flat_map(row).collect::<Vec<_>>());
}

#[test]
fn a_quantized_fasttext_model_is_decoded() {
    let model = Model { words: vec!["</s>"], buckets: 2, quantized: true };
    let (_directory, reader) = opened("m.ftz", &model.bytes());
    assert_eq!(reader.metadata()["encoding"], "fasttext-quantized");
    // Row r has the codes 2r and 2r + 1 and the norm 1 + r % 3; pieces of 3 numbers, then of 1.
    let row = |row: usize| {
        let place = |number: usize| (1 + row % 3) as f32 * (number as f32 / 8.0);
        let (first, last) = (2 * row * 3, 256 * 3 + 2 * row + 1);
        [place(first), place(first + 1), place(first + 2), place(last)]
    };
    assert_eq!(values(reader.as_ref(), 0), row(0));
    assert_eq!(values(reader.as_ref(), 1), [row(1), row(2)].concat());
}

#[test]
fn fasttext_models_cut_anywhere_are_refused() {
    for quantized in [false, true] {
        let whole = Model { words: vec!["</s>", "ab"], buckets: 2, quantized }.bytes();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.ftz");
        for length in (4..whole.len()).filter(|length| *length < 400 || length % 97 == 0) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(open(&path).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn fasttext_arguments_that_lie_are_refused() {
    let whole = Model { words: vec!["</s>", "ab"], buckets: 2, quantized: false }.bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut lying = whole.clone();
        lying[at..at + bytes.len()].copy_from_slice(bytes);
        lying
    };
    let huge = i32::MAX.to_le_bytes();
    let message = |lying: &[u8]| message_of_file("m.bin", lying);
    assert!(message(&with(4, &[99])).starts_with("unknown version of the fastText format"));
    assert!(message(&with(8, &huge)).starts_with("the input matrix does not fit the dictionary"));
    assert!(message(&with(48, &huge)).starts_with("the n-grams are too long"));
    assert!(message(&with(64, &huge)).starts_with("the dictionary lies about its size"));
    assert!(message(&with(68, &(-1i32).to_le_bytes())).starts_with("the number of words is negative"));
    assert!(message(&with(84, &i64::MAX.to_le_bytes())).starts_with("the file ends within the n-grams kept"));
    let matrix = 92 + "</s>".len() + "ab".len() + 2 * 10 + 1;
    assert!(message(&with(matrix, &(1i64 << 60).to_le_bytes())).contains("the input matrix"));
    // More buckets than the matrix has rows: found when a word's vector is asked for.
    let lying = with(40, &huge);
    assert!(decoding_error("m.bin", &lying).contains("has an n-gram beyond the input matrix"));
}

#[test]
fn compressed_word_vectors_are_a_directory_with_words_and_a_class_and_restore_to_the_table() {
    let sandbox = tempfile::tempdir().unwrap();
    let [source, out, dense] = ["glove.txt", "out", "dense"].map(|name| sandbox.path().join(name));
    let line = |row: usize| {
        let numbers: Vec<_> = (0..8).map(|column| format!("{}", ((row * 7 + column * 3) % 11) as f32 / 8.0)).collect();
        format!("word {row}\\ {}\n", numbers.join(" "))
    };
    std::fs::write(&source, (0..300).map(line).collect::<String>()).unwrap();
    compress(&source, &out, &["--rank", "5"]).assert().code(0);
    assert_eq!(
        crate::support::tree::names(&out),
        ["SHA256SUMS", "model.safetensors", "rankfold.json", "rankfold_codecs.py", "vocab.txt", "word_vectors.py"]
    );
    let vocabulary = std::fs::read_to_string(out.join("vocab.txt")).unwrap();
    assert_eq!(vocabulary.lines().nth(299), Some("word 299\\\\"));
    let stored = weights::read(&out);
    let shapes: Vec<_> = stored.iter().map(|((_, name), tensor)| (name.as_str(), tensor.shape.clone())).collect();
    assert_eq!(shapes, [("embedding.proj.weight", vec![8, 5]), ("embedding.weight", vec![300, 5])]);
    assert_verifies(&out);
    rankfold([Path::new("verify"), &out, Path::new("--source"), &source]).assert().code(0);
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    assert_eq!(std::fs::read(dense.join("vocab.txt")).unwrap(), vocabulary.as_bytes());
    let dense = weights::read(&dense);
    assert_eq!(dense.values().map(|tensor| tensor.shape.clone()).collect::<Vec<_>>(), [[300, 8]]);
}

#[test]
fn the_class_of_an_output_looks_words_up_and_exports_them() {
    let sandbox = tempfile::tempdir().unwrap();
    let [source, out] = ["glove.txt", "out"].map(|name| sandbox.path().join(name));
    // Of rank 2, so that a pair of that rank holds it.
    let line = |row: usize| {
        let numbers: Vec<_> = (0..6).map(|column| format!("{}", row % 5 * column + row * row)).collect();
        [format!("w{row} {}\n", numbers.join(" ")).as_bytes(), if row == 9 { b"\xff 1 2 3 4 5 6\n" } else { b"" }]
            .concat()
    };
    std::fs::write(&source, (0..40).flat_map(line).collect::<Vec<u8>>()).unwrap();
    compress(&source, &out, &["--rank", "2"]).assert().code(0);
    let program = r#"
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from word_vectors import WordVectors
vectors = WordVectors()
assert len(vectors) == 41 and vectors.dimension == 6 and "w3" in vectors and "x" not in vectors
assert np.allclose(vectors["w3"], [3 * c + 9 for c in range(6)], atol=1e-2), vectors["w3"]
assert "\udcff" in vectors
similar = vectors.most_similar("w3", 5)
assert len(similar) == 5 and all(word != "w3" for word, _ in similar)
assert [c for _, c in similar] == sorted((c for _, c in similar), reverse=True)
vectors.save_word2vec(sys.argv[2] + ".txt")
vectors.save_word2vec(sys.argv[2] + ".bin", binary=True)
"#;
    let exported = sandbox.path().join("exported");
    let status = std::process::Command::new(crate::support::python())
        .args(["-c", program, out.to_str().unwrap(), exported.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success());
    let [text, binary] = ["txt", "bin"].map(|ending| open(&exported.with_extension(ending)).unwrap());
    assert_eq!(
        [&text, &binary].map(|reader| reader.metadata()["encoding"].clone()),
        ["word2vec-text", "word2vec-binary"]
    );
    assert_eq!(words(text.as_ref()), words(binary.as_ref()));
    assert_eq!(values(text.as_ref(), 0), values(binary.as_ref(), 0));
}
