//! Refusals that show what there is to choose from.

use super::{Candidate, ENOUGH, Role, roles};
use crate::error::{Error, ErrorKind};
use crate::tensor::TensorMeta;

/// Candidates that a message lists at most.
const MAX_LISTED: usize = 8;

fn quote(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

fn with_evidence(candidate: &Candidate) -> String {
    let evidence: Vec<String> = candidate.evidence.iter().map(ToString::to_string).collect();
    format!("{} ({}: {})", quote(&candidate.name), candidate.role.name(), evidence.join("; "))
}

/// Candidates with their evidence, a line each.
fn lines<'c>(candidates: impl IntoIterator<Item = &'c Candidate>) -> String {
    let all: Vec<String> = candidates.into_iter().map(|one| format!("\n  {}", with_evidence(one))).collect();
    let (shown, rest) = all.split_at(all.len().min(MAX_LISTED));
    let more = if rest.is_empty() { String::new() } else { format!("\n  and {} more", rest.len()) };
    shown.concat() + &more
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let (shown, rest) = items.split_at(items.len().min(MAX_LISTED));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Nothing is a token table beyond doubt.
pub(super) fn undecided(tensors: &[TensorMeta], candidates: &[Candidate]) -> Error {
    let mut strong: Vec<&Candidate> = candidates.iter().filter(|one| one.same_as.is_none()).collect();
    strong.sort_by_key(|one| (one.role != Role::Unknown, std::cmp::Reverse(one.score), one.tensor));
    let equal = strong.iter().filter(|one| one.role == Role::Unknown && one.score >= ENOUGH).count();
    let summary = match equal {
        0 => "no tensor has enough evidence for a token embedding table",
        _ => "several tensors could be the token embedding table and no name tells them apart",
    };
    let error = Error::new(ErrorKind::Selection, summary);
    if let Some(first) = strong.first() {
        return error.hint(format!(
            "pick one with `--include GLOB`, such as `--include '{}'`; the candidates are{}",
            first.name.escape_debug(),
            lines(strong.iter().copied())
        ));
    }
    let mut tables: Vec<(&TensorMeta, (usize, usize))> =
        tensors.iter().filter_map(|meta| Some((meta, roles::table_shape(meta)?))).collect();
    tables.sort_by(|(_, a), (_, b)| (b.0 as f64 / b.1 as f64).total_cmp(&(a.0 as f64 / a.1 as f64)));
    match tables.first() {
        None => error.found("no 2-D tensor of F64, F32, F16 or BF16"),
        Some((first, _)) => {
            let hint = format!("pick one with `--include GLOB`, such as `--include '{}'`", first.name.escape_debug());
            let shown =
                tables.iter().map(|(meta, (rows, columns))| format!("{} [{rows}, {columns}]", quote(&meta.name)));
            error.found(format!("2-D float tensors {}", list(shown))).hint(hint)
        }
    }
}

/// Every table was excluded.
pub(super) fn all_excluded(candidates: &[Candidate]) -> Error {
    Error::new(ErrorKind::Selection, "every table is excluded")
        .hint(format!("leave one in, or name another with `--include GLOB`; the candidates are{}", lines(candidates)))
}

/// A glob of `flag` that names no tensor.
pub(super) fn unmatched(glob: &str, flag: &str, tensors: &[TensorMeta], candidates: &[Candidate]) -> Error {
    let near = near(glob, tensors, candidates);
    let error = Error::new(ErrorKind::Selection, format!("glob of `{flag}` matches no tensor")).found(quote(glob));
    if near.is_empty() { error } else { error.hint(format!("near names are {}", list(near))) }
}

/// A glob that names only tensors that cannot be tables.
pub(super) fn not_a_table(glob: &str, first: &TensorMeta, candidates: &[Candidate]) -> Error {
    let error = Error::new(ErrorKind::Selection, format!("glob {} of `--include` names no table", quote(glob)))
        .tensor(&first.name)
        .expected("a 2-D tensor of F64, F32, F16 or BF16 that is not empty")
        .found(format!("{} {:?}", first.dtype, first.shape));
    match candidates {
        [] => error,
        _ => error.hint(format!("the candidates are{}", lines(candidates))),
    }
}

/// Names of possible tables that share the most words with the glob; candidates where none shares any.
fn near(glob: &str, tensors: &[TensorMeta], candidates: &[Candidate]) -> Vec<String> {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && *word != "weight");
        parts.map(str::to_lowercase).collect()
    };
    let wanted = words(glob);
    let shared = |meta: &TensorMeta| {
        let own = words(&meta.name);
        wanted.iter().filter(|word| own.iter().any(|own| own.contains(*word) || word.contains(own.as_str()))).count()
    };
    let tables = tensors.iter().filter(|meta| roles::table_shape(meta).is_some());
    let mut scored: Vec<(usize, &str)> = tables.map(|meta| (shared(meta), meta.name.as_str())).collect();
    scored.retain(|&(count, _)| count > 0);
    scored.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    if scored.is_empty() {
        return candidates.iter().map(|one| quote(&one.name)).collect();
    }
    scored.iter().take(5).map(|(_, name)| quote(name)).collect()
}
