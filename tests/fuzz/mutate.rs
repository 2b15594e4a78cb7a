//! Mutations of inputs: the usual ones of fuzzers, the same in every run.

/// What is written over a place: numbers at which arithmetic overflows and lengths run out.
const NUMBERS: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX, u64::MAX - 7];

/// What is written over a decimal number.
const DECIMALS: [&str; 8] =
    ["0", "-1", "4294967296", "9223372036854775807", "18446744073709551615", "1e999", "0.5", "null"];

/// Longest input that mutations make.
const LONGEST: usize = 40 << 10;

/// An endless supply of mutated inputs.
pub(crate) struct Mutations {
    inputs: Vec<Vec<u8>>,
    state: u64,
}

impl Mutations {
    pub(crate) fn new(inputs: Vec<Vec<u8>>) -> Self {
        Mutations { inputs, state: 2019 }
    }

    /// A number below `bound` (Knuth's MMIX generator).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % bound.max(1)
    }

    /// The next input: one of those given, changed in one to four places.
    pub(crate) fn draw(&mut self) -> Vec<u8> {
        let chosen = self.below(self.inputs.len());
        let mut input = self.inputs[chosen].clone();
        for _ in 0..1 + self.below(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        // Headers are at the front, and it is they that matter.
        let near = if self.below(2) == 0 { input.len() } else { input.len().min(400) };
        let place = self.below(near);
        let length = self.below(16).min(input.len() - place.min(input.len()));
        match self.below(8) {
            0 => input.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            1 => input.iter_mut().skip(place).take(1).for_each(|byte| *byte = self.below(256) as u8),
            2 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                input.iter_mut().skip(place).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            3 => drop(input.drain(place..place + length)),
            4 => {
                let copy = input[place..place + length].to_vec();
                input.splice(place..place, copy);
            }
            5 => input.truncate(place),
            6 => {
                let other = self.below(self.inputs.len());
                let other = &self.inputs[other];
                let tail = other.get(place..).unwrap_or_default().to_vec();
                input.truncate(place);
                input.extend(tail);
            }
            _ => self.change_decimal(input, place),
        }
    }

    /// Replaces the first decimal number from `place` on.
    fn change_decimal(&mut self, input: &mut Vec<u8>, place: usize) {
        let Some(start) = (place..input.len()).find(|&at| input[at].is_ascii_digit()) else { return };
        let end = (start..input.len()).find(|&at| !input[at].is_ascii_digit()).unwrap_or(input.len());
        let number = DECIMALS[self.below(DECIMALS.len())];
        input.splice(start..end, number.bytes());
    }
}
