//! Tables in memory, and what a codec makes of them.

use nalgebra::DMatrix;
use rankfold::Result;
use rankfold::codec::{Codec, Demand, Measured, Options, Part, PartSink, Setting, Table};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, Rows, TensorMeta};

/// A table as a checkpoint would map it.
pub(crate) struct Dense {
    pub(crate) bytes: &'static [u8],
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    mapped: MappedRows<'static>,
}

impl Dense {
    fn new(bytes: Vec<u8>, dtype: Dtype, rows: usize, columns: usize) -> Dense {
        // Tests are short: their tables live as long as they do, so that a table can be lent without ceremony.
        let bytes: &'static [u8] = Box::leak(bytes.into_boxed_slice());
        Dense { bytes, dtype, rows, columns, mapped: MappedRows::new(bytes, dtype, rows, columns).unwrap() }
    }

    pub(crate) fn singles(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Dense {
        let bytes = entries(rows, columns).flat_map(|(i, j)| (value(i, j) as f32).to_le_bytes()).collect();
        Dense::new(bytes, Dtype::F32, rows, columns)
    }

    pub(crate) fn doubles(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Dense {
        let bytes = entries(rows, columns).flat_map(|(i, j)| value(i, j).to_le_bytes()).collect();
        Dense::new(bytes, Dtype::F64, rows, columns)
    }

    /// As a codec sees it.
    pub(crate) fn table(&self) -> Table<'_> {
        Table { name: "words.weight", dtype: self.dtype, rows: &self.mapped }
    }

    pub(crate) fn matrix(&self) -> DMatrix<f64> {
        matrix(&self.mapped)
    }
}

fn entries(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}

/// The numbers of some rows.
pub(crate) fn matrix(rows: &dyn Rows) -> DMatrix<f64> {
    let (height, width) = rows.shape();
    let mut values = vec![0.0; height * width];
    rows.read_f64(0..height, &mut values).unwrap();
    DMatrix::from_row_slice(height, width, &values)
}

/// Uniform in (-1, 1), a function of the place.
pub(crate) fn noise(i: usize, j: usize) -> f64 {
    let mut state = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (j as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    state = (state ^ (state >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Runs `work` on a pool of `count` threads.
pub(crate) fn with_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(work)
}

/// A table as a codec stored it.
pub(crate) struct Encoded {
    pub(crate) setting: Setting,
    pub(crate) parts: Vec<(TensorMeta, Vec<u8>)>,
    pub(crate) measured: Measured,
}

struct Sink<'a>(&'a mut Vec<(TensorMeta, Vec<u8>)>);

impl PartSink for Sink<'_> {
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        self.0[part].1.extend_from_slice(bytes);
        Ok(())
    }
}

impl Encoded {
    /// Encodes at `setting`; fails unless exactly the predicted bytes are written.
    pub(crate) fn new(codec: &dyn Codec, dense: &Dense, options: &Options, setting: &Setting) -> Self {
        Encoded::try_new(codec, dense, options, setting).unwrap()
    }

    pub(crate) fn try_new(codec: &dyn Codec, dense: &Dense, options: &Options, setting: &Setting) -> Result<Self> {
        let table = dense.table();
        let analysis = codec.analyze(&table, options, Demand::Only(setting), &Silent)?;
        let point = analysis.points()[0].clone();
        let mut parts: Vec<_> = point.parts.iter().map(|meta| (meta.clone(), Vec::new())).collect();
        let measured = analysis.encode(table.rows, 0, &mut Sink(&mut parts), &Silent)?;
        for (meta, bytes) in &parts {
            assert_eq!(meta.bytes(), Some(bytes.len() as u64), "bytes of `{}`", meta.name);
        }
        Ok(Encoded { setting: point.setting, parts, measured })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn open<'p>(&'p self, codec: &dyn Codec) -> Box<dyn Rows + 'p> {
        let parts: Vec<_> = self.parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        codec.decode(&self.setting, &parts).unwrap()
    }

    /// The whole table.
    pub(crate) fn decode(&self, codec: &dyn Codec) -> DMatrix<f64> {
        matrix(self.open(codec).as_ref())
    }

    /// Fails unless every row has the same bits read alone, in singles and in doubles.
    pub(crate) fn assert_rows_decode_alone(&self, codec: &dyn Codec) {
        let rows = self.open(codec);
        let (height, width) = rows.shape();
        let mut whole = vec![0.0f32; height * width];
        rows.read_f32(0..height, &mut whole).unwrap();
        for (i, expected) in whole.chunks(width).enumerate() {
            let (mut single, mut double) = (vec![0.0f32; width], vec![0.0f64; width]);
            rows.read_f32(i..i + 1, &mut single).unwrap();
            rows.read_f64(i..i + 1, &mut double).unwrap();
            assert_eq!(single, expected, "row {i}");
            assert!(double.iter().zip(expected).all(|(&double, &single)| double as f32 == single), "row {i}");
        }
    }

    /// A factor of codes in part `codes` and grids in part `grids`.
    pub(crate) fn factor(&self, codes: usize, grids: usize, rank: usize, bits: usize) -> DMatrix<f64> {
        let (meta, bytes) = &self.parts[codes];
        let (grid_meta, grids) = &self.parts[grids];
        let point = |j: usize, at: usize| {
            let at = (j % grid_meta.shape[0] * 2 + at) * 4;
            f64::from(f32::from_le_bytes(grids[at..at + 4].try_into().unwrap()))
        };
        let code = |i: usize, j: usize| -> f64 {
            let bit = |k: usize| (bytes[i * meta.shape[1] + (j * bits + k) / 8] >> ((j * bits + k) % 8)) & 1;
            (0..bits).map(|k| f64::from(bit(k)) * 2f64.powi(k as i32)).sum()
        };
        DMatrix::from_fn(meta.shape[0], rank, |i, j| point(j, 0) + point(j, 1) * code(i, j))
    }
}
