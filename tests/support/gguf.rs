//! GGUF files, built byte by byte.

/// A GGUF of `before.weight`, a token table of `rows` x 64 of `dtype` and `after.weight`, with data at multiples of
/// `alignment`, the last of which is filled up where `is_padded`.
pub(crate) fn model(dtype: u32, table: &[u8], rows: u64, alignment: usize, is_padded: bool) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut listed = Vec::new();
    let mut data = Vec::new();
    let others: Vec<u8> = (0..33u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let tensors = [
        ("before.weight", &[33][..], 0, &others[..]),
        ("token_embd.weight", &[64, rows], dtype, table),
        ("after.weight", &[33], 0, &others),
    ];
    for (name, extents, kind, bytes) in tensors {
        data.resize(data.len().next_multiple_of(alignment), 0);
        listed.extend(text(name));
        listed.extend((extents.len() as u32).to_le_bytes());
        listed.extend(extents.iter().flat_map(|extent| extent.to_le_bytes()));
        listed.extend([&u32::to_le_bytes(kind)[..], &(data.len() as u64).to_le_bytes()].concat());
        data.extend(bytes);
    }
    if is_padded {
        data.resize(data.len().next_multiple_of(alignment), 0);
    }
    let mut out = [b"GGUF", &3u32.to_le_bytes()[..], &3u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    out.extend(text("general.alignment"));
    out.extend([&4u32.to_le_bytes()[..], &(alignment as u32).to_le_bytes()].concat());
    out.extend(listed);
    out.resize(out.len().next_multiple_of(alignment), 0);
    out.extend(data);
    out
}
