//! Files of every format.

use super::checkpoint::{check_conversion, safetensors, table_file};
use super::{Target, fixture};

/// Whole safetensors files, and such whose length prefix fits: even and odd first bytes.
pub(super) const SAFETENSORS: Target = Target {
    name: "safetensors",
    seeds: || {
        let text = table_file();
        let wide = br#"{"a":{"dtype":"I64","shape":[2,1],"data_offsets":[0,16]},"b":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[16,16]},"__metadata__":{"format":"pt"}}"#;
        let wide = [wide.as_slice(), &[0; 17]].concat();
        [text, wide].iter().flat_map(|text| [[&[0], &*safetensors(text)].concat(), [&[1], &**text].concat()]).collect()
    },
    run: |scratch, input| {
        let Some((mode, rest)) = input.split_first() else { return };
        let whole = if mode % 2 == 0 { rest.to_vec() } else { safetensors(rest) };
        check_conversion(scratch, &scratch.write("source/model.safetensors", &whole));
    },
};

/// Pickles in an archive that has storages 0 to 3 of 256 bytes.
pub(super) const PICKLE: Target = Target {
    name: "pickle",
    seeds: || {
        let archive = fixture("pytorch/pytorch_model.bin");
        // The first entry of the archive is the pickle; what stands after it is never looked at.
        let start = archive.windows(2).position(|bytes| bytes == b"\x80\x02").expect("a pickle begins");
        vec![archive[start..start + 4096].to_vec(), small_pickle()]
    },
    run: |scratch, input| {
        let storage = [0x3eu8; 256];
        let mut entries = vec![("a/data.pkl".to_owned(), input)];
        entries.extend((0..4).map(|key| (format!("a/data/{key}"), storage.as_slice())));
        check_conversion(scratch, &scratch.write("source/pytorch_model.bin", &zip(&entries)));
    },
};

/// Whole files of PyTorch: archives and the older pickles with storages after them.
pub(super) const PYTORCH: Target = Target {
    name: "pytorch",
    seeds: || {
        let archive = zip(&[("a/data.pkl".to_owned(), &*small_pickle()), ("a/data/0".to_owned(), &[0x3e; 64])]);
        vec![archive, fixture("pytorch-legacy/pytorch_model.bin")]
    },
    run: |scratch, input| check_conversion(scratch, &scratch.write("source/pytorch_model.bin", input)),
};

/// Zip archives of arrays.
pub(super) const ZIP: Target = Target {
    name: "zip",
    seeds: || {
        let array = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24);
        let entries = [("a.npy".to_owned(), &*array), ("b.npy".to_owned(), &*array)];
        vec![zip(&entries), fixture("numpy/arrays.npz")]
    },
    run: |scratch, input| check_conversion(scratch, &scratch.write("source/arrays.npz", input)),
};

/// Arrays: whole files, and such whose header length fits: even and odd first bytes.
pub(super) const NPY: Target = Target {
    name: "npy",
    seeds: || {
        let texts = [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
            "{'descr': '>i2', 'fortran_order': True, 'shape': (3, 4), }",
            "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
        ];
        let whole = texts.iter().map(|text| [&[0], &*array(text, 24)].concat());
        let parts = texts.iter().map(|text| [&[1], text.as_bytes(), &[0; 25]].concat());
        whole.chain(parts).collect()
    },
    run: |scratch, input| {
        let Some((mode, rest)) = input.split_first() else { return };
        let whole = if mode % 2 == 0 {
            rest.to_vec()
        } else {
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            let prefix = [b"\x93NUMPY\x02\0".as_slice(), &(end as u32).to_le_bytes()].concat();
            [&prefix, &rest[..end], rest.get(end + 1..).unwrap_or_default()].concat()
        };
        check_conversion(scratch, &scratch.write("source/table.npy", &whole));
    },
};

/// Text, word2vec's binary and fastText's; the first byte chooses the name of the file.
pub(super) const WORD_VECTORS: Target = Target {
    name: "word_vectors",
    seeds: || {
        let binary = [b"2 2\nthe ".as_slice(), &[0, 0, 128, 63, 0, 0, 0, 64], b"of ", &[0; 8], b"\n"].concat();
        [b"the 0.5 -1.25 3\nof 1e-2 .5 -0\n".as_slice(), b"2 3\nthe 1 2 3\nof 4 5 6\n", &binary, &fasttext()]
            .iter()
            .flat_map(|text| (0..3).map(move |name| [&[name], *text].concat()))
            .collect()
    },
    run: |scratch, input| {
        let Some((name, rest)) = input.split_first() else { return };
        let name = ["source/v.txt", "source/v.vec", "source/v.bin"][usize::from(name % 3)];
        check_conversion(scratch, &scratch.write(name, rest));
    },
};

/// GGUF files.
pub(super) const GGUF: Target = Target {
    name: "gguf",
    seeds: || (0..40).map(gguf).collect(),
    run: |scratch, input| check_conversion(scratch, &scratch.write("source/model.gguf", input)),
};

/// A pickle of `{"w": tensor}` whose tensor is [2, 3] singles of storage 0.
fn small_pickle() -> Vec<u8> {
    let text = |value: &str| [b"X".as_slice(), &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat();
    let numbers = |values: &[u8]| {
        let values: Vec<u8> = values.iter().flat_map(|&value| [b'K', value]).collect();
        [b"(".as_slice(), &values, b"t"].concat()
    };
    [
        b"\x80\x02}(".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x10tQK\0".to_vec(),
        numbers(&[2, 3]),
        numbers(&[3, 1]),
        b"\x89}tRu.".to_vec(),
    ]
    .concat()
}

/// An archive of stored entries.
fn zip(entries: &[(String, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let place = out.len() as u32;
        let length = (data.len() as u32).to_le_bytes();
        let sizes = [&[0; 2][..], &[0; 8], &length, &length, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        directory
            .extend([b"PK\x01\x02\x14\0\x14\0\0\0", &*sizes, &[0; 10], &place.to_le_bytes(), name.as_bytes()].concat());
        out.extend([b"PK\x03\x04\x14\0\0\0", &*sizes, name.as_bytes(), data].concat());
    }
    let (start, count) = ((out.len() as u32).to_le_bytes(), (entries.len() as u16).to_le_bytes());
    let length = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &length, &start, &[0; 2]].concat());
    out
}

/// An array with that header and so many bytes of data.
fn array(text: &str, data: usize) -> Vec<u8> {
    let prefix = [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes()].concat();
    [&prefix, text.as_bytes(), &vec![1; data]].concat()
}

/// A fastText model of two words, dimension 2 and no quantization.
fn fasttext() -> Vec<u8> {
    let numbers = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut out = numbers(&[793_712_314, 12]);
    // dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate; t.
    out.extend(numbers(&[2, 5, 5, 1, 5, 1, 2, 1, 4, 3, 6, 100]));
    out.extend(1e-4f64.to_le_bytes());
    // size, nwords, nlabels; ntokens; pruneidx_size.
    out.extend(numbers(&[2, 2, 0]));
    out.extend(7i64.to_le_bytes());
    out.extend((-1i64).to_le_bytes());
    for word in ["the", "of"] {
        out.extend(word.as_bytes());
        out.push(0);
        out.extend(3i64.to_le_bytes());
        out.push(0);
    }
    // Not quantized; m, n; data; the output matrix likewise.
    for rows in [6i64, 2] {
        out.push(0);
        out.extend(rows.to_le_bytes());
        out.extend(2i64.to_le_bytes());
        out.extend((0..rows * 2).flat_map(|value| (value as f32).to_le_bytes()));
    }
    out
}

/// A GGUF file whose table has element type `kind` and 256 columns.
fn gguf(kind: u32) -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut out = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &1u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    out.extend([string("general.architecture"), 8u32.to_le_bytes().to_vec(), string("llama")].concat());
    let list =
        [9u32.to_le_bytes().as_slice(), &8u32.to_le_bytes(), &2u64.to_le_bytes(), &string("a"), &string("bc")].concat();
    out.extend([string("tokens"), list].concat());
    out.extend(string("token_embd.weight"));
    out.extend(
        [
            2u32.to_le_bytes().as_slice(),
            &256u64.to_le_bytes(),
            &2u64.to_le_bytes(),
            &kind.to_le_bytes(),
            &0u64.to_le_bytes(),
        ]
        .concat(),
    );
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend((0..2048u32).map(|at| (at.wrapping_mul(2_654_435_769) >> 27) as u8));
    out
}
