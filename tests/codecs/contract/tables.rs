//! Tables of many shapes and contents, and the parts that a codec makes of them.

use rankfold::codec::{Analysis, Codec, Demand, Measured, Options, Part, PartSink, Setting, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, Rows, TensorMeta};
use rankfold::{Error, ErrorKind, Result};

/// The name that every table has.
pub(crate) const NAME: &str = "encoder.table.weight";

/// A table of singles or of another float, as the bytes of a tensor.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    pub(crate) label: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    bytes: Vec<u8>,
}

impl Dense {
    pub(crate) fn new(label: &'static str, dtype: Dtype, rows: usize, columns: usize, values: &[f64]) -> Self {
        assert_eq!(values.len(), rows * columns);
        let bytes = values.iter().flat_map(|&value| match dtype {
            Dtype::F64 => value.to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
            Dtype::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
            _ => (value as f32).to_le_bytes().to_vec(),
        });
        Dense { label, dtype, rows, columns, bytes: bytes.collect() }
    }

    pub(crate) fn rows(&self) -> MappedRows<'_> {
        MappedRows::new(&self.bytes, self.dtype, self.rows, self.columns).expect("bytes fit the shape")
    }

    pub(crate) fn values(&self) -> Vec<f64> {
        let mut values = vec![0.0; self.rows * self.columns];
        self.rows().read_f64(0..self.rows, &mut values).expect("mapped rows can be read");
        values
    }
}

/// Numbers near a normal distribution from a seed.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..count).map(|_| (0..6).map(|_| uniform()).sum::<f64>() * 0.05).collect()
}

/// Every kind of table that has tripped something somewhere.
pub(crate) fn tables() -> Vec<Dense> {
    let single = |label, rows, columns, values: &[f64]| Dense::new(label, Dtype::F32, rows, columns, values);
    let rank_one: Vec<f64> =
        (0..90 * 40).map(|at| ((at / 40) as f64 - 40.0) * ((at % 40) as f64 - 11.0) / 99.0).collect();
    let mut outlier = noise(120 * 32, 5);
    outlier[777] = 3000.0;
    let mut zero_rows = noise(64 * 33, 6);
    zero_rows[33..66].fill(0.0);
    zero_rows[63 * 33..].fill(0.0);
    let halves: Vec<f64> = noise(200 * 24, 7);
    let tiny: Vec<f64> = noise(80 * 16, 8).iter().map(|value| value * 1e-42).collect();
    vec![
        single("tall", 300, 48, &noise(300 * 48, 1)),
        single("wide: fewer rows than columns", 20, 96, &noise(20 * 96, 2)),
        single("many blocks", 3001, 37, &noise(3001 * 37, 3)),
        single("one column", 500, 1, &noise(500, 4)),
        single("one row", 1, 400, &noise(400, 9)),
        single("constant", 70, 20, &[0.25; 70 * 20]),
        single("zeros", 70, 20, &[0.0; 70 * 20]),
        single("rank one", 90, 40, &rank_one),
        single("one outlier", 120, 32, &outlier),
        single("rows of zeros", 64, 33, &zero_rows),
        single("denormals", 80, 16, &tiny),
        Dense::new("halves", Dtype::F16, 200, 24, &halves),
        Dense::new("brain floats", Dtype::BF16, 200, 24, &halves),
        Dense::new("doubles", Dtype::F64, 150, 24, &noise(150 * 24, 10)),
    ]
}

/// The parts of an encoded table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) setting: Setting,
    pub(crate) metas: Vec<TensorMeta>,
    pub(crate) bytes: Vec<Vec<u8>>,
    pub(crate) measured: Measured,
}

impl Encoded {
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        self.metas.iter().zip(&self.bytes).map(|(meta, bytes)| Part { meta, bytes }).collect()
    }
}

struct Collect(Vec<Vec<u8>>);

impl PartSink for Collect {
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let part = self.0.get_mut(part).ok_or_else(|| Error::new(ErrorKind::Output, "no such part"))?;
        part.extend_from_slice(bytes);
        Ok(())
    }
}

/// The ladder of `codec`, or nothing where it refuses the table since nothing would be saved.
pub(crate) fn ladder(codec: &dyn Codec, dense: &Dense, options: &Options) -> Option<Box<dyn Analysis>> {
    let rows = dense.rows();
    let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
    match codec.analyze(&table, options, Demand::Ladder, &Silent) {
        Ok(analysis) => Some(analysis),
        Err(error) if error.kind() == ErrorKind::Request => None,
        Err(error) => panic!("{} on `{}`: {error}", codec.name(), dense.label),
    }
}

pub(crate) fn encode(analysis: &dyn Analysis, dense: &Dense, point: usize) -> Result<Encoded> {
    let own = &analysis.points()[point];
    let mut sink = Collect(vec![Vec::new(); own.parts.len()]);
    let measured = analysis.encode(&dense.rows(), point, &mut sink, &Silent)?;
    Ok(Encoded { setting: own.setting.clone(), metas: own.parts.clone(), bytes: sink.0, measured })
}

/// Every number that `encoded` stands for.
pub(crate) fn decode(codec: &dyn Codec, encoded: &Encoded) -> Result<Vec<f32>> {
    let parts = encoded.parts();
    let rows = codec.decode(&encoded.setting, &parts)?;
    let (count, columns) = rows.shape();
    let mut values = vec![0.0; count * columns];
    rows.read_f32(0..count, &mut values)?;
    Ok(values)
}

/// The first, the last and some points between.
pub(crate) fn some_points(count: usize) -> Vec<usize> {
    let mut points = vec![0, 1, count / 3, count / 2, count.saturating_sub(1)];
    points.retain(|&point| point < count);
    points.sort_unstable();
    points.dedup();
    points
}
