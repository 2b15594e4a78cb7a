//! The tensors of a checkpoint's object by name, however training scripts have wrapped them.

use super::value::{Id, Objects, Tensor, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// Keys under which scripts keep the state dict beside an epoch, an optimizer and so on, the likeliest first.
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];
/// What `DataParallel` puts before every name.
const PARALLEL: &str = "module.";
/// Entries that a warning lists.
const LISTED: usize = 8;

/// The state dict of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Tensors by name, in the order of the dict.
    pub(super) tensors: Vec<(String, Tensor)>,
    /// What was left out, for the user to know.
    pub(super) warnings: Vec<String>,
}

/// Finds the tensors of `root`; a lone tensor is called `alone`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where there is none, or where containers are nested too deeply or without end.
pub(super) fn state_dict(objects: &Objects, root: Id, alone: &str) -> Result<State> {
    let mut state = State::default();
    let mut walk = Walk { objects, visited: 0, held: 0, state: &mut state, others: Vec::new() };
    let (dict, wrapper) = walk.unwrap(root);
    walk.collect(dict, &mut String::new(), alone, 0)?;
    let others = std::mem::take(&mut walk.others);
    if state.tensors.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "no tensors in the pickle")
            .expected("a state dict: tensors by name")
            .found(objects.get(root).kind()));
    }
    if !others.is_empty() {
        state.warnings.push(format!("entries that are no tensors are left out: {}", list(&others)));
    }
    if let Some((key, beside)) = wrapper.filter(|(_, beside)| !beside.is_empty()) {
        state.warnings.push(format!("the weights are those under `{key}`; left out: {}", list(&beside)));
    }
    if state.tensors.iter().all(|(name, _)| name.len() > PARALLEL.len() && name.starts_with(PARALLEL)) {
        for (name, _) in &mut state.tensors {
            name.drain(..PARALLEL.len());
        }
    }
    Ok(state)
}

fn list(names: &[String]) -> String {
    let mut text =
        names.iter().take(LISTED).map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text.push_str(&format!(" and {} more", names.len().saturating_sub(LISTED)));
    }
    text
}

/// The key of a wrapper, and the keys beside it.
type Wrapper = (&'static str, Vec<String>);

/// An extent and a stride.
const BYTES_A_DIMENSION: usize = 16;

struct Walk<'a> {
    objects: &'a Objects,
    visited: usize,
    /// Bytes of the names and shapes found.
    held: usize,
    state: &'a mut State,
    others: Vec<String>,
}

impl Walk<'_> {
    /// The dict of tensors below wrappers, and the last wrapper's key with the keys beside it.
    fn unwrap(&self, root: Id) -> (Id, Option<Wrapper>) {
        let Value::Dict(members) = self.objects.get(root) else { return (root, None) };
        for wrapper in WRAPPERS {
            let inner = members.iter().find(|(key, _)| self.objects.text(*key) == Some(wrapper));
            let Some(&(_, inner)) = inner else { continue };
            if matches!(self.objects.get(inner), Value::Dict(inner) if self.has_tensors(inner)) {
                let keys = members.iter().map(|&(key, _)| self.key(key));
                let beside = keys.filter(|key| key != wrapper).collect();
                return (inner, Some((wrapper, beside)));
            }
        }
        (root, None)
    }

    fn has_tensors(&self, members: &[(Id, Id)]) -> bool {
        members.iter().any(|&(_, value)| matches!(self.objects.get(value), Value::Tensor(_) | Value::Dict(_)))
    }

    fn key(&self, key: Id) -> String {
        match self.objects.get(key) {
            Value::Text(text) => text.clone(),
            Value::Integer(value) => value.to_string(),
            other => format!("({})", other.kind()),
        }
    }

    /// Adds the tensors of `id`, whose name so far is `name`.
    fn collect(&mut self, id: Id, name: &mut String, alone: &str, depth: usize) -> Result<()> {
        self.visited = self.visited.saturating_add(1);
        if depth > limits::MAX_NESTING || self.visited > limits::MAX_OBJECTS {
            return Err(Error::new(ErrorKind::Unsupported, "containers of the pickle are nested without end")
                .expected(format!("at most {} levels", limits::MAX_NESTING)));
        }
        let length = name.len();
        let objects = self.objects;
        self.held = self.held.saturating_add(match objects.get(id) {
            Value::Tensor(tensor) => BYTES_A_DIMENSION.saturating_mul(tensor.shape.len()).saturating_add(length),
            Value::List(_) | Value::Tuple(_) => 0,
            Value::Dict(members) => BYTES_A_DIMENSION.saturating_mul(members.len()).saturating_add(length),
            _ => length,
        });
        if self.held > limits::MAX_PICKLE {
            return Err(Error::new(ErrorKind::Unsupported, "tensors of the pickle have too long names together")
                .expected(format!("at most {} bytes", limits::MAX_PICKLE)));
        }
        match objects.get(id) {
            Value::Tensor(tensor) => {
                let name = if depth == 0 { alone.to_owned() } else { name.clone() };
                self.state.tensors.push((name, tensor.clone()));
            }
            Value::Dict(members) => {
                // Of two members of one name the last counts, as in Python, at the place of the first.
                let mut places = std::collections::HashMap::new();
                let mut ordered: Vec<(String, Id)> = Vec::with_capacity(members.len());
                for &(key, value) in members {
                    let key = self.key(key);
                    match places.get(&key).and_then(|&place: &usize| ordered.get_mut(place)) {
                        Some((_, earlier)) => *earlier = value,
                        None => {
                            places.insert(key.clone(), ordered.len());
                            ordered.push((key, value));
                        }
                    }
                }
                for (key, value) in ordered {
                    self.descend(&key, value, name, alone, depth)?;
                    name.truncate(length);
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (number, &item) in items.iter().enumerate() {
                    self.descend(&number.to_string(), item, name, alone, depth)?;
                    name.truncate(length);
                }
            }
            _ => self.others.push(name.clone()),
        }
        Ok(())
    }

    fn descend(&mut self, key: &str, id: Id, name: &mut String, alone: &str, depth: usize) -> Result<()> {
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(key);
        self.collect(id, name, alone, depth.saturating_add(1))
    }
}
