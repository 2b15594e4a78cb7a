//! Blocks of ggml's types of 32 numbers, quantized as `ggml-quants.c` does in its `quantize_row_*_ref` and as the gguf
//! package does: the same products and sums of singles in the same order, so that the blocks are equal to the bit.

#![expect(clippy::arithmetic_side_effects, reason = "an encoder: blocks of a constant size")]

use half::f16;

use super::BlockType;

/// Numbers of a block.
pub(super) const BLOCK: usize = 32;

/// Appends the block of `type_` for 32 finite numbers. `false` where its scale or its least value would be infinite.
pub(super) fn push_block(type_: BlockType, values: &[f32; BLOCK], out: &mut Vec<u8>) -> bool {
    match type_ {
        BlockType::Q4_0 => symmetric(values, 4, out),
        BlockType::Q4_1 => affine(values, 4, out),
        BlockType::Q5_0 => symmetric(values, 5, out),
        BlockType::Q5_1 => affine(values, 5, out),
        BlockType::Q8_0 => q8_0(values, out),
    }
}

/// One over a scale, and 0 for the scale of a block of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Appends a half; gives whether it is finite.
fn push_half(value: f32, out: &mut Vec<u8>) -> bool {
    let half = f16::from_f32(value);
    out.extend_from_slice(&half.to_le_bytes());
    half.is_finite()
}

/// Appends codes of 4 or 5 bits: the fifth ones of all first, then the others two a byte, the first 16 numbers low.
fn push_codes(codes: &[u8; BLOCK], bits: u32, out: &mut Vec<u8>) {
    if bits == 5 {
        let fifths = codes.iter().enumerate().fold(0u32, |all, (at, code)| all | u32::from(code >> 4 & 1) << at);
        out.extend_from_slice(&fifths.to_le_bytes());
    }
    let (low, high) = codes.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low & 15 | (high & 15) << 4));
}

/// The number of largest magnitude gets the least code, -2^(b-1), and zero gets 0.
fn symmetric(values: &[f32; BLOCK], bits: u32, out: &mut Vec<u8>) -> bool {
    let half = f32::from(1u8 << (bits - 1));
    // Of several of one magnitude the first.
    let extreme =
        values.iter().fold(0.0f32, |extreme, value| if value.abs() > extreme.abs() { *value } else { extreme });
    let scale = extreme / -half;
    let inverse = f64::from(inverse(scale));
    // ggml multiplies and adds in one rounding where the processor can, which doubles stand for.
    let code = |value: &f32| ((f64::from(*value) * inverse + f64::from(half) + 0.5) as f32) as u8;
    let codes = values.each_ref().map(|value| code(value).min((1 << bits) - 1));
    let finite = push_half(scale, out);
    push_codes(&codes, bits, out);
    finite
}

/// The least number gets code 0, the largest the largest code.
fn affine(values: &[f32; BLOCK], bits: u32, out: &mut Vec<u8>) -> bool {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let last = (1u8 << bits) - 1;
    let scale = (largest - least) / f32::from(last);
    let inverse = inverse(scale);
    let codes = values.each_ref().map(|value| (((value - least) * inverse + 0.5) as u8).min(last));
    let finite = push_half(scale, out) & push_half(least, out);
    push_codes(&codes, bits, out);
    finite
}

fn q8_0(values: &[f32; BLOCK], out: &mut Vec<u8>) -> bool {
    let scale = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / 127.0;
    let inverse = inverse(scale);
    let finite = push_half(scale, out);
    out.extend(values.iter().map(|value| ((value * inverse).round() as i8).cast_unsigned()));
    finite
}
