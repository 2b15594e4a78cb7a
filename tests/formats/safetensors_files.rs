//! Files that are written: their layout, their digests, and what the `safetensors` crate reads from them.

use std::collections::{BTreeMap, HashMap};

use crate::support::files::parts_of;
use proptest::prelude::*;
use rankfold::ErrorKind;
use rankfold::format::safetensors::{Layout, Writer, Written};
use rankfold::tensor::{Dtype, TensorMeta};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

fn meta(name: &str, dtype: Dtype, shape: &[usize]) -> TensorMeta {
    TensorMeta { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn layout(tensors: &[TensorMeta]) -> Layout {
    Layout::new(tensors, &BTreeMap::new()).unwrap()
}

/// Bytes that differ from place to place and from tensor to tensor.
fn content(seed: usize, meta: &TensorMeta) -> Vec<u8> {
    let length = usize::try_from(meta.bytes().unwrap()).unwrap();
    (0..length).map(|index| ((index * 31 + index / 251 + seed * 97) % 256) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file by giving `write` the writer, and gives the file and what the writer says of it.
fn written(tensors: &[TensorMeta], write: impl FnOnce(&mut Writer)) -> (Vec<u8>, Written) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let mut writer = Writer::create(&path, layout(tensors)).unwrap();
    write(&mut writer);
    let written = writer.finish().unwrap();
    (std::fs::read(path).unwrap(), written)
}

/// A file of `tensors` with their [`content`], each written at once.
fn file(tensors: &[TensorMeta]) -> Vec<u8> {
    let write = |writer: &mut Writer| {
        for (index, meta) in tensors.iter().enumerate() {
            writer.write(index, &content(index, meta)).unwrap();
        }
    };
    written(tensors, write).0
}

fn theirs(dtype: Dtype) -> safetensors::Dtype {
    serde_json::from_value(dtype.name().into()).unwrap()
}

/// One tensor of every dtype, of a number of elements that ends on a byte.
fn every_dtype() -> Vec<TensorMeta> {
    Dtype::ALL.iter().map(|&dtype| meta(dtype.name(), dtype, &[3, 4])).collect()
}

#[test]
fn the_header_is_compact_with_sorted_metadata_and_padding() {
    let metadata = BTreeMap::from([("z".to_owned(), "é\"".to_owned()), ("format".to_owned(), "pt".to_owned())]);
    let layout = Layout::new(&[meta("w", Dtype::F32, &[2, 3]), meta("s", Dtype::F16, &[])], &metadata).unwrap();
    let json = "{\"__metadata__\":{\"format\":\"pt\",\"z\":\"é\\\"\"},\
                \"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\
                \"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[24,26]}}";
    let header = layout.header();
    let text = std::str::from_utf8(&header[8..]).unwrap();
    assert_eq!(text.trim_end_matches(' '), json);
    assert_eq!(header.len() % 8, 0);
    assert!(text.len() - json.len() < 8);
    assert_eq!(header[..8], (text.len() as u64).to_le_bytes());
    let start = header.len() as u64;
    assert_eq!([layout.range(0), layout.range(1)], [start..start + 24, start + 24..start + 26]);
    assert_eq!(layout.file_bytes(), start + 26);
    assert_eq!(layout.tensors(), 2);
}

#[test]
fn a_layout_without_tensors_and_metadata_is_the_least_file() {
    assert_eq!(layout(&[]).header(), b"\x08\0\0\0\0\0\0\0{}      ");
    assert!(parts_of(&file(&[])).0.is_empty());
}

#[test]
fn the_order_given_is_kept_where_every_tensor_is_aligned() {
    let tensors = [meta("z", Dtype::F16, &[2]), meta("b", Dtype::F32, &[1]), meta("a", Dtype::U8, &[3])];
    assert_eq!(layout(&tensors).order(), [0, 1, 2]);
}

#[test]
fn the_widest_come_first_where_a_tensor_would_be_misaligned() {
    let tensors = [
        meta("a", Dtype::U8, &[3]),
        meta("b", Dtype::F32, &[1]),
        meta("c", Dtype::F4, &[2]),
        meta("d", Dtype::F64, &[1]),
        meta("e", Dtype::I32, &[1]),
        meta("f", Dtype::Bool, &[1]),
    ];
    let layout = layout(&tensors);
    assert_eq!(layout.order(), [3, 1, 4, 0, 5, 2]);
    for (index, tensor) in tensors.iter().enumerate() {
        assert_eq!(layout.range(index).start % u64::from(tensor.dtype.bits()).div_ceil(8), 0, "{}", tensor.name);
    }
}

#[test]
fn what_readers_would_refuse_is_not_laid_out() {
    let message = |tensors: &[TensorMeta]| {
        let error = Layout::new(tensors, &BTreeMap::new()).expect_err("the layout is refused");
        assert_eq!(error.kind(), ErrorKind::Request);
        error.to_string()
    };
    let a = meta("a", Dtype::U8, &[1]);
    assert_eq!(message(&[a.clone(), a]), "tensor `a`: name occurs twice");
    let reserved = meta("__metadata__", Dtype::U8, &[1]);
    assert_eq!(message(&[reserved]), "tensor `__metadata__`: name is reserved for metadata");
    let expected = "tensor `a`: shape overflows or does not end on a byte";
    assert_eq!(message(&[meta("a", Dtype::F4, &[3])]), expected);
    assert_eq!(message(&[meta("a", Dtype::U8, &[usize::MAX, 2])]), expected);
    assert_eq!(message(&[meta("a", Dtype::U8, &[1; 65])]), "tensor `a`: too many dimensions");
    let half = meta("a", Dtype::U8, &[usize::MAX / 8]);
    let many: Vec<_> = (0..9).map(|index| TensorMeta { name: index.to_string(), ..half.clone() }).collect();
    assert_eq!(message(&many), "file would be too long: expected fewer than 2^64 bytes");
    let long = meta(&"a".repeat(100_000_000), Dtype::U8, &[1]);
    assert!(message(&[long]).starts_with("header would be too long: expected at most 100000000 bytes, found"));
}

#[test]
fn every_dtype_goes_through_the_other_reader() {
    let tensors = every_dtype();
    let file = file(&tensors);
    let read = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(read.len(), tensors.len());
    for (index, meta) in tensors.iter().enumerate() {
        let view = read.tensor(&meta.name).unwrap();
        assert_eq!(view.dtype(), theirs(meta.dtype));
        assert_eq!(view.shape(), meta.shape);
        assert_eq!(view.data(), content(index, meta));
    }
}

#[test]
fn every_dtype_comes_from_the_other_writer() {
    let tensors = every_dtype();
    let contents: Vec<_> = tensors.iter().enumerate().map(|(index, meta)| content(index, meta)).collect();
    let views = tensors.iter().zip(&contents).map(|(meta, bytes)| {
        (meta.name.clone(), TensorView::new(theirs(meta.dtype), meta.shape.clone(), bytes).unwrap())
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, &file).unwrap();
    let reader = rankfold::format::open(&path).unwrap();
    assert_eq!(reader.metadata()["format"], "pt");
    assert_eq!(reader.tensors().len(), tensors.len());
    for (place, read) in reader.tensors().iter().enumerate() {
        let index = tensors.iter().position(|meta| meta == read).expect("name, dtype and shape are those written");
        assert_eq!(reader.bytes(place).unwrap(), contents[index]);
    }
    // Their order keeps alignment, so ours gives the same data in the same place.
    let again = Layout::new(reader.tensors(), reader.metadata()).unwrap();
    assert_eq!(again.order(), (0..tensors.len()).collect::<Vec<_>>());
    assert_eq!(again.file_bytes(), file.len() as u64);
}

#[test]
fn digests_are_those_of_the_file_and_of_each_tensor() {
    let tensors = [meta("a", Dtype::U8, &[5]), meta("b", Dtype::F32, &[0]), meta("c", Dtype::U8, &[300_000])];
    let (file, written) = written(&tensors, |writer| {
        for (index, meta) in tensors.iter().enumerate() {
            writer.write(index, &content(index, meta)).unwrap();
        }
    });
    assert_eq!(written.bytes, file.len() as u64);
    assert_eq!(written.bytes, layout(&tensors).file_bytes());
    assert_eq!(written.sha256, sha256(&file));
    let contents = tensors.iter().enumerate().map(|(index, meta)| sha256(&content(index, meta)));
    assert_eq!(written.tensor_sha256, contents.collect::<Vec<_>>());
}

#[test]
fn the_order_of_tensors_and_the_size_of_pieces_do_not_change_the_bytes() {
    // Long enough for two threads, and for the disk to be asked to begin.
    let tensors = [meta("a", Dtype::U8, &[17 << 20 | 5]), meta("b", Dtype::U8, &[3 << 20]), meta("c", Dtype::U8, &[7])];
    let contents: Vec<_> = tensors.iter().enumerate().map(|(index, meta)| content(index, meta)).collect();
    let all_at_once = |order: [usize; 3]| {
        written(&tensors, |writer| order.into_iter().for_each(|index| writer.write(index, &contents[index]).unwrap()))
    };
    let (file, forward) = all_at_once([0, 1, 2]);
    assert_eq!(forward.sha256, sha256(&file));
    let data: usize = contents.iter().map(Vec::len).sum();
    assert_eq!(file[file.len() - data..], contents.concat());
    assert_eq!(all_at_once([2, 1, 0]), (file.clone(), forward.clone()));
    assert_eq!(all_at_once([1, 0, 2]), (file.clone(), forward.clone()));

    let interleaved = written(&tensors, |writer| {
        let mut pieces: Vec<_> = contents.iter().map(|bytes| bytes.chunks(1 << 20 | 11)).collect();
        while pieces.iter().any(|pieces| pieces.len() > 0) {
            for (index, pieces) in pieces.iter_mut().enumerate().rev() {
                pieces.next().into_iter().for_each(|piece| writer.write(index, piece).unwrap());
            }
        }
    });
    assert_eq!(interleaved, (file.clone(), forward.clone()));

    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| all_at_once([0, 1, 2])), (file, forward));
}

#[test]
fn a_tensor_that_gets_too_many_bytes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let mut writer = Writer::create(&path, layout(&[meta("a", Dtype::U8, &[4])])).unwrap();
    writer.write(0, &[1, 2, 3]).unwrap();
    let error = writer.write(0, &[4, 5]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
    let expected =
        format!("`{}`: tensor 0 of the file gets too many bytes: expected 4, found 3 and 2 more", path.display());
    assert_eq!(error.to_string(), expected);
    writer.write(0, &[4]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_tensor_that_is_not_complete_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let mut writer = Writer::create(&path, layout(&[meta("a", Dtype::U8, &[1]), meta("b", Dtype::U8, &[4])])).unwrap();
    writer.write(0, &[1]).unwrap();
    writer.write(1, &[1, 2, 3]).unwrap();
    let error = writer.finish().unwrap_err();
    let expected = format!("`{}`: tensor 1 of the file is not complete: expected 4 bytes, found 3", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(&path, "precious").unwrap();
    let error = Writer::create(&path, layout(&[])).err().expect("the file is there");
    assert_eq!(error.to_string(), format!("`{}`: cannot create", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

prop_compose! {
    /// Tensors of any dtype and any name whose elements end on a byte.
    fn any_tensors()(
        tensors in prop::collection::btree_map(
            "(?s).{0,6}",
            (prop::sample::select(Dtype::ALL), prop::collection::vec(0usize..5, 0..4)),
            0..12,
        )
    ) -> Vec<TensorMeta> {
        tensors.into_iter().map(|(name, (dtype, mut shape))| {
            if dtype.bits() < 8 {
                shape.push(4);
            }
            TensorMeta { name, dtype, shape }
        }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_written_is_read_back_the_same_by_both_readers(
        tensors in any_tensors().prop_shuffle(),
        metadata in prop::collection::btree_map("(?s).{0,6}", "(?s).{0,6}", 0..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let layout = Layout::new(&tensors, &metadata).unwrap();
        let mut writer = Writer::create(&path, layout.clone()).unwrap();
        for (index, meta) in tensors.iter().enumerate() {
            writer.write(index, &content(index, meta)).unwrap();
        }
        prop_assert_eq!(writer.finish().unwrap().bytes, layout.file_bytes());

        let bytes = std::fs::read(&path).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let theirs_metadata = header.metadata().clone().unwrap_or_default();
        prop_assert_eq!(&theirs_metadata.into_iter().collect::<BTreeMap<_, _>>(), &metadata);

        let reader = rankfold::format::open(&path).unwrap();
        prop_assert_eq!(reader.metadata(), &metadata);
        prop_assert_eq!(reader.tensors().len(), tensors.len());
        for (index, meta) in tensors.iter().enumerate() {
            let expected = content(index, meta);
            let view = read.tensor(&meta.name).unwrap();
            prop_assert_eq!((view.dtype(), view.shape(), view.data()), (theirs(meta.dtype), &meta.shape[..], &expected[..]));
            let place = reader.tensors().iter().position(|read| read == meta).expect("the tensor is read");
            prop_assert_eq!(reader.bytes(place).unwrap(), expected);
        }
    }

    #[test]
    fn any_change_of_one_byte_of_a_header_gives_an_error_or_a_file_that_covers_itself(
        place in 0usize..200,
        value in any::<u8>(),
    ) {
        let tensors = [meta("a", Dtype::F32, &[2, 2]), meta("b", Dtype::U8, &[3]), meta("c", Dtype::F4, &[2])];
        let mut bytes = file(&tensors);
        let place = place % layout(&tensors).header().len();
        bytes[place] = value;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(reader) = rankfold::format::open(&path) {
            let data: usize = (0..reader.tensors().len()).map(|index| reader.bytes(index).unwrap().len()).sum();
            prop_assert_eq!(data, 20);
            // What ours accepts, the reference implementation accepts too.
            prop_assert!(SafeTensors::deserialize(&bytes).is_ok());
        }
    }
}
