//! The carrier of a compression: which one, where it puts the parts, and what is recorded of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{AUTO, Carrier, Encoded, LOADER, Placed, Slot, choose};
use crate::convert::assembly;
use crate::convert::compress::Prepared;
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::manifest::CarrierRecord;

impl Prepared<'_> {
    /// The carrier that was asked for, if it is one and takes the tables, for which `methods` codecs compete.
    pub(in crate::convert) fn choose_carrier(&self, methods: usize) -> Result<Option<&'static dyn Carrier>> {
        let choice = self.request.carrier.as_str();
        if choice == LOADER || (choice == AUTO && methods > 1) {
            return Ok(None);
        }
        if methods > 1 {
            return Err(Error::new(ErrorKind::Request, "a carrier takes one method")
                .expected("`--method low-rank`")
                .found(format!("`{}`", self.request.method)));
        }
        // What keeps the form of the source has its own places for parts.
        if crate::convert::keeps_form(self.checkpoint) && choice == AUTO {
            return Ok(None);
        }
        let Some(carrier) = choose(choice, self.checkpoint)? else { return Ok(None) };
        // Whether the model stays the same does not depend on the point.
        match carrier.place(self.checkpoint, &self.encoded(&vec![0; self.tables.len()])) {
            Ok(_) => Ok(Some(carrier)),
            Err(_) if choice == AUTO => Ok(None),
            Err(error) => Err(error.at(self.checkpoint.root())),
        }
    }

    /// Where the parts of the tables go, every table at its point of `points`.
    pub(in crate::convert) fn placed(&self, points: &[usize]) -> Result<Placed> {
        let encoded = self.encoded(points);
        if let Some(carrier) = self.carrier {
            return carrier.place(self.checkpoint, &encoded).map_err(|error| error.at(self.checkpoint.root()));
        }
        let beside = |table: &Encoded<'_>| {
            let parts = table.parts.iter().enumerate();
            parts.map(|(part, meta)| Slot::new(part, meta.name.as_str())).collect()
        };
        Ok(Placed { slots: encoded.iter().map(beside).collect(), ..Placed::default() })
    }

    fn encoded(&self, points: &[usize]) -> Vec<Encoded<'_>> {
        let encoded = self.tables.iter().zip(points).map(|(table, &point)| {
            let meta = self.checkpoint.meta(table.id);
            let (codec, point) = (table.codecs[point], &table.points[point]);
            let shape = meta.matrix().map_or([0, 0], |(rows, columns)| [rows, columns]);
            Encoded {
                name: &meta.name,
                shape,
                tied: table.tied.iter().map(|&id| self.checkpoint.meta(id).name.as_str()).collect(),
                parts: &point.parts,
                native: codec.native(&point.setting, shape[1]),
            }
        });
        encoded.collect()
    }

    /// What the manifest says of the carrier.
    pub(in crate::convert) fn carrier_record(&self) -> Result<Option<CarrierRecord>> {
        let Some(carrier) = self.carrier else { return Ok(None) };
        let placed = self.placed(&self.points())?;
        let mut replaced = BTreeMap::new();
        for (path, _) in &placed.files {
            let was_there = self.checkpoint.files().any(|file| file == path);
            let text = was_there.then(|| self.source_text(path)).transpose()?;
            replaced.insert(assembly::path_text(path)?, text);
        }
        if let Some(config) = self.checkpoint.config().filter(|_| !placed.config.is_empty()) {
            replaced.insert(assembly::path_text(config.path())?, Some(config.text().to_owned()));
        }
        let mut transposed = BTreeMap::new();
        for slots in &placed.slots {
            let part = |part| slots.iter().find(|slot| slot.part == part && !slot.transposed);
            let exchanged = slots.iter().filter(|slot| slot.transposed);
            transposed.extend(exchanged.filter_map(|slot| Some((slot.name.clone(), part(slot.part)?.name.clone()))));
        }
        Ok(Some(CarrierRecord { name: carrier.name().into(), replaced, transposed }))
    }

    /// The text of a small file of the source.
    fn source_text(&self, path: &Path) -> Result<String> {
        let path = self.checkpoint.root().join(path);
        String::from_utf8(limits::read(&path, limits::MAX_JSON)?)
            .map_err(|error| Error::new(ErrorKind::Malformed, "not UTF-8").at(path).caused_by(error))
    }
}
