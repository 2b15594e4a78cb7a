//! Decoders of every codec on parts that were changed.

use rankfold::codec::{CODECS, Codec, Demand, Options, Part, PartSink, Setting, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, TensorMeta};
use serde_json::Value;

use super::Target;

/// The first byte chooses the codec, the second the operating point, and every four bytes after them change something
/// of the parts or of the setting, so that they still are what a checkpoint could hold.
pub(super) const DECODE: Target = Target {
    name: "decode",
    seeds: || {
        let choices = (0..CODECS.len() as u8).flat_map(|codec| [0, 1, 5].map(|point| [codec, point]));
        choices.flat_map(|choice| (0..6).map(move |edit| [&choice[..], &[edit, 0, 1, 9]].concat())).collect()
    },
    run: |_, input| run(input),
};

const ROWS: usize = 64;
const COLUMNS: usize = 16;

/// A table as a codec stored it.
#[derive(Clone)]
struct Stored {
    setting: Setting,
    parts: Vec<(TensorMeta, Vec<u8>)>,
}

struct Sink<'a>(&'a mut Vec<(TensorMeta, Vec<u8>)>);

impl PartSink for Sink<'_> {
    fn write(&mut self, part: usize, bytes: &[u8]) -> rankfold::Result<()> {
        self.0[part].1.extend_from_slice(bytes);
        Ok(())
    }
}

/// What every codec makes of one table at every operating point: made once.
fn stored(codec: usize, point: usize) -> Option<Stored> {
    static ALL: std::sync::OnceLock<Vec<Vec<Stored>>> = std::sync::OnceLock::new();
    let all = ALL.get_or_init(|| CODECS.iter().map(|codec| encode(*codec)).collect());
    let points = &all[codec % all.len()];
    points.get(point % points.len().max(1)).cloned()
}

fn encode(codec: &dyn Codec) -> Vec<Stored> {
    let number = |at: u32| ((at.wrapping_mul(2_654_435_769) >> 8) as f32 / (1u32 << 24) as f32) - 0.5;
    let bytes: Vec<u8> = (0..(ROWS * COLUMNS) as u32).flat_map(|at| number(at).to_le_bytes()).collect();
    let rows = MappedRows::new(&bytes, Dtype::F32, ROWS, COLUMNS).expect("the shape fits");
    let table = Table { name: "words.weight", dtype: Dtype::F32, rows: &rows };
    let Ok(analysis) = codec.analyze(&table, &Options::default(), Demand::Ladder, &Silent) else { return Vec::new() };
    let all = analysis.points().iter().enumerate().step_by(1 + analysis.points().len() / 8);
    let all = all.map(|(at, point)| {
        let mut parts: Vec<_> = point.parts.iter().map(|meta| (meta.clone(), Vec::new())).collect();
        analysis.encode(&rows, at, &mut Sink(&mut parts), &Silent).expect("a point can be encoded");
        Stored { setting: point.setting.clone(), parts }
    });
    all.collect()
}

fn run(input: &[u8]) {
    let Some(([codec, point], edits)) = input.split_first_chunk::<2>() else { return };
    let Some(mut stored) = stored(usize::from(*codec), usize::from(*point)) else { return };
    for edit in edits.as_chunks::<4>().0 {
        change(&mut stored, *edit);
    }
    let parts: Vec<_> = stored.parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
    let codec = CODECS[usize::from(*codec) % CODECS.len()];
    let Ok(rows) = codec.decode(&stored.setting, &parts) else {
        assert!(!edits.as_chunks::<4>().0.is_empty(), "{} refuses its own parts", codec.name());
        return;
    };
    let (height, width) = rows.shape();
    let stored: usize = parts.iter().map(|part| part.bytes.len()).sum();
    assert!(width <= 8 * stored.max(1 << 10), "a row of {width} numbers from {stored} bytes");
    let mut single = vec![0.0f32; width];
    let mut double = vec![0.0f64; width];
    for row in (0..height).step_by(1 + height / 8) {
        // Either refuses, or gives numbers; which ones is for whoever changed the bytes.
        let _ = rows.read_f32(row..row + 1, &mut single);
        let _ = rows.read_f64(row..row + 1, &mut double);
    }
}

/// Changes a byte, an extent, a dtype, the number of parts, or a number of the setting.
fn change(stored: &mut Stored, [what, which, place, value]: [u8; 4]) {
    let (which, place) = (usize::from(which), usize::from(place));
    if what % 6 == 5 {
        change_setting(&mut stored.setting, which, i64::from(value) - 3 + ((place as i64) << 20));
        return;
    }
    let count = stored.parts.len();
    let Some((meta, bytes)) = stored.parts.get_mut(which % count.max(1)) else { return };
    match what % 6 {
        0 => {
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place * 37 % length) {
                *byte = value;
            }
        }
        1 => {
            let dimensions = meta.shape.len().max(1);
            if let Some(extent) = meta.shape.get_mut(place % dimensions) {
                *extent = usize::from(value);
            }
        }
        2 => meta.dtype = Dtype::ALL[usize::from(value) % Dtype::ALL.len()],
        3 => meta.shape = std::iter::repeat_n(usize::from(value % 7), place % 4).collect(),
        _ => {
            stored.parts.swap_remove(which % count);
            return;
        }
    }
    // A reader gives as many bytes as the shape says.
    match meta.bytes().and_then(|length| usize::try_from(length).ok()) {
        Some(length) if length <= 1 << 20 => bytes.resize(length, value),
        _ => {
            meta.shape = vec![0];
            bytes.clear();
        }
    }
}

fn change_setting(setting: &mut Setting, which: usize, number: i64) {
    let count = setting.len().max(1);
    if let Some((_, value)) = setting.iter_mut().nth(which % count) {
        *value = match value {
            Value::Array(values) if !values.is_empty() => {
                values[0] = number.into();
                return;
            }
            Value::String(_) if number % 2 == 0 => "other".into(),
            _ => number.into(),
        };
    }
}
