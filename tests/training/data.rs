//! Files of labelled sentences, vocabularies, and the tables that training starts from.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rankfold::train::data::vectors::{RANDOM_DEVIATION, initial_table, random_table};
use rankfold::train::data::{
    Casing, Columns, Dataset, Encoding, Example, FileFormat, Labels, PADDING, ReadOptions, UNKNOWN, Vocabulary, read,
    split_dev,
};

/// A file in a directory that goes when this does.
struct File(#[expect(dead_code, reason = "held for its directory")] tempfile::TempDir, PathBuf);

fn file(name: &str, content: impl AsRef<[u8]>) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    File(directory, path)
}

fn examples(name: &str, content: impl AsRef<[u8]>) -> Vec<Example> {
    read(&file(name, content).1, &ReadOptions::default()).expect("the file is read")
}

/// The message and the hint with which a file is refused, without its path.
fn refusal(name: &str, content: impl AsRef<[u8]>, options: &ReadOptions) -> (String, String) {
    let file = file(name, content);
    let error = read(&file.1, options).expect_err("the file is refused");
    let place = format!("`{}`: ", file.1.display());
    let message = error.to_string();
    let message = message.strip_prefix(&place).unwrap_or_else(|| panic!("{message} names {place}"));
    (message.to_owned(), error.hint_text().unwrap_or_default().to_owned())
}

fn message(name: &str, content: impl AsRef<[u8]>) -> String {
    refusal(name, content, &ReadOptions::default()).0
}

fn example(label: &str, text: &str) -> Example {
    Example { label: label.to_owned(), text: text.to_owned() }
}

#[test]
fn all_formats_hold_the_same_examples() {
    let expected = [example("good", "a \"fine\" film , truly"), example("bad", "dull"), example("good", "")];
    let lines = "good a \"fine\" film , truly\n\n  bad\tdull  \r\ngood\n";
    let tsv = "sentence\tlabel\na \"fine\" film , truly\tgood\ndull\tbad\n\tgood\n";
    let csv = "id,Label,Text\n1,good,\"a \"\"fine\"\" film , truly\"\n2,bad,dull\n3, good ,\n";
    let jsonl = "{\"text\":\"a \\\"fine\\\" film , truly\",\"label\":\"good\",\"id\":1}\n\
                 {\"sentence\":\"dull\",\"label\":\"bad\"}\n\n{\"text\":\"\",\"label\":\"good\"}";
    for (name, content) in [("a.txt", lines), ("a", lines), ("a.tsv", tsv), ("a.CSV", csv), ("a.jsonl", jsonl)] {
        assert_eq!(examples(name, content), expected, "{name}");
    }
}

#[test]
fn the_format_and_the_columns_may_be_named() {
    let columns = Columns { label: Some("stars".to_owned()), text: Some("review".to_owned()) };
    let options = ReadOptions { format: Some(FileFormat::Csv), columns, ..ReadOptions::default() };
    let file = file("data.txt", "review,label,stars\n\"two\nlines\",x,5\n");
    assert_eq!(read(&file.1, &options).unwrap(), [example("5", "two\nlines")]);
    assert_eq!(Vocabulary::of(&[example("5", "two\nlines")], Casing::Keep).len(), 4);
    for (name, format) in FileFormat::ALL {
        assert_eq!(name.parse::<FileFormat>().unwrap(), format);
    }
    assert!("xml".parse::<FileFormat>().unwrap_err().to_string().contains("lines or tsv or csv or jsonl"));
}

#[test]
fn labels_of_json_may_be_numbers_and_truth_values_but_nothing_else() {
    let lines = "{\"label\":1,\"text\":\"a\"}\n{\"label\":true,\"text\":\"b\"}";
    assert_eq!(examples("a.jsonl", lines), [example("1", "a"), example("true", "b")]);
    let wrong = "{\"label\":1,\"text\":\"a\"}\n{\"label\":[1],\"text\":\"b\"}";
    assert_eq!(
        message("a.jsonl", wrong),
        "line 2 has a label that is none: expected a string, a number or a truth value, found `[1]`"
    );
    assert_eq!(message("a.jsonl", "{\"label\":1,\"text\":2}"), "line 1 has a sentence that is no string");
}

#[test]
fn latin1_bytes_are_refused_with_their_line_and_read_when_named() {
    let bytes = b"0 plain\n1 caf\xe9 ol\xe9\n";
    let (text, hint) = refusal("a.txt", bytes, &ReadOptions::default());
    assert_eq!(text, "line 2 is not UTF-8: found byte 0xe9 in column 6");
    assert!(hint.contains("`--encoding latin1`"), "{hint}");
    let options = ReadOptions { encoding: "latin1".parse().unwrap(), ..ReadOptions::default() };
    assert_eq!(read(&file("a.txt", bytes).1, &options).unwrap()[1], example("1", "café olé"));
    assert_eq!(Encoding::default(), "utf-8".parse().unwrap());
    assert!("koi8".parse::<Encoding>().is_err());
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_label() {
    assert_eq!(examples("a.txt", "\u{feff}0 a")[0], example("0", "a"));
}

#[test]
fn faults_are_named_with_their_line() {
    assert_eq!(message("a.txt", ""), "the file has no example");
    assert_eq!(message("a.txt", " \n\n"), "the file has no example");
    assert_eq!(message("a.csv", "label,text\n"), "the file has no example");
    assert_eq!(message("a.csv", "label,text\na,b\n,c\n"), "line 3 has no label: found `c`");
    assert_eq!(
        message("a.csv", "label,text\na,b\nc\n"),
        "line 3 has another number of fields than the first: expected 2, found 1"
    );
    assert_eq!(
        message("a.tsv", "sentence\tstars\na\t1\n"),
        "the first line names no such column: expected `label`, found `sentence`, `stars`"
    );
    assert_eq!(message("a.jsonl", "{\"label\":\"x\"}"), "line 1 has no such member: expected `text` or `sentence`");
    assert!(message("a.jsonl", "{\"label\":\"x\",\"text\":\"\"}\n[1]").starts_with("line 2 is not a JSON object"));
    let (_, hint) = refusal("a.jsonl", "{}", &ReadOptions::default());
    assert!(hint.contains("`--label-column NAME`"), "{hint}");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = read(directory.path(), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("not a regular file"), "{error}");
    assert!(read(&directory.path().join("absent"), &ReadOptions::default()).is_err());
}

#[test]
fn words_are_numbered_by_frequency_and_then_by_bytes() {
    let vocabulary = Vocabulary::of(&[example("0", "b c B c"), example("0", "a c b")], Casing::Keep);
    assert_eq!(vocabulary.words(), ["<pad>", "<unk>", "c", "b", "B", "a"]);
    assert_eq!((vocabulary.id("c"), vocabulary.id("C"), vocabulary.id("a")), (2, UNKNOWN, 5));
}

#[test]
fn words_in_lower_case_are_one_word_however_they_are_written() {
    let vocabulary = Vocabulary::of(&[example("0", "What İs WHAT naïve NAÏVE")], Casing::Lower);
    assert_eq!(vocabulary.words(), ["<pad>", "<unk>", "naïve", "what", "i\u{307}s"]);
    assert_eq!([vocabulary.id("wHat"), vocabulary.id("NaÏve"), vocabulary.id("<PAD>")], [3, 2, UNKNOWN]);
    let file = file("vocab.txt", vocabulary.text());
    assert_eq!(Vocabulary::read(&file.1, Casing::Lower).unwrap(), vocabulary);
}

#[test]
fn a_vocabulary_in_lower_case_takes_vectors_whatever_their_case() {
    let vocabulary = Vocabulary::of(&[example("0", "Paris RIO it")], Casing::Lower);
    let vectors = file("v.txt", "Paris 1 2\nRio 3 4\nIt 7 8\nit 5 6\n");
    let table = initial_table(&vectors.1, &vocabulary, 0).unwrap();
    let row = |word: &str| &table.values[vocabulary.id(word) as usize * 2..][..2];
    assert_eq!(
        (table.found, row("paris"), row("rio"), row("it")),
        (3, &[1.0, 2.0][..], &[3.0, 4.0][..], &[5.0, 6.0][..])
    );
}

#[test]
fn a_text_cannot_name_the_padding() {
    let vocabulary = Vocabulary::of(&[example("0", "<pad> <unk> x <pad>")], Casing::Keep);
    assert_eq!(vocabulary.words(), ["<pad>", "<unk>", "x"]);
    assert_eq!((vocabulary.id("<pad>"), vocabulary.id("<unk>")), (UNKNOWN, UNKNOWN));
}

#[test]
fn a_vocabulary_is_read_back_as_it_was() {
    let vocabulary = Vocabulary::of(&[example("0", "naïve # <pad> \u{feff}x \u{200b} 日本 a")], Casing::Keep);
    let file = file("vocab.txt", vocabulary.text());
    assert_eq!(Vocabulary::read(&file.1, Casing::Keep).unwrap(), vocabulary);
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let refused = |text: &str| Vocabulary::read(&file("vocab.txt", text).1, Casing::Keep).unwrap_err().to_string();
    for (text, expected) in [
        ("", "line 1 is not what a vocabulary begins with: expected `<pad>`, found ``"),
        ("<pad>\nword\n", "line 2 is not what a vocabulary begins with: expected `<unk>`, found `word`"),
        ("<pad>\n<unk>\na\nb\na\n", "line 5 repeats the word of line 3: found `a`"),
        ("<pad>\n<unk>\na b\n", "line 3 is not one word: found `a b`"),
        ("<pad>\n<unk>\n\nb\n", "line 3 is not one word: found ``"),
    ] {
        assert!(refused(text).ends_with(expected), "{}", refused(text));
    }
}

#[test]
fn sentences_are_cut_padded_and_never_empty() {
    let train = [example("no", "a a b"), example("yes", "a")];
    let (vocabulary, labels) = (Vocabulary::of(&train, Casing::Keep), Labels::of(&train));
    let data = [example("yes", "a new b"), example("no", ""), example("no", "b b b b")];
    let dataset = Dataset::encode(&data, &vocabulary, &labels, 3).unwrap();
    assert_eq!(dataset.ids, [2, UNKNOWN, 3, UNKNOWN, PADDING, PADDING, 3, 3, 3]);
    assert_eq!(dataset.lengths, [3, 1, 3]);
    assert_eq!(dataset.labels, [1, 0, 0]);
    assert_eq!((dataset.len(), dataset.sentence(1)), (3, &[UNKNOWN][..]));
    assert!(Dataset::encode(&data, &vocabulary, &labels, 0).is_err());
}

#[test]
fn a_label_that_the_training_data_lack_is_refused() {
    let train = [example("no", "a"), example("yes", "b")];
    let (vocabulary, labels) = (Vocabulary::of(&train, Casing::Keep), Labels::of(&train));
    let error = Dataset::encode(&[example("no", "a"), example("maybe", "b")], &vocabulary, &labels, 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        "example 2 has a label that the training data lack: expected `no`, `yes`, found `maybe`"
    );
}

#[test]
fn labels_of_a_checkpoint_keep_their_order_and_are_distinct() {
    let labels = Labels::new(vec!["z".to_owned(), "a".to_owned()]).unwrap();
    assert_eq!((labels.id("z"), labels.id("a"), labels.id("b")), (Some(0), Some(1), None));
    assert!(Labels::new(vec!["a".to_owned(), "b".to_owned(), "a".to_owned()]).is_err());
    assert!(Labels::new(Vec::new()).is_err());
}

#[test]
fn a_tenth_is_set_apart_by_the_seed_and_nothing_is_lost() {
    let all: Vec<_> = (0..57).map(|number| example("0", &number.to_string())).collect();
    let (train, dev) = split_dev(all.clone(), 1).unwrap();
    assert_eq!((train.len(), dev.len()), (52, 5));
    let mut together: Vec<_> = train.iter().chain(&dev).cloned().collect();
    together.sort_by_key(|example| example.text.parse::<u32>().unwrap());
    assert_eq!(together, all);
    assert_eq!(split_dev(all.clone(), 1).unwrap().1, dev);
    assert_ne!(split_dev(all.clone(), 2).unwrap().1, dev);
    assert!(split_dev(all[..1].to_vec(), 1).is_err());
    assert_eq!(split_dev(all[..2].to_vec(), 1).unwrap().1.len(), 1);
}

const VECTORS: &str = "the 1 2\nfilm 3 4\nFilm 5 6\nthe 9 9\nunused 7 8\nunread nan 1\n";

fn table(vectors: &str, text: &str, seed: u64) -> (Vocabulary, Vec<Vec<f32>>, usize) {
    let vocabulary = Vocabulary::of(&[example("0", text)], Casing::Keep);
    let table = initial_table(&file("vectors.txt", vectors).1, &vocabulary, seed).expect("the vectors are read");
    let rows = table.values.chunks(table.columns).map(<[f32]>::to_vec).collect();
    (vocabulary, rows, table.found)
}

#[test]
fn words_take_their_vector_then_that_of_their_lower_case_and_of_two_the_first() {
    let (vocabulary, rows, found) = table(VECTORS, "The Film FILM film the", 3);
    let row = |word: &str| rows[vocabulary.id(word) as usize].as_slice();
    assert_eq!((row("the"), row("The")), (&[1.0, 2.0][..], &[1.0, 2.0][..]));
    assert_eq!((row("Film"), row("film"), row("FILM")), (&[5.0, 6.0][..], &[3.0, 4.0][..], &[3.0, 4.0][..]));
    assert_eq!(found, 5);
    assert_eq!(rows[PADDING as usize], [0.0, 0.0]);
}

#[test]
fn word2vec_text_and_binary_give_the_same_table_as_glove_text() {
    let glove = "the 1 2\nfilm 3 4\n";
    let word2vec = format!("2 2\n{glove}");
    let mut binary = b"2 2\n".to_vec();
    for (word, vector) in [("the", [1.0f32, 2.0]), ("film", [3.0, 4.0])] {
        binary.extend_from_slice(format!("{word} ").as_bytes());
        binary.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
        binary.push(b'\n');
    }
    let vocabulary = Vocabulary::of(&[example("0", "the film it")], Casing::Keep);
    let of = |content: &[u8]| initial_table(&file("v.txt", content).1, &vocabulary, 5).unwrap();
    assert_eq!(of(word2vec.as_bytes()), of(glove.as_bytes()));
    assert_eq!(of(&binary), of(glove.as_bytes()));
}

#[test]
fn words_without_a_vector_are_drawn_on_the_scale_of_the_others() {
    let many: String = (0..2000).map(|number| format!("w{number} ")).collect();
    let vectors: String = (0..1000).map(|number| format!("w{number} {} {}\n", number % 7, -(number % 7))).collect();
    let (vocabulary, rows, found) = table(&vectors, &many, 3);
    assert_eq!(found, 1000);
    let deviation = |words: std::ops::Range<usize>| {
        let numbers: Vec<f32> =
            words.flat_map(|number| rows[vocabulary.id(&format!("w{number}")) as usize].clone()).collect();
        (numbers.iter().map(|number| number * number).sum::<f32>() / numbers.len() as f32).sqrt()
    };
    let ratio = deviation(1000..2000) / deviation(0..1000);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    assert_eq!(table(&vectors, &many, 3).1, rows);
    assert_ne!(table(&vectors, &many, 4).1, rows);
}

#[test]
fn vectors_that_cannot_serve_are_refused() {
    let refused = |vectors: &str, text: &str| {
        let vocabulary = Vocabulary::of(&[example("0", text)], Casing::Keep);
        initial_table(&file("v.txt", vectors).1, &vocabulary, 0).unwrap_err().to_string()
    };
    assert!(refused(VECTORS, "elsewhere").ends_with("no word of the training data has a vector"));
    // One vector that a table of all words would not fit the memory with.
    let long = format!("1 70000\nunread {}\n", vec!["0"; 70_000].join(" "));
    assert!(refused(&long, "unread").contains("vectors that no table can start from"));
    assert!(refused(VECTORS, "unread").ends_with("the vector of `unread` is not finite"));
    let no_words = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/numpy/table.npy");
    let error = initial_table(&no_words, &Vocabulary::of(&[example("0", "a")], Casing::Keep), 0).unwrap_err();
    assert!(error.to_string().ends_with("the file has no words beside its vectors"), "{error}");
}

#[test]
fn a_random_table_follows_from_its_seed_and_leaves_the_padding_at_zero() {
    let vocabulary =
        Vocabulary::of(&[example("0", &(0..500).map(|n| format!("{n} ")).collect::<String>())], Casing::Keep);
    let table = random_table(&vocabulary, 20, 7);
    assert_eq!(table.values.len(), 502 * 20);
    assert!(table.values[..20].iter().all(|&value| value == 0.0));
    let squares: f32 = table.values.iter().map(|value| value * value).sum();
    let deviation = f64::from(squares / (501.0 * 20.0)).sqrt();
    assert!((deviation / RANDOM_DEVIATION - 1.0).abs() < 0.05, "{deviation}");
    assert_eq!(random_table(&vocabulary, 20, 7), table);
    assert_ne!(random_table(&vocabulary, 20, 8), table);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        format in prop::sample::select(FileFormat::ALL.map(|(_, format)| format).to_vec()),
        encoding in prop::sample::select(Encoding::ALL.map(|(_, encoding)| encoding).to_vec()),
        casing in prop::sample::select(vec![Casing::Lower, Casing::Keep]),
    ) {
        let options = ReadOptions { format: Some(format), encoding, columns: Columns::default() };
        if let Ok(examples) = read(&file("data", &bytes).1, &options) {
            let (vocabulary, labels) = (Vocabulary::of(&examples, casing), Labels::of(&examples));
            let dataset = Dataset::encode(&examples, &vocabulary, &labels, 5).unwrap();
            prop_assert!(dataset.lengths.iter().all(|&length| (1..=5).contains(&length)));
            prop_assert!(dataset.ids.iter().all(|&id| (id as usize) < vocabulary.len()));
            prop_assert_eq!(Vocabulary::read(&file("vocab.txt", vocabulary.text()).1, casing).unwrap(), vocabulary);
        }
    }
}
