//! Which candidates are one table: by their bytes, and what the config says of it.

use super::config::Facts;
use super::{Candidate, Evidence, Inventory, Role, Tie};
use crate::error::Result;

/// Roles whose tables are one row per token and can be copies of each other.
fn may_tie(candidate: &Candidate) -> bool {
    matches!(candidate.role, Role::Token | Role::OutputHead | Role::Unknown)
}

/// Of several copies, the one that the others are stored as: a token table before a head, `shared` before its
/// aliases, then the first.
fn precedence(candidate: &Candidate) -> (Role, bool, usize) {
    let shared = candidate.name == "shared.weight" || candidate.name.ends_with(".shared.weight");
    (candidate.role, !shared, candidate.tensor)
}

/// Whether the graph multiplies by it as it is stored, `[d, V]`.
fn is_stored_transposed(candidate: &Candidate) -> bool {
    candidate.evidence.iter().any(|one| matches!(one, Evidence::Multiplied { is_transposed: true, .. }))
}

/// Finds candidates of the same dtype, shape and bytes, and heads that are a table transposed. What could be such a head
/// and is none is a linear layer, and no candidate.
pub(super) fn find(candidates: &mut Vec<Candidate>, inventory: &Inventory<'_>) -> Result<()> {
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&at| may_tie(&candidates[at])).collect();
    order.sort_by_key(|&at| precedence(&candidates[at]));
    let mut stored: Vec<usize> = vec![];
    'next: for at in order {
        for &table in &stored {
            let (one, other) = (&candidates[table], &candidates[at]);
            let alike = one.dtype == other.dtype && one.shape == other.shape;
            if alike && (inventory.same_bytes)(one.tensor, other.tensor)? {
                join(candidates, table, at, |with| Evidence::TiedByBytes { with });
                continue 'next;
            }
            let turned = one.dtype == other.dtype && one.shape == [other.shape[1], other.shape[0]];
            if turned && is_stored_transposed(other) && (inventory.same_transposed)(one.tensor, other.tensor)? {
                join(candidates, table, at, |with| Evidence::TiedTransposed { with });
                continue 'next;
            }
        }
        stored.push(at);
    }
    let is_layer = |one: &Candidate| {
        one.role == Role::OutputHead && one.same_as.is_none() && one.tied.is_empty() && is_stored_transposed(one)
    };
    candidates.retain(|one| !is_layer(one));
    Ok(())
}

fn join(candidates: &mut [Candidate], table: usize, copy: usize, tied: fn(String) -> Evidence) {
    let (table_name, copy_name) = (candidates[table].name.clone(), candidates[copy].name.clone());
    let tie = Tie { tensor: candidates[copy].tensor, name: copy_name.clone(), role: candidates[copy].role };
    candidates[table].tied.push(tie);
    candidates[table].evidence.push(tied(copy_name));
    candidates[copy].evidence.push(tied(table_name.clone()));
    candidates[copy].same_as = Some(table_name);
}

/// Holds what the config says against what the bytes say. The bytes decide; a contradiction is noted on both sides.
pub(super) fn compare_with_config(candidates: &mut [Candidate], facts: &Facts) {
    let Some(claim) = &facts.tie else { return };
    let heads: Vec<usize> = (0..candidates.len()).filter(|&at| candidates[at].role == Role::OutputHead).collect();
    for &head in &heads {
        let tied_to = |one: &Candidate| Some(&one.name) == candidates[head].same_as.as_ref();
        let alike =
            |one: &Candidate| one.role == Role::Token && one.same_as.is_none() && one.shape == candidates[head].shape;
        let table = match candidates.iter().position(tied_to) {
            Some(table) => Some((table, true)),
            None => candidates.iter().position(alike).map(|table| (table, false)),
        };
        match table {
            Some((table, tied)) if tied != claim.tied => {
                let evidence = |with: String| match tied {
                    true => Evidence::TiedAgainstConfig { with, claim: claim.text.clone() },
                    false => Evidence::TieContradicted { with, claim: claim.text.clone() },
                };
                let (table_name, head_name) = (candidates[table].name.clone(), candidates[head].name.clone());
                candidates[table].evidence.push(evidence(head_name));
                candidates[head].evidence.push(evidence(table_name));
            }
            _ => {}
        }
    }
    let expects_head = facts.has_head.unwrap_or(claim.explicit);
    if heads.is_empty() && claim.tied && expects_head {
        // Where encoder and decoder have tables of their own, the head is the decoder's.
        let tables = || {
            (0..candidates.len()).filter(|&at| candidates[at].role == Role::Token && candidates[at].same_as.is_none())
        };
        let table = tables()
            .find(|&at| candidates[at].name.split('.').any(|part| part == "decoder"))
            .or_else(|| tables().next());
        if let Some(table) = table {
            candidates[table].evidence.push(Evidence::TiedByConfig { claim: claim.text.clone() });
        }
    }
}
