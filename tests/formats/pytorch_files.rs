//! Checkpoints of PyTorch: what they hold, and every way in which they can lie.

use std::path::Path;
use std::process::Command;

use crate::support::files::message_of_file;
use crate::support::pickles::{archive, dict, number, pickle, tensor, text, zip, zip_64};
use crate::support::{fixture, rankfold, tree};
use rankfold::format::Reader;

fn open(content: &[u8]) -> Box<dyn Reader> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.bin");
    std::fs::write(&path, content).unwrap();
    rankfold::format::open(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn names(reader: &dyn Reader) -> Vec<&str> {
    reader.tensors().iter().map(|meta| meta.name.as_str()).collect()
}

fn singles(reader: &dyn Reader, index: usize) -> Vec<f32> {
    reader.bytes(index).unwrap().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// The message with which an archive of `object` and one storage of 12 singles is refused.
fn refusal(object: &[u8]) -> String {
    message_of_file("weights.bin", &archive(object, &[("0", 12)]))
}

#[test]
fn views_are_gathered_in_row_major_order() {
    let object = dict(&[
        ("plain", tensor("0", 12, 0, &[3, 4], &[4, 1])),
        ("transposed", tensor("0", 12, 0, &[4, 3], &[1, 4])),
        ("inner", tensor("0", 12, 5, &[2, 2], &[4, 1])),
        ("every other", tensor("0", 12, 1, &[3], &[2])),
        ("repeated", tensor("0", 12, 7, &[2, 2], &[0, 1])),
        ("scalar", tensor("0", 12, 11, &[], &[])),
        ("empty", tensor("0", 12, 0, &[0, 9], &[9, 1])),
    ]);
    let reader = open(&archive(&object, &[("0", 12)]));
    let expected: [&[f32]; 7] = [
        &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.],
        &[0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.],
        &[5., 6., 9., 10.],
        &[1., 3., 5.],
        &[7., 8., 7., 8.],
        &[11.],
        &[],
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        assert_eq!(singles(reader.as_ref(), index), expected, "{}", reader.tensors()[index].name);
        let mut streamed = Vec::new();
        let mut take = |bytes: &[u8]| {
            streamed.extend_from_slice(bytes);
            Ok(())
        };
        reader.stream(index, &mut take).unwrap();
        assert_eq!(streamed, *reader.bytes(index).unwrap());
    }
    assert!(reader.is_mapped(0) && !reader.is_mapped(3));
    let mut rows = [0f32; 6];
    reader.rows(1).unwrap().read_f32(1..3, &mut rows).unwrap();
    assert_eq!(rows, [1., 5., 9., 2., 6., 10.]);
}

#[test]
fn tensors_of_one_storage_are_known_as_one() {
    let whole = || tensor("0", 12, 0, &[12], &[1]);
    let object = dict(&[("a", whole()), ("part", tensor("0", 12, 0, &[6], &[1])), ("b", whole())]);
    let reader = open(&archive(&object, &[("0", 12)]));
    assert_eq!([0, 1, 2].map(|index| reader.stored_as(index)), [None, None, Some(0)]);
}

#[test]
fn wrappers_of_training_scripts_are_taken_off_and_what_is_beside_is_named() {
    let weights = || tensor("0", 12, 0, &[12], &[1]);
    let state = dict(&[("module.a", weights()), ("module.b.c", weights())]);
    let reader = open(&archive(&dict(&[("epoch", number(3)), ("state_dict", state)]), &[("0", 12)]));
    assert_eq!(names(reader.as_ref()), ["a", "b.c"]);
    assert_eq!(reader.warnings(), ["the weights are those under `state_dict`; left out: `epoch`"]);
    let nested = open(&archive(&dict(&[("encoder", dict(&[("a", weights())])), ("n", number(1))]), &[("0", 12)]));
    assert_eq!(names(nested.as_ref()), ["encoder.a"]);
    assert_eq!(nested.warnings(), ["entries that are no tensors are left out: `n`"]);
    let alone = open(&archive(&weights(), &[("0", 12)]));
    assert_eq!(names(alone.as_ref()), ["weights"]);
}

#[test]
fn every_wrapper_is_known_and_no_other_is_taken_for_one() {
    let weights = || tensor("0", 12, 0, &[12], &[1]);
    for wrapper in ["state_dict", "model_state_dict", "model", "module"] {
        let state = dict(&[("module.a", weights())]);
        let beside = ("optimizer", dict(&[("state", dict(&[])), ("lr", number(1))]));
        let reader = open(&archive(&dict(&[beside, (wrapper, state)]), &[("0", 12)]));
        assert_eq!(names(reader.as_ref()), ["a"], "{wrapper}");
        let expected = format!("the weights are those under `{wrapper}`; left out: `optimizer`");
        assert_eq!(reader.warnings(), [expected]);
    }
    // Without tensors under it, it is a key like any other; `module.` stays where one name lacks it.
    let odd = dict(&[("model", number(1)), ("module.a", weights()), ("b", weights())]);
    assert_eq!(names(open(&archive(&odd, &[("0", 12)])).as_ref()), ["module.a", "b"]);
}

#[test]
fn archives_of_64_bits_and_of_big_endian_storages_are_read() {
    let pickle = pickle(&dict(&[("a", tensor("0", 3, 0, &[3], &[1]))]));
    let little: Vec<u8> = [1.5f32, -2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let big: Vec<u8> = [1.5f32, -2.0, 3.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    for (order, data) in [("little", &little), ("big", &big)] {
        let entries = [("a/data.pkl", &*pickle), ("a/byteorder", order.as_bytes()), ("a/data/0", data)];
        let reader = open(&zip_64(&entries));
        assert_eq!(singles(reader.as_ref(), 0), [1.5, -2.0, 3.0], "{order}");
        assert_eq!(reader.is_mapped(0), order == "little");
    }
    let whole = zip_64(&[("a/data.pkl", &pickle), ("a/data/0", &little)]);
    // The record of 64 bits, its locator, the end record.
    let record = whole.len() - 56 - 20 - 22;
    let with = |place: usize| {
        let mut changed = whole.clone();
        changed[place..place + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
        message_of_file("weights.bin", &changed)
    };
    let lies = "its end record lies: expected 1152921504606846976 entries in this file, found 2";
    assert!(with(record + 32).contains(lies));
    assert!(with(record + 48).contains("directory of the archive would lie beyond the file"));
    assert!(with(record + 56 + 8).contains("64-bit end record of the archive would lie beyond the file"));
    let line = whole.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    let extra = line + 46 + "a/data/0".len() + 4;
    assert!(with(extra + 16).contains("entry of the archive would lie beyond the file"));
    assert!(with(extra).contains("two lengths"));
}

#[test]
fn both_formats_of_the_fixture_hold_the_same() {
    let open = |name: &str| rankfold::format::open(&fixture(name).join("pytorch_model.bin")).unwrap();
    let (new, old) = (open("pytorch"), open("pytorch-legacy"));
    assert_eq!(new.tensors(), old.tensors());
    assert!(new.tensors().len() > 20);
    for index in 0..new.tensors().len() {
        assert!(new.bytes(index).unwrap() == old.bytes(index).unwrap());
        assert_eq!(new.stored_as(index), old.stored_as(index));
    }
}

#[test]
fn files_cut_off_anywhere_are_refused() {
    for name in ["pytorch", "pytorch-legacy"] {
        let whole = std::fs::read(fixture(name).join("pytorch_model.bin")).unwrap();
        for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
            let message = message_of_file("weights.bin", &whole[..length]);
            assert!(!message.is_empty());
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(
            name == "pytorch-legacy",
            std::panic::catch_unwind(|| message_of_file("weights.bin", &longer)).is_ok()
        );
    }
}

#[test]
fn changed_bytes_are_no_danger() {
    for name in ["pytorch", "pytorch-legacy"] {
        let whole = std::fs::read(fixture(name).join("pytorch_model.bin")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights.bin");
        for place in (0..3000).chain(whole.len() - 2500..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            std::fs::write(&path, &changed).unwrap();
            if let Ok(reader) = rankfold::format::open(&path) {
                (0..reader.tensors().len()).for_each(|index| drop(reader.bytes(index).unwrap()));
            }
        }
    }
}

#[test]
fn calls_of_other_functions_are_refused_by_name() {
    let system = [b"cos\nsystem\n(".to_vec(), text("true"), b"tR".to_vec()].concat();
    assert_eq!(refusal(&system), "pickle needs a class or function that no state dict needs: found `os.system`");
    assert!(refusal(b"\x8c\x08builtins\x8c\x04eval\x93").contains("`builtins.eval`"));
    assert!(refusal(b"ctorch\nload\n").contains("`torch.load`"));
    assert!(refusal(b"})R").contains("REDUCE of what is no known function: found a dict"));
}

#[test]
fn other_opcodes_are_refused_by_name() {
    assert_eq!(refusal(b"(ios\nsystem\n"), "opcode that no state dict needs: found INST (0x69)");
    assert!(refusal(b"}\x81").contains("NEWOBJ (0x81)"));
    assert!(refusal(b"\x82\x01").contains("EXT1 (0x82)"));
    // A decimal of any number of digits.
    assert!(refusal(&[b"L", &vec![b'9'; 1 << 20][..], b"L\n"].concat()).contains("LONG (0x4c)"));
}

#[test]
fn pickles_that_contradict_themselves_are_refused() {
    assert!(refusal(b"R").contains("empty stack"));
    assert!(refusal(b"t").contains("a mark that it never set"));
    assert!(refusal(b"h\x07").contains("its memo for what it never put there: found 7"));
    assert!(refusal(b"(Nd").contains("a key without a value"));
    assert!(refusal(b"Na").contains("empty stack"));
    assert!(refusal(b"X\xff\xff\xff\xff").contains("pickle ends early: expected 4294967295 bytes more"));
    assert!(refusal(b"N").contains("no tensors in the pickle"));
}

#[test]
fn huge_integers_are_refused_unread() {
    assert!(refusal(b"\x8b\xff\xff\xff\x7f").contains("integer of the pickle is too long: expected at most 16 bytes"));
    assert!(refusal(b"\x8a\xff").contains("found 255"));
}

#[test]
fn containers_nested_without_end_are_refused() {
    let deep = [vec![b'('; 100_000], vec![b't'; 100_000]].concat();
    assert!(refusal(&deep).contains("nested without end"));
    // A list that holds itself.
    assert!(refusal(b"]q\0h\0a").contains("nested without end"));
    // Thirty levels of two references each: a thousand million tensors.
    let mut laughs = tensor("0", 12, 0, &[12], &[1]);
    for level in 0..30u8 {
        laughs.extend([b'q', level, b'0', b']', b'(', b'h', level, b'h', level, b'e']);
    }
    assert!(!refusal(&laughs).is_empty());
}

#[test]
fn too_many_objects_are_refused() {
    assert!(refusal(&vec![b']'; 5_000_000]).contains("pickle makes too many objects: expected at most 4000000"));
}

#[test]
fn a_memo_and_a_stack_without_end_are_refused_in_bounded_memory() {
    // The largest key there is costs no more than the smallest.
    let sparse = [b"}r\xff\xff\xff\xff0j\xff\xff\xff\xff(".to_vec(), text("a"), tensor("0", 12, 0, &[12], &[1])];
    let reader = open(&archive(&[&sparse.concat()[..], b"u"].concat(), &[("0", 12)]));
    assert_eq!(names(reader.as_ref()), ["a"]);
    assert!(refusal(&vec![b'('; 5_000_000]).contains("stack of the pickle is too deep: expected at most 4000000"));
    let again = [b"Nq\0".to_vec(), b"h\0".repeat(5_000_000)].concat();
    assert!(refusal(&again).contains("stack of the pickle is too deep"));
    let keys: Vec<u8> = (0..4_100_000u32).flat_map(|key| [b"r".as_slice(), &key.to_le_bytes()[..]].concat()).collect();
    assert!(refusal(&[b"N", &keys[..]].concat()).contains("memo of the pickle is too large"));
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let of = |tensor: Vec<u8>| refusal(&dict(&[("a", tensor)]));
    assert_eq!(
        of(tensor("0", 12, 1, &[3, 4], &[4, 1])),
        "tensor `a`: tensor goes beyond storage `0`: expected 12 elements, found offset 1, size [3, 4], strides [4, 1]"
    );
    assert!(of(tensor("0", 12, 0, &[2], &[i32::MAX])).contains("goes beyond"));
    assert!(of(tensor("0", 12, -1, &[2], &[1])).contains("offset of a tensor is no whole number"));
    assert!(of(tensor("0", 12, 0, &[-2], &[1])).contains("size of a tensor is not of whole numbers"));
    assert!(of(tensor("0", 12, 0, &[2], &[1, 1])).contains("not as many strides as dimensions"));
    assert!(of(tensor("0", 13, 0, &[2], &[1])).contains("of another length than the pickle says"));
    assert!(of(tensor("1", 12, 0, &[2], &[1])).contains("file has no storage `1`"));
    assert!(of(tensor("0", 12, 0, &[1; 65], &[1; 65])).contains("too many dimensions"));
}

#[test]
fn tensors_that_repeat_a_storage_without_end_are_refused() {
    let huge = tensor("0", 12, 0, &[i32::MAX, 4], &[0, 1]);
    assert!(refusal(&dict(&[("a", huge)])).contains("tensors would take many times the file"));
    let beyond = tensor("0", 12, 0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0]);
    assert!(refusal(&dict(&[("a", beyond)])).contains("shape overflows"));
}

#[test]
fn compressed_and_overlapping_entries_are_refused() {
    let pickle = pickle(&dict(&[]));
    let compressed = zip(&[("a/data.pkl", 8, &pickle)]);
    assert_eq!(
        message_of_file("weights.bin", &compressed),
        "entry of the archive is compressed: expected entries stored as they are, found entry `a/data.pkl`"
    );
    let mut overlapping = archive(&dict(&[("a", tensor("0", 12, 0, &[12], &[1]))]), &[("0", 12), ("1", 12)]);
    let is_line = |(_, four): &(usize, &[u8])| *four == b"PK\x01\x02";
    let lines: Vec<usize> = overlapping.windows(4).enumerate().filter(is_line).map(|(place, _)| place).collect();
    // Both lengths of the first storage are made to reach into the second.
    for place in [20, 24] {
        overlapping[lines[1] + place..][..4].copy_from_slice(&100u32.to_le_bytes());
    }
    let message = message_of_file("weights.bin", &overlapping);
    assert_eq!(message, "entries of the archive overlap: found `a/data/0` and `a/data/1`");
}

#[test]
fn counts_and_places_of_an_archive_that_lie_are_refused() {
    let whole = archive(&dict(&[("a", tensor("0", 12, 0, &[12], &[1]))]), &[("0", 12)]);
    let end = whole.len() - 22;
    let with = |place: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[end + place..][..bytes.len()].copy_from_slice(bytes);
        message_of_file("weights.bin", &changed)
    };
    assert!(with(8, &[0xff; 4]).contains("not where it should be"), "the count of this file and that of all");
    assert!(with(10, &[0, 0]).contains("its end record lies"), "only one of them");
    assert!(with(16, &[0xff; 4]).contains("directory of the archive would lie beyond the file"));
    assert!(with(0, b"XXXX").contains("archive has no directory at its end"));
}

#[test]
fn torchscript_is_named_as_such() {
    let script = zip(&[("a/data.pkl", 0, b"\x80\x02}."), ("a/code/model.py", 8, b"x"), ("a/constants.pkl", 0, b"")]);
    assert!(message_of_file("weights.pt", &script).starts_with("a TorchScript archive, which holds a program"));
}

#[test]
fn shards_of_pickles_are_opened_by_their_index() {
    let sandbox = tempfile::tempdir().unwrap();
    let model = sandbox.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for (file, name) in [("pytorch_model-00001-of-00002.bin", "a"), ("pytorch_model-00002-of-00002.bin", "b")] {
        let object = dict(&[(name, tensor("0", 12, 0, &[12], &[1]))]);
        std::fs::write(model.join(file), archive(&object, &[("0", 12)])).unwrap();
    }
    let index = r#"{"metadata":{"total_size":96},"weight_map":{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}}"#;
    std::fs::write(model.join("pytorch_model.bin.index.json"), index).unwrap();
    let out = sandbox.path().join("out");
    rankfold([Path::new("convert"), &model, &out]).assert().code(0);
    let expected = [
        "SHA256SUMS",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "rankfold.json",
    ];
    assert_eq!(tree::names(&out), expected);
    rankfold([Path::new("verify"), &out, Path::new("--source"), &model]).assert().code(0);
}

/// Fails unless what `torch.load` gives for each file is what a conversion of it holds.
#[test]
fn real_torch_reads_the_same_values() {
    let python = std::env::var_os("RANKFOLD_TORCH_PYTHON")
        .expect("RANKFOLD_TORCH_PYTHON is a python with torch and numpy; tests/run sets it");
    let sandbox = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/torch_files.py");
    let run = |arguments: &[&Path]| {
        let output = Command::new(&python).arg("-B").arg(&program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&[Path::new("make"), sandbox.path()]);
    for name in ["zip.bin", "legacy.bin", "lightning.ckpt"] {
        let (file, out) = (sandbox.path().join(name), sandbox.path().join(format!("{name}.out")));
        rankfold([Path::new("convert"), &file, &out]).assert().code(0);
        run(&[Path::new("check"), &file, &out]);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &file]).assert().code(0);
    }
    let refused = |name: &str, expected: &str| {
        let error = rankfold([Path::new("inspect"), &sandbox.path().join(name)]).assert().code(1);
        let message = String::from_utf8_lossy(&error.get_output().stderr).into_owned();
        assert!(message.contains(expected), "{message}");
    };
    refused("script.pt", "TorchScript");
    refused("module.pt", "`torch.nn.modules.container.Sequential`");
}
