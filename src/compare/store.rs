//! The parts of an encoded table in a file without a name: what would be written, without an output.

use std::fs::File;
use std::os::unix::fs::FileExt;

use memmap2::Mmap;

use crate::codec::{Analysis, Codec, Measured, Part, PartSink, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Rows, TensorMeta};

/// Parts begin on a multiple of this, as they do in a mapped checkpoint.
const ALIGNMENT: u64 = 64;

/// The parts of one operating point, encoded.
pub struct Encoded {
    point: Point,
    spans: Vec<Span>,
    bytes: Mmap,
    measured: Measured,
}

/// Where a part is.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    len: u64,
}

impl Encoded {
    /// Encodes `rows` at point `index` of `analysis`.
    ///
    /// # Errors
    /// What encoding reports; [`ErrorKind::Malformed`] where the codec wrote other bytes than its point says;
    /// [`ErrorKind::Io`] where there is no room for temporary files.
    pub fn new(analysis: &dyn Analysis, rows: &dyn Rows, index: usize, observer: &dyn Observer) -> Result<Self> {
        let point = analysis.point(index)?.clone();
        let refused = |error| Error::io("cannot keep an encoded table", std::env::temp_dir(), error);
        let mut sink = Sink { file: tempfile::tempfile().map_err(refused)?, spans: Vec::new(), written: Vec::new() };
        let mut end = 0u64;
        for part in &point.parts {
            let len = part.bytes().ok_or_else(|| too_large(part))?;
            sink.spans.push(Span { start: end, len });
            sink.written.push(0);
            let next = end.checked_add(len).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            end = next.ok_or_else(|| too_large(part))?;
        }
        // One byte more, since an empty file cannot be mapped.
        sink.file.set_len(end + 1).map_err(refused)?;
        let measured = analysis.encode(rows, index, &mut sink, observer)?;
        for ((part, span), &written) in point.parts.iter().zip(&sink.spans).zip(&sink.written) {
            if written != span.len {
                return Err(Error::new(ErrorKind::Malformed, "the part is shorter than its shape")
                    .tensor(&part.name)
                    .expected(format!("{} bytes", span.len))
                    .found(written.to_string()));
            }
        }
        // SAFETY: the file has no name and its only handle is dropped here, so nobody else can change it.
        let bytes = unsafe { Mmap::map(&sink.file) }.map_err(refused)?;
        Ok(Encoded { point, spans: sink.spans, bytes, measured })
    }

    /// The operating point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// What the codec measured while it wrote.
    pub fn measured(&self) -> Measured {
        self.measured
    }

    /// The parts, in the codec's order: what each is, and its bytes.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.point.parts.iter().zip(&self.spans).map(|(meta, span)| {
            let range = span.start as usize..(span.start + span.len) as usize;
            Part { meta, bytes: &self.bytes[range] }
        })
    }

    /// The table as `codec`, the one that encoded it, reads it back.
    ///
    /// # Errors
    /// What decoding reports.
    pub fn decode(&self, codec: &dyn Codec) -> Result<Box<dyn Rows + '_>> {
        codec.decode(&self.point.setting, &self.parts().collect::<Vec<_>>())
    }
}

fn too_large(part: &TensorMeta) -> Error {
    Error::new(ErrorKind::Malformed, "the part has no size in bytes").tensor(&part.name)
}

struct Sink {
    file: File,
    spans: Vec<Span>,
    written: Vec<u64>,
}

impl PartSink for Sink {
    fn write(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let (Some(span), Some(written)) = (self.spans.get(part), self.written.get_mut(part)) else {
            return Err(Error::new(ErrorKind::Malformed, "no such part").found(part.to_string()));
        };
        if bytes.len() as u64 > span.len - *written {
            return Err(Error::new(ErrorKind::Malformed, "more bytes than the part's shape holds")
                .expected(format!("at most {}", span.len - *written))
                .found(bytes.len().to_string()));
        }
        let stored = self.file.write_all_at(bytes, span.start + *written);
        stored.map_err(|error| Error::io("cannot keep an encoded table", std::env::temp_dir(), error))?;
        *written += bytes.len() as u64;
        Ok(())
    }
}
