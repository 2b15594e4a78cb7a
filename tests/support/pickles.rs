//! Checkpoints of PyTorch put together opcode by opcode.

/// A binary string.
pub(crate) fn text(value: &str) -> Vec<u8> {
    [b"X".as_slice(), &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// A whole number.
pub(crate) fn number(value: i32) -> Vec<u8> {
    [b"J".as_slice(), &value.to_le_bytes()].concat()
}

/// A tuple of whole numbers.
pub(crate) fn numbers(values: &[i32]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|&value| number(value)).collect();
    [b"(".as_slice(), &values, b"t"].concat()
}

/// A tensor of singles in storage `key`, which the pickle says has `elements`.
pub(crate) fn tensor(key: &str, elements: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        number(elements),
        b"tQ".to_vec(),
        number(offset),
        numbers(shape),
        numbers(strides),
        b"\x89}tR".to_vec(),
    ]
    .concat()
}

/// A dict of what is pickled already.
pub(crate) fn dict(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<u8> = members.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [b"}(".as_slice(), &members, b"u"].concat()
}

/// A whole pickle of one object.
pub(crate) fn pickle(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// A zip archive; entries are name, method and content.
pub(crate) fn zip(entries: &[(&str, u16, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, method, data) in entries {
        let place = out.len() as u32;
        let fixed = [
            &method.to_le_bytes()[..],
            &[0; 8],
            &(data.len() as u32).to_le_bytes(),
            &(data.len() as u32).to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        directory.extend(
            [b"PK\x01\x02\x14\0\x14\0\0\0", &fixed[..], &[0; 10], &place.to_le_bytes(), name.as_bytes()].concat(),
        );
        out.extend([b"PK\x03\x04\x14\0\0\0", &fixed[..], name.as_bytes(), data].concat());
    }
    let (start, count) = (out.len() as u32, entries.len() as u16);
    let length = directory.len() as u32;
    out.extend(directory);
    out.extend(
        [
            b"PK\x05\x06\0\0\0\0",
            &count.to_le_bytes()[..],
            &count.to_le_bytes(),
            &length.to_le_bytes(),
            &start.to_le_bytes(),
            &[0; 2],
        ]
        .concat(),
    );
    out
}

/// The same with every length and place in fields of 64 bits.
pub(crate) fn zip_64(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let [place, length] = [out.len(), data.len()].map(|value| (value as u64).to_le_bytes());
        // Method, time, date and checksum; both lengths; of the name and of the extra field.
        let fixed =
            |extra: u16| [&[0; 10][..], &[0xff; 8], &(name.len() as u16).to_le_bytes(), &extra.to_le_bytes()].concat();
        let sizes = [&[1, 0, 16, 0], &length[..], &length].concat();
        out.extend([b"PK\x03\x04-\0\0\0", &fixed(20)[..], name.as_bytes(), &sizes, data].concat());
        let sizes = [&[1, 0, 24, 0], &length[..], &length, &place].concat();
        let rest = [&fixed(28)[..], &[0; 10], &[0xff; 4], name.as_bytes(), &sizes].concat();
        directory.extend([b"PK\x01\x02-\0-\0\0\0", &rest[..]].concat());
    }
    let [start, length, count] = [out.len(), directory.len(), entries.len()].map(|value| (value as u64).to_le_bytes());
    out.extend(directory);
    let end = (out.len() as u64).to_le_bytes();
    out.extend([b"PK\x06\x06", &44u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8], &count, &count].concat());
    out.extend([&length[..], &start].concat());
    out.extend([b"PK\x06\x07", &[0; 4][..], &end, &1u32.to_le_bytes()].concat());
    out.extend([b"PK\x05\x06", &[0; 4][..], &[0xff; 12], &[0; 2]].concat());
    out
}

/// An archive of the object and of storages of singles 0, 1, 2, ... by key and length.
pub(crate) fn archive(object: &[u8], storages: &[(&str, usize)]) -> Vec<u8> {
    let pickle = pickle(object);
    let storages: Vec<(String, Vec<u8>)> = storages
        .iter()
        .map(|(key, length)| {
            (format!("a/data/{key}"), (0..*length).flat_map(|value| (value as f32).to_le_bytes()).collect())
        })
        .collect();
    let mut entries = vec![("a/data.pkl", 0, pickle.as_slice())];
    entries.extend(storages.iter().map(|(name, data)| (name.as_str(), 0, data.as_slice())));
    zip(&entries)
}
