//! Weighs each tensor by itself, then decides on those that no name decides.

use std::collections::BTreeMap;

use super::config::{Facts, Vocabulary};
use super::evidence::{ENOUGH, Evidence};
use super::families::{Family, block_part, family_of, layer_part};
use super::{Candidate, Inventory, Role};
use crate::format::{TensorUse, UseKind};
use crate::tensor::TensorMeta;

/// V/d from which the form speaks for a table: linear layers rarely widen by more than 4.
const TALL: f64 = 4.0;
/// Rows that padding adds at most: to a multiple of 128 on each of 8 devices.
const MAX_PADDING: u64 = 1024;

/// `(V, d)` of a tensor that can be a table: a matrix of a readable type with at least one element.
pub(super) fn table_shape(tensor: &TensorMeta) -> Option<(usize, usize)> {
    let (rows, columns) = tensor.matrix()?;
    (tensor.dtype.is_readable() && rows > 0 && columns > 0).then_some((rows, columns))
}

/// Every tensor that something speaks for.
pub(super) fn assess(inventory: &Inventory<'_>, facts: &Facts) -> Vec<Candidate> {
    let tensors = inventory.tensors;
    let tables: Vec<_> =
        tensors.iter().enumerate().filter_map(|(at, meta)| Some((at, meta, table_shape(meta)?))).collect();
    let only = tables.len() == 1;
    let named_tokens: Vec<(usize, usize)> = tables
        .iter()
        .filter(|(_, meta, _)| {
            family_of(&meta.name).is_some_and(|row| row.role == Role::Token && !row.models.is_empty())
        })
        .map(|&(_, _, shape)| shape)
        .collect();
    let candidate = |&(tensor, meta, shape): &(usize, &TensorMeta, (usize, usize))| {
        let family = family_of(&meta.name);
        let uses: Vec<&TensorUse> = inventory.uses.iter().filter(|one| one.tensor == tensor).collect();
        let evidence = weigh(meta, shape, family, facts, only, &uses);
        let score: i32 = evidence.iter().map(Evidence::weight).sum();
        let has_vocabulary =
            evidence.iter().any(|one| matches!(one, Evidence::Vocabulary { .. } | Evidence::PaddedVocabulary { .. }));
        let role = match family {
            Some(row) if !row.models.is_empty() => row.role,
            _ if !uses.is_empty() => role_of(&uses),
            Some(row) if row.role == Role::OutputHead && (has_vocabulary || named_tokens.contains(&shape)) => row.role,
            Some(row) if row.role == Role::Token && score >= ENOUGH => row.role,
            _ if only && score >= ENOUGH => Role::Token,
            _ if score > 0 => Role::Unknown,
            _ => return None,
        };
        Some(Candidate {
            tensor,
            name: meta.name.clone(),
            dtype: meta.dtype,
            shape: [shape.0, shape.1],
            role,
            score,
            evidence,
            tied: vec![],
            same_as: None,
            taken_by_default: false,
        })
    };
    tables.iter().filter_map(candidate).collect()
}

/// What a matrix is for by its uses, of which there is one: a table is looked up in, whatever else is done with it, and
/// the input that says which rows tells what they are rows of.
fn role_of(uses: &[&TensorUse]) -> Role {
    let lookup = uses.iter().find_map(|one| match &one.kind {
        UseKind::LookedUp { indices } => Some(indices.to_lowercase()),
        UseKind::Multiplied { .. } => None,
    });
    match lookup {
        None => Role::OutputHead,
        Some(indices) if indices.contains("position") => Role::Position,
        Some(indices) if indices.contains("token_type") || indices.contains("segment") => Role::TokenType,
        Some(_) => Role::Token,
    }
}

fn weigh(
    meta: &TensorMeta,
    (rows, columns): (usize, usize),
    family: Option<&Family>,
    facts: &Facts,
    only: bool,
    uses: &[&TensorUse],
) -> Vec<Evidence> {
    let mut evidence = vec![Evidence::Matrix { dtype: meta.dtype, rows, columns }];
    let named = family.filter(|row| !row.models.is_empty());
    match family {
        Some(row) if row.models.is_empty() => evidence.push(Evidence::GenericName { pattern: row.pattern }),
        Some(row) => evidence.push(Evidence::Name { family: row.models, pattern: row.pattern }),
        None => {}
    }
    let vocabulary_role = named.is_none_or(|row| matches!(row.role, Role::Token | Role::OutputHead));
    if vocabulary_role {
        evidence.extend(vocabulary(rows as u64, &facts.vocabularies, family.is_some()));
        let ratio = rows as f64 / columns as f64;
        if only && rows >= columns {
            evidence.push(Evidence::OnlyTable);
        }
        if ratio >= TALL {
            evidence.push(Evidence::Tall { ratio });
        } else if ratio < 1.0 {
            evidence.push(Evidence::Wide { ratio });
        }
    }
    evidence.extend(uses.iter().map(|one| match one.kind.clone() {
        UseKind::LookedUp { indices } => Evidence::LookedUp { node: one.node.clone(), indices },
        UseKind::Multiplied { is_transposed } => Evidence::Multiplied { node: one.node.clone(), is_transposed },
    }));
    // A family's full name outweighs what its parts would say (`SelfAttention.relative_attention_bias`), and so does
    // what the graph does with it.
    if named.is_none() && uses.is_empty() {
        evidence.extend(layer_part(&meta.name).map(|part| Evidence::LayerName { part: part.into() }));
        evidence.extend(block_part(&meta.name).map(|part| Evidence::NumberedBlock { part: part.into() }));
    }
    evidence
}

/// The best that the vocabularies of the config say of V; that none fits is said only of tensors with a table's name.
fn vocabulary(rows: u64, vocabularies: &[Vocabulary], has_name: bool) -> Option<Evidence> {
    let of = |one: &Vocabulary| (one.key.clone(), one.size);
    if let Some((key, size)) = vocabularies.iter().find(|one| one.size == rows).map(of) {
        return Some(Evidence::Vocabulary { key, size });
    }
    let padded = |one: &&Vocabulary| {
        let padding = rows.saturating_sub(one.size);
        rows.is_multiple_of(8) && (1..=MAX_PADDING.min(one.size / 8)).contains(&padding)
    };
    if let Some((key, size)) = vocabularies.iter().find(padded).map(of) {
        return Some(Evidence::PaddedVocabulary { key, size });
    }
    let (key, size) = vocabularies.first().filter(|_| has_name).map(of)?;
    Some(Evidence::OtherVocabulary { key, size })
}

/// Makes a tensor without a known name a token table where it is the only one (copies not counted) that fits its
/// vocabulary and no named token table is there.
pub(super) fn promote_unnamed(candidates: &mut [Candidate]) {
    if candidates.iter().any(|one| one.role == Role::Token && one.score >= ENOUGH) {
        return;
    }
    let mut by_rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, one) in candidates.iter().enumerate() {
        if one.role == Role::Unknown && one.score >= ENOUGH && one.same_as.is_none() {
            by_rows.entry(one.shape[0]).or_default().push(at);
        }
    }
    for fits in by_rows.values() {
        if let &[at] = &fits[..] {
            candidates[at].role = Role::Token;
        }
    }
}
