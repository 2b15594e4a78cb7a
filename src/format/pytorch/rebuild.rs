//! What the known globals of a pickle make of their arguments.

use super::value::{Global, Id, Objects, Storage, Tensor, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::tensor::Dtype;

/// Bytes of a key; PyTorch counts storages or writes their addresses.
const LONGEST_KEY: usize = 255;

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// The object that calling `global` with the tuple `arguments` stands for.
///
/// # Errors
/// [`ErrorKind::Malformed`] where the arguments do not fit.
pub(super) fn call(objects: &mut Objects, global: Global, arguments: Id) -> Result<Id> {
    let given = objects.items(arguments).ok_or_else(|| malformed("arguments of a REDUCE are no tuple"))?;
    let first = given.first().copied();
    let value = match global {
        Global::OrderedDict => Value::Dict(first.map(|pairs| items(objects, pairs)).transpose()?.unwrap_or_default()),
        Global::RebuildTensor => Value::Tensor(tensor(objects, given, None)?),
        Global::RebuildTypedTensor => {
            let dtype = given.get(6).map(|&id| objects.get(id));
            let Some(Value::Global(Global::Dtype(dtype))) = dtype else {
                return Err(malformed("a tensor of the pickle has no dtype"));
            };
            Value::Tensor(tensor(objects, given, Some(*dtype))?)
        }
        Global::RebuildParameter => match first {
            Some(id) if matches!(objects.get(id), Value::Tensor(_)) => return Ok(id),
            _ => return Err(malformed("a parameter of the pickle has no tensor")),
        },
        Global::Size => match first {
            Some(id) if objects.items(id).is_some() => return Ok(id),
            _ => return Err(malformed("a size of the pickle has no extents")),
        },
        Global::Device => Value::Device,
        Global::Storage(_) | Global::Dtype(_) => {
            return Err(Error::new(ErrorKind::Unsupported, "pickle calls a storage or a dtype"));
        }
    };
    objects.add(value)
}

/// The members of a list of pairs: an `OrderedDict` as Python 2 wrote it.
fn items(objects: &Objects, pairs: Id) -> Result<Vec<(Id, Id)>> {
    let wrong = || malformed("arguments of an OrderedDict are no pairs");
    let pairs = objects.items(pairs).ok_or_else(wrong)?;
    pairs
        .iter()
        .map(|&pair| match objects.items(pair) {
            Some(&[key, value]) => Ok((key, value)),
            _ => Err(wrong()),
        })
        .collect()
}

/// The storage that a persistent id names: `("storage", type, key, location, elements[, view])`.
pub(super) fn storage(objects: &Objects, id: Id) -> Result<Storage> {
    let given = objects.items(id).unwrap_or_default();
    let (Some(kind), Some(class), Some(key), Some(elements)) =
        (given.first().and_then(|&id| objects.text(id)), given.get(1), given.get(2), given.get(4))
    else {
        return Err(malformed("persistent id of the pickle is no storage").found(objects.get(id).kind()));
    };
    if kind != "storage" {
        return Err(Error::new(ErrorKind::Unsupported, "persistent id that no state dict needs")
            .expected("`storage`")
            .found(format!("`{}`", kind.escape_debug())));
    }
    let Value::Global(Global::Storage(dtype)) = *objects.get(*class) else {
        return Err(malformed("a storage of the pickle has no type").found(objects.get(*class).kind()));
    };
    let key = match objects.get(*key) {
        Value::Text(key) => key.clone(),
        Value::Integer(key) => key.to_string(),
        other => return Err(malformed("key of a storage is no string").found(other.kind())),
    };
    if key.len() > LONGEST_KEY {
        return Err(malformed("key of a storage is too long").expected(format!("at most {LONGEST_KEY} bytes")));
    }
    let elements =
        objects.natural(*elements).ok_or_else(|| malformed("length of a storage is no whole number from 0"))?;
    let view = match given.get(5).map(|&id| (objects.get(id), objects.items(id))) {
        None | Some((Value::None, _)) => None,
        Some((_, Some(&[_, offset, length]))) => {
            let range = objects.natural(offset).zip(objects.natural(length));
            let range = range.and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
            Some(range.filter(|range| range.end <= elements).ok_or_else(|| {
                malformed("view of a storage goes beyond it").expected(format!("at most {elements} elements"))
            })?)
        }
        Some(_) => return Err(malformed("view of a storage is of the wrong type")),
    };
    Ok(Storage { key, dtype, elements, view })
}

/// `(storage, offset, size, stride, ...)`.
fn tensor(objects: &Objects, given: &[Id], dtype: Option<Dtype>) -> Result<Tensor> {
    let &[storage, offset, size, stride, ..] = given else {
        return Err(malformed("a tensor of the pickle lacks arguments")
            .expected("a storage, an offset, a size and strides")
            .found(format!("{} arguments", given.len())));
    };
    let Value::Storage(storage) = objects.get(storage) else {
        return Err(malformed("a tensor of the pickle has no storage").found(objects.get(storage).kind()));
    };
    let numbers = |id, what: &str| {
        let items = objects.items(id).ok_or_else(|| malformed(format!("{what} of a tensor is no tuple")))?;
        if items.len() > limits::MAX_DIMENSIONS {
            return Err(malformed("too many dimensions")
                .expected(format!("at most {}", limits::MAX_DIMENSIONS))
                .found(items.len().to_string()));
        }
        let whole = || malformed(format!("{what} of a tensor is not of whole numbers from 0"));
        items.iter().map(|&id| objects.natural(id).ok_or_else(whole)).collect::<Result<Vec<u64>>>()
    };
    let offset = objects.natural(offset).ok_or_else(|| malformed("offset of a tensor is no whole number from 0"))?;
    let (shape, strides) = (numbers(size, "size")?, numbers(stride, "stride")?);
    if shape.len() != strides.len() {
        return Err(malformed("a tensor has not as many strides as dimensions")
            .expected(shape.len().to_string())
            .found(strides.len().to_string()));
    }
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>();
    let dtype = dtype.or(storage.dtype).ok_or_else(|| malformed("a tensor of the pickle has no dtype"))?;
    Ok(Tensor {
        storage: storage.clone(),
        dtype,
        offset,
        shape: shape.map_err(|error| malformed("size of a tensor overflows").caused_by(error))?,
        strides,
    })
}
