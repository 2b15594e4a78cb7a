//! Blocks of ggml's quantized types, decoded as `ggml-quants.c` and the gguf package decode them: the same products and
//! sums of singles in the same order, so that the results are equal to the bit.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "decoders of blocks whose sizes are constants, called with whole blocks only; measured, and no number of a file is an index"
)]

use half::f16;

use crate::tensor::Dtype;

/// Decodes `bytes`, whole blocks of `dtype`, to `out`, which has room for their elements. `false` where the type
/// cannot be decoded.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> bool {
    let decode: fn(&[u8], &mut [f32]) = match dtype {
        Dtype::Q4_0 => q4_0,
        Dtype::Q4_1 => q4_1,
        Dtype::Q5_0 => q5_0,
        Dtype::Q5_1 => q5_1,
        Dtype::Q8_0 => q8_0,
        Dtype::Q2_K => q2_k,
        Dtype::Q3_K => q3_k,
        Dtype::Q4_K => q4_k,
        Dtype::Q5_K => q5_k,
        Dtype::Q6_K => q6_k,
        Dtype::Q8_K => q8_k,
        _ => return false,
    };
    let width = dtype.bits() as usize / 8;
    for (block, out) in bytes.chunks_exact(width).zip(out.chunks_exact_mut(dtype.block())) {
        decode(block, out);
    }
    true
}

/// The half at `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The `position`th nibble of 32 numbers: the low ones are the first 16, the high ones the others.
fn nibble(bytes: &[u8], position: usize) -> u8 {
    let byte = bytes[position % 16];
    if position < 16 { byte & 15 } else { byte >> 4 }
}

/// The fifth bit of the `position`th of 32 numbers, at its place.
fn fifth_bit(bytes: &[u8], position: usize) -> u8 {
    (bytes[position / 8] >> (position % 8) & 1) << 4
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let (scale, codes) = (half(block, 0), &block[2..]);
    for (position, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(codes, position).cast_signed() - 8);
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, least, codes) = (half(block, 0), half(block, 2), &block[4..]);
    for (position, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(codes, position)) + least;
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let (scale, fifths, codes) = (half(block, 0), &block[2..6], &block[6..]);
    for (position, out) in out.iter_mut().enumerate() {
        let code = nibble(codes, position) | fifth_bit(fifths, position);
        *out = scale * f32::from(code.cast_signed() - 16);
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, least, fifths, codes) = (half(block, 0), half(block, 2), &block[4..8], &block[8..]);
    for (position, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(codes, position) | fifth_bit(fifths, position)) + least;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let (scale, codes) = (half(block, 0), &block[2..]);
    for (out, code) in out.iter_mut().zip(codes) {
        *out = scale * f32::from(code.cast_signed());
    }
}

/// 16 bytes of 4-bit scales (low) and least values (high), 64 of codes, the scales of both.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (scale, least) = (half(block, 80), half(block, 82));
    for (position, out) in out.iter_mut().enumerate() {
        let group = scales[position / 16];
        let code = codes[position / 128 * 32 + position % 32] >> (position / 32 % 4 * 2) & 3;
        *out = scale * f32::from(group & 15) * f32::from(code) - least * f32::from(group >> 4);
    }
}

/// 32 bytes of third bits, which are inverted, 64 of codes, 12 of 6-bit scales, their scale.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (thirds, codes, scales, scale) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
    for (position, out) in out.iter_mut().enumerate() {
        let group = position / 16;
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        let own = scale * f32::from((low | high << 4).cast_signed() - 32);
        let code = codes[position / 128 * 32 + position % 32] >> (position / 32 % 4 * 2) & 3;
        let third = thirds[position % 32] >> (position / 32) & 1;
        *out = own * f32::from(code.cast_signed() - if third == 1 { 0 } else { 4 });
    }
}

/// The 6-bit scale and least value of group `group` of 8, in 12 bytes.
fn scale_and_least(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (scales[group] & 63, scales[group + 4] & 63)
    } else {
        let low = scales[group + 4];
        (low & 15 | scales[group - 4] >> 2 & 48, low >> 4 | scales[group] >> 2 & 48)
    }
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, least, scales, codes) = (half(block, 0), half(block, 2), &block[4..16], &block[16..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (own_scale, own_least) = scale_and_least(scales, group);
        let (own_scale, own_least) = (scale * f32::from(own_scale), least * f32::from(own_least));
        for (out, byte) in out.iter_mut().zip(&codes[group / 2 * 32..]) {
            *out = own_scale * f32::from(byte >> (group % 2 * 4) & 15) - own_least;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, least, scales) = (half(block, 0), half(block, 2), &block[4..16]);
    let (fifths, codes) = (&block[16..48], &block[48..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (own_scale, own_least) = scale_and_least(scales, group);
        let (own_scale, own_least) = (scale * f32::from(own_scale), least * f32::from(own_least));
        for ((out, byte), fifth) in out.iter_mut().zip(&codes[group / 2 * 32..]).zip(fifths) {
            let code = byte >> (group % 2 * 4) & 15 | (fifth >> group & 1) << 4;
            *out = own_scale * f32::from(code) - own_least;
        }
    }
}

/// 128 bytes of low bits, 64 of high ones, 16 signed scales, their scale.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales, scale) = (&block[..128], &block[128..192], &block[192..208], half(block, 208));
    for (position, out) in out.iter_mut().enumerate() {
        let (side, within) = (position / 128, position % 128);
        let four = low[side * 64 + within % 64] >> (within / 64 * 4) & 15;
        let two = high[side * 32 + within % 32] >> (within / 32 * 2) & 3;
        let own = scale * f32::from(scales[position / 16].cast_signed());
        *out = own * f32::from((four | two << 4).cast_signed() - 32);
    }
}

/// A single, 256 codes, sums of 16 codes each that decoding does not need.
fn q8_k(block: &[u8], out: &mut [f32]) {
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (out, code) in out.iter_mut().zip(&block[4..260]) {
        *out = scale * f32::from(code.cast_signed());
    }
}
