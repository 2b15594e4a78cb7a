//! Which tables are compressed: token tables, or what the user names.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};

use super::{Candidate, Evidence, Role, refuse, roles};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorMeta;

/// Globs over full tensor names. `*` matches dots too; letters match in their own case.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Vec<GlobMatcher>,
    exclude: Vec<GlobMatcher>,
}

impl Selection {
    /// With `include` globs exactly the tables that they name are taken, whatever they are for; without, every token
    /// table. What `exclude` globs match is left out of either.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where a glob cannot be read.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self> {
        let compile = |globs: &[S]| globs.iter().map(|glob| compile(glob.as_ref())).collect::<Result<Vec<_>>>();
        Ok(Selection { include: compile(include)?, exclude: compile(exclude)? })
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|glob| glob.is_match(name))
    }
}

fn compile(text: &str) -> Result<GlobMatcher> {
    Glob::new(text).map(|glob| glob.compile_matcher()).map_err(|error| {
        Error::new(ErrorKind::Request, "not a glob").found(format!("`{}`", text.escape_debug())).caused_by(error)
    })
}

/// The tables that `selection` takes, in the order of `tensors`; `candidates` are those that [`super::locate`] found
/// in them.
///
/// A copy that is named stands for the table that it is stored as. Excluding a copy keeps that copy as it is;
/// excluding the table that it is stored as leaves all of them alone.
///
/// # Errors
/// [`ErrorKind::Selection`] where nothing fits, where several tensors fit equally well and no name tells them apart,
/// or where a glob names no tensor or none that can be a table; the message lists the candidates with their evidence.
pub fn select(tensors: &[TensorMeta], candidates: &[Candidate], selection: &Selection) -> Result<Vec<Candidate>> {
    for glob in &selection.exclude {
        if !tensors.iter().any(|meta| glob.is_match(&meta.name)) {
            return Err(refuse::unmatched(glob.glob().glob(), "--exclude", tensors, candidates));
        }
    }
    let mut tables: BTreeMap<usize, Candidate> = BTreeMap::new();
    if selection.include.is_empty() {
        let taken = candidates.iter().filter(|candidate| candidate.taken_by_default);
        tables.extend(taken.map(|candidate| (candidate.tensor, candidate.clone())));
        if tables.is_empty() {
            return Err(refuse::undecided(tensors, candidates));
        }
    }
    for glob in &selection.include {
        for table in named(glob, tensors, candidates)? {
            tables.entry(table.tensor).or_insert(table);
        }
    }
    let mut kept: Vec<Candidate> = tables.into_values().filter(|table| !selection.excludes(&table.name)).collect();
    if kept.is_empty() {
        return Err(refuse::all_excluded(candidates));
    }
    for table in &mut kept {
        table.tied.retain(|tie| !selection.excludes(&tie.name));
    }
    Ok(kept)
}

/// The tables that one `--include` glob names. Tensors among them that cannot be tables are passed over, as long as
/// one can be.
fn named(glob: &GlobMatcher, tensors: &[TensorMeta], candidates: &[Candidate]) -> Result<Vec<Candidate>> {
    let text = glob.glob().glob();
    let matches: Vec<_> = tensors.iter().enumerate().filter(|(_, meta)| glob.is_match(&meta.name)).collect();
    if matches.is_empty() {
        return Err(refuse::unmatched(text, "--include", tensors, candidates));
    }
    let table = |&(tensor, meta): &(usize, &TensorMeta)| {
        let (rows, columns) = roles::table_shape(meta)?;
        let own = candidates.iter().find(|candidate| candidate.tensor == tensor);
        let stored_as = own.and_then(|own| own.same_as.as_ref());
        let candidate = match stored_as {
            Some(name) => candidates.iter().find(|candidate| candidate.name == *name),
            None => own,
        };
        let mut table = candidate.cloned().unwrap_or_else(|| Candidate {
            tensor,
            name: meta.name.clone(),
            dtype: meta.dtype,
            shape: [rows, columns],
            role: Role::Unknown,
            score: 0,
            evidence: vec![Evidence::Matrix { dtype: meta.dtype, rows, columns }],
            tied: vec![],
            same_as: None,
            taken_by_default: false,
        });
        table.evidence.push(Evidence::Included { glob: text.into() });
        Some(table)
    };
    let tables: Vec<Candidate> = matches.iter().filter_map(table).collect();
    match matches.first() {
        Some((_, meta)) if tables.is_empty() => Err(refuse::not_a_table(text, meta, candidates)),
        _ => Ok(tables),
    }
}
