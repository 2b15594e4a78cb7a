//! Headers that lie: each is refused with a message that says where, what was expected and what was found.

use crate::support::files::{file_of, message_of_file, parts_of};
use rankfold::{Error, ErrorKind};

/// A file whose header is `json` and whose data are `data` bytes of zero.
fn header(json: &str, data: usize) -> Vec<u8> {
    file_of(json, &vec![0; data])
}

/// A file of one tensor `t` whose fields are `fields`, and `data` bytes of zero.
fn tensor(fields: &str, data: usize) -> Vec<u8> {
    header(&format!("{{\"t\":{{{fields}}}}}"), data)
}

/// The message for a file, without its path.
fn message(file: &[u8]) -> String {
    message_of_file("model.safetensors", file)
}

fn error(file: &[u8]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, file).unwrap();
    rankfold::format::open(&path).err().expect("the file is refused")
}

#[test]
fn an_error_names_the_path_and_is_of_the_kind_malformed() {
    let error = error(&tensor(r#""dtype":"F33","shape":[],"data_offsets":[0,0]"#, 0));
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let text = error.to_string();
    assert!(text.starts_with('`') && text.contains("model.safetensors`: tensor `t`: unknown dtype"), "{text}");
}

#[test]
fn an_empty_file_is_too_short() {
    assert_eq!(message(b""), "file is too short for a header: expected at least 8 bytes, found 0 bytes");
}

#[test]
fn a_file_of_seven_bytes_is_too_short() {
    assert_eq!(message(&[0; 7]), "file is too short for a header: expected at least 8 bytes, found 7 bytes");
}

#[test]
fn a_header_of_no_bytes_is_refused() {
    assert_eq!(message(&[0; 8]), "header is empty: expected a length of at least 2 bytes, found 0");
}

#[test]
fn a_header_that_ends_beyond_the_file_is_refused() {
    let mut file = header("{}", 0);
    file[0] = 3;
    assert_eq!(message(&file), "header ends beyond the file: expected a length of at most 2 bytes, found 3");
}

#[test]
fn a_header_above_the_cap_is_refused_before_anything_is_allocated() {
    let mut file = header("{}", 0);
    file[..8].copy_from_slice(&100_000_001u64.to_le_bytes());
    assert_eq!(message(&file), "header is too long: expected at most 100000000 bytes, found 100000001");
    file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(message(&file), format!("header is too long: expected at most 100000000 bytes, found {}", u64::MAX));
}

#[test]
fn a_header_that_is_not_utf8_is_refused() {
    let mut file = header(r#"{"a?":1}"#, 0);
    file[8 + 3] = 0xff;
    assert_eq!(message(&file), "header is not UTF-8: found an invalid sequence at byte 3 of the header");
}

#[test]
fn a_header_that_is_not_json_is_refused() {
    assert_eq!(message(&header("{\"a\":}", 0)), "header is not JSON: found expected value at line 1 column 6");
    assert_eq!(message(&header("{} {}", 0)), "header is not JSON: found trailing characters at line 1 column 4");
    assert_eq!(message(&header("{\"a", 0)), "header is not JSON: found EOF while parsing a string at line 1 column 3");
}

#[test]
fn a_header_that_is_no_object_is_refused() {
    let expected = "header does not begin with `{`: expected a JSON object, found `[`";
    assert_eq!(message(&header("[]", 0)), expected);
}

#[test]
fn a_header_that_begins_with_white_space_is_refused() {
    let expected = "header does not begin with `{`: expected a JSON object, found ` `";
    assert_eq!(message(&header(" {}", 0)), expected);
    let expected = r"header does not begin with `{`: expected a JSON object, found `\x00`";
    assert_eq!(message(&header("\0{}", 0)), expected);
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let entry = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let file = header(&format!("{{{entry},{entry}}}"), 1);
    assert_eq!(message(&file), "tensor `a`: name occurs twice in the header");
}

#[test]
fn names_that_are_equal_only_after_unescaping_are_one_name() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let file = header(&format!(r#"{{"a":{entry},"\u0061":{entry}}}"#), 0);
    assert_eq!(message(&file), "tensor `a`: name occurs twice in the header");
}

#[test]
fn a_tensor_called_metadata_is_refused() {
    let file = header(r#"{"__metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    let expected =
        "tensor `__metadata__`: name is reserved for metadata: expected an object of strings, found a tensor";
    assert_eq!(message(&file), expected);
}

#[test]
fn metadata_and_a_tensor_called_metadata_are_refused() {
    let file =
        header(r#"{"__metadata__":{"format":"pt"},"__metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    assert_eq!(message(&file), "tensor `__metadata__`: name occurs twice in the header");
}

#[test]
fn metadata_that_are_not_strings_are_refused() {
    let expected = "value of `n` in `__metadata__` is of the wrong type: expected a string, found `1`";
    assert_eq!(message(&header(r#"{"__metadata__":{"n":1}}"#, 0)), expected);
    let expected = "`__metadata__` is of the wrong type: expected an object of strings, found `[\"a\"]`";
    assert_eq!(message(&header(r#"{"__metadata__":["a"]}"#, 0)), expected);
    let expected = "`__metadata__` is of the wrong type: expected an object of strings, found `null`";
    assert_eq!(message(&header(r#"{"__metadata__":null}"#, 0)), expected);
}

#[test]
fn a_metadata_key_that_occurs_twice_is_refused() {
    let file = header(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0);
    assert_eq!(message(&file), "key `a` occurs twice in `__metadata__`");
}

#[test]
fn metadata_whose_keys_are_those_of_a_tensor_but_whose_values_are_strings_are_metadata() {
    let file = header(r#"{"__metadata__":{"dtype":"x","shape":"y","data_offsets":"z"}}"#, 0);
    let (_, metadata) = parts_of(&file);
    assert_eq!(metadata["shape"], "y");
}

#[test]
fn an_unknown_dtype_is_refused_with_a_list_of_the_known() {
    let text = message(&tensor(r#""dtype":"f32","shape":[1],"data_offsets":[0,4]"#, 4));
    assert!(text.starts_with("tensor `t`: unknown dtype: expected one of BOOL, F4, "), "{text}");
    assert!(text.ends_with("U64, found `\"f32\"`"), "{text}");
}

#[test]
fn an_entry_that_is_no_object_is_refused() {
    for (value, found) in [("1", "`1`"), ("null", "`null`"), ("[[[[1]]]]", "`[[[[1]]]]`"), ("\"x\"", "`\"x\"`")] {
        let text = message(&header(&format!("{{\"t\":{value}}}"), 0));
        assert_eq!(text, format!("tensor `t`: entry is of the wrong type: expected an object, found {found}"));
    }
}

#[test]
fn each_missing_field_is_named() {
    let fields = [r#""dtype":"U8""#, r#""shape":[0]"#, r#""data_offsets":[0,0]"#];
    for (missing, name) in ["dtype", "shape", "data_offsets"].into_iter().enumerate() {
        let mut rest = fields.to_vec();
        rest.remove(missing);
        assert_eq!(message(&tensor(&rest.join(","), 0)), format!("tensor `t`: field `{name}` is missing"));
    }
}

#[test]
fn a_field_that_is_unknown_is_refused() {
    let file = tensor(r#""dtype":"U8","shape":[0],"data_offsets":[0,0],"stride":[1]"#, 0);
    let expected = "tensor `t`: unknown field: expected only `dtype`, `shape` and `data_offsets`, found `stride`";
    assert_eq!(message(&file), expected);
}

#[test]
fn a_field_that_occurs_twice_is_refused() {
    let file = tensor(r#""dtype":"U8","shape":[0],"shape":[1],"data_offsets":[0,0]"#, 0);
    assert_eq!(message(&file), "tensor `t`: field `shape` occurs twice");
}

#[test]
fn a_dtype_that_is_no_string_is_refused() {
    let file = tensor(r#""dtype":8,"shape":[0],"data_offsets":[0,0]"#, 0);
    assert_eq!(message(&file), "tensor `t`: `dtype` is of the wrong type: expected a string, found `8`");
}

#[test]
fn shapes_that_are_no_whole_numbers_are_refused() {
    for shape in ["[-1]", "[1.0]", "[1e3]", "[18446744073709551616]", "[\"1\"]", "[[1]]", "[null]", "{}", "1"] {
        let file = tensor(&format!(r#""dtype":"U8","shape":{shape},"data_offsets":[0,1]"#), 1);
        let expected = format!(
            "tensor `t`: `shape` is of the wrong type: expected an array of whole numbers from 0, found `{shape}`"
        );
        assert_eq!(message(&file), expected);
    }
}

#[test]
fn offsets_that_are_not_two_whole_numbers_are_refused() {
    for offsets in ["[0]", "[]", "[0,1,2]", "[-1,1]", "[0.0,1]", "[0,1e0]", "[0,18446744073709551616]", "{}", "\"01\""]
    {
        let file = tensor(&format!(r#""dtype":"U8","shape":[1],"data_offsets":{offsets}"#), 1);
        let expected = format!(
            "tensor `t`: `data_offsets` is of the wrong type: expected two whole numbers from 0, found `{offsets}`"
        );
        assert_eq!(message(&file), expected);
    }
}

#[test]
fn a_shape_whose_product_overflows_is_refused() {
    let text = message(&tensor(r#""dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]"#, 0));
    let expected = "tensor `t`: shape overflows: expected fewer than 2^64 bits, found [4294967296, 4294967296] of U8";
    assert_eq!(text, expected);
}

#[test]
fn a_shape_whose_bits_overflow_is_refused() {
    let text = message(&tensor(r#""dtype":"F64","shape":[288230376151711744],"data_offsets":[0,0]"#, 0));
    let expected = "tensor `t`: shape overflows: expected fewer than 2^64 bits, found [288230376151711744] of F64";
    assert_eq!(text, expected);
}

#[test]
fn offsets_in_reverse_are_refused() {
    let text = message(&tensor(r#""dtype":"U8","shape":[1],"data_offsets":[1,0]"#, 1));
    let expected = "tensor `t`: data ends before it begins: expected `data_offsets` in increasing order, found [1, 0]";
    assert_eq!(text, expected);
}

#[test]
fn data_that_do_not_fit_the_shape_are_refused() {
    let text = message(&tensor(r#""dtype":"F32","shape":[2,3],"data_offsets":[0,23]"#, 23));
    let expected =
        "tensor `t`: length of the data does not fit the shape: expected 24 bytes for [2, 3] of F32, found 23 bytes";
    assert_eq!(text, expected);
}

#[test]
fn elements_of_less_than_a_byte_that_do_not_end_on_one_are_refused() {
    for (dtype, extent, bits) in [("F4", 3, 12), ("F6_E2M3", 2, 12), ("F6_E3M2", 3, 18)] {
        let fields = format!(r#""dtype":"{dtype}","shape":[{extent}],"data_offsets":[0,2]"#);
        let expected = format!(
            "tensor `t`: elements do not end on a byte: expected a number of bits that 8 divides, \
             found [{extent}] of {dtype}, which is {bits} bits"
        );
        assert_eq!(message(&tensor(&fields, 2)), expected);
    }
}

#[test]
fn tensors_that_overlap_are_refused() {
    let file = header(
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#,
        7,
    );
    let expected = "tensor `b`: data overlaps that of `a`: expected offsets from 4, found [3, 7]";
    assert_eq!(message(&file), expected);
}

#[test]
fn an_empty_tensor_inside_another_is_refused() {
    let file = header(
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}"#,
        4,
    );
    let expected = "tensor `b`: data overlaps that of `a`: expected offsets from 4, found [2, 2]";
    assert_eq!(message(&file), expected);
}

#[test]
fn a_gap_between_tensors_is_refused() {
    let file = header(
        r#"{"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
        9,
    );
    let expected = "tensor `b`: there is a gap after the data of `a`: expected an offset of 4, found [5, 9]";
    assert_eq!(message(&file), expected);
}

#[test]
fn a_first_tensor_that_does_not_begin_at_zero_is_refused() {
    let text = message(&tensor(r#""dtype":"U8","shape":[1],"data_offsets":[1,2]"#, 2));
    let expected = "tensor `t`: data of the first tensor does not begin at 0: expected an offset of 0, found [1, 2]";
    assert_eq!(text, expected);
}

#[test]
fn bytes_after_the_last_tensor_are_refused() {
    let text = message(&tensor(r#""dtype":"U8","shape":[1],"data_offsets":[0,1]"#, 3));
    assert_eq!(text, "there are bytes after the last tensor: expected 1 bytes of data, found 3");
    let text = message(&header("{}", 1));
    assert_eq!(text, "there are bytes after the last tensor: expected 0 bytes of data, found 1");
}

#[test]
fn data_beyond_the_file_are_refused() {
    let text = message(&tensor(r#""dtype":"U8","shape":[8],"data_offsets":[0,8]"#, 7));
    assert_eq!(text, "tensor `t`: data ends beyond the file: expected offsets up to 7, found [0, 8]");
    let huge = u64::MAX / 8;
    let text = message(&tensor(&format!(r#""dtype":"U8","shape":[{huge}],"data_offsets":[0,{huge}]"#), 7));
    assert_eq!(text, format!("tensor `t`: data ends beyond the file: expected offsets up to 7, found [0, {huge}]"));
}

#[test]
fn too_many_dimensions_are_refused() {
    let shape = |dimensions: usize| vec!["1"; dimensions].join(",");
    let file = |dimensions| tensor(&format!(r#""dtype":"U8","shape":[{}],"data_offsets":[0,1]"#, shape(dimensions)), 1);
    let text = message(&file(65));
    assert!(text.starts_with("tensor `t`: too many dimensions: expected at most 64, found `[1,1,"), "{text}");
    assert_eq!(parts_of(&file(64)).0[0].shape.len(), 64);
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    let text = message(&header(&format!("{{\"t\":{deep}}}"), 0));
    assert!(text.starts_with("tensor `t`: entry is of the wrong type"), "{text}");
    let text = message(&tensor(&format!(r#""dtype":"U8","shape":{deep},"data_offsets":[0,1]"#), 1));
    assert!(text.starts_with("tensor `t`: `shape` is of the wrong type"), "{text}");
}

#[test]
fn names_in_messages_are_escaped() {
    let file = header("{\"a\\n\\u001b[31m\":1}", 0);
    let text = message(&file);
    assert!(text.starts_with(r"tensor `a\n\u{1b}[31m`: entry is of the wrong type"), "{text}");
}

#[test]
fn white_space_around_members_and_after_the_header_is_fine() {
    let json = "{ \"t\" :\n{ \"dtype\" : \"U8\" , \"shape\" : [ 1 ] ,\t\"data_offsets\" : [ 0 , 1 ] } }   \n\t ";
    let (tensors, _) = parts_of(&header(json, 1));
    assert_eq!(tensors[0].name, "t");
}

#[test]
fn empty_tensors_are_fine_and_an_empty_header_too() {
    let json = r#"{"b":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"a":{"dtype":"F4","shape":[3,0],"data_offsets":[0,0]}}"#;
    let (tensors, _) = parts_of(&header(json, 0));
    assert_eq!(tensors.iter().map(|meta| meta.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(parts_of(&header("{}", 0)).0.is_empty());
}

#[test]
fn tensors_come_in_the_order_of_their_data() {
    let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    let file = file_of(json, &[7, 8, 9]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(&path, &file).unwrap();
    let reader = rankfold::format::open(&path).unwrap();
    let names: Vec<_> = reader.tensors().iter().map(|meta| meta.name.as_str()).collect();
    assert_eq!(names, ["b", "e", "a"]);
    let data: Vec<_> = (0..3).map(|index| reader.bytes(index).unwrap().into_owned()).collect();
    assert_eq!(data, [vec![7, 8], vec![], vec![9]]);
    assert_eq!(reader.file_bytes(), file);
}

#[test]
fn a_file_is_known_by_its_content_whatever_its_name() {
    let json = r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    assert!(message_of_file("weights.bin", &header(json, 2)).starts_with("there are bytes after"));
    let unknown = message_of_file("weights.dat", b"\x89PNG\r\n a picture");
    assert!(unknown.starts_with("not a tensor file of a known format: expected safetensors or "), "{unknown}");
}

#[test]
fn a_directory_and_a_pipe_are_no_tensor_files() {
    let directory = tempfile::tempdir().unwrap();
    let text = rankfold::format::open(directory.path()).err().unwrap().to_string();
    assert!(text.ends_with("not a regular file"), "{text}");
    let pipe = directory.path().join("model.safetensors");
    crate::support::files::make_pipe(&pipe);
    let text = rankfold::format::open(&pipe).err().unwrap().to_string();
    assert!(text.ends_with("not a regular file"), "{text}");
}
