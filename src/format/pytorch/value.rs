//! What a pickle makes, as plain data.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;
use crate::tensor::Dtype;

/// An object by its number in [`Objects`]. The same number in two places is the same object.
pub(super) type Id = u32;

/// A name that a pickle imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`, which has the dtype as its last argument.
    RebuildTypedTensor,
    /// `torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`.
    RebuildParameter,
    /// `torch.Size`.
    Size,
    /// `torch.device`.
    Device,
    /// `torch.FloatStorage` and its like; `None` for the one of bytes without a type.
    Storage(Option<Dtype>),
    /// `torch.float32` and its like.
    Dtype(Dtype),
}

/// One object of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i128),
    Float,
    Text(String),
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set,
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
    Device,
}

/// A storage as a pickle refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its key in the archive.
    pub(super) key: String,
    /// `None` for bytes without a type.
    pub(super) dtype: Option<Dtype>,
    /// Number of elements, bytes where there is no type.
    pub(super) elements: u64,
    /// The part that a view of it (of old files) takes, in elements.
    pub(super) view: Option<Range<u64>>,
}

/// A tensor as a pickle describes it, in elements of its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) dtype: Dtype,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<u64>,
}

impl Value {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Integer(_) => "an integer",
            Value::Float => "a float",
            Value::Text(_) => "a string",
            Value::Bytes => "bytes",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Set => "a set",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class or function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Device => "a device",
        }
    }
}

impl Global {
    /// The global called `module.name`, if it is one of the few that state dicts need.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTypedTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
            ("torch", "Size") => Global::Size,
            ("torch", "device") => Global::Device,
            ("torch.storage", "UntypedStorage") => Global::Storage(None),
            ("torch" | "torch.cuda", _) if name.ends_with("Storage") => Global::Storage(match name {
                "UntypedStorage" => None,
                _ => Some(storage_dtype(name)?),
            }),
            ("torch", _) => Global::Dtype(torch_dtype(name)?),
            _ => return None,
        })
    }
}

fn storage_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "ComplexFloatStorage" => Dtype::C64,
        _ => return None,
    })
}

fn torch_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        "complex64" => Dtype::C64,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        _ => return None,
    })
}

/// References and numbers for each object that a pickle may make.
const HELD: usize = 4;

/// Every object that a pickle has made. They refer to each other by number, so that a deep or cyclic one is no danger
/// to the stack.
#[derive(Debug, Default)]
pub(super) struct Objects {
    values: Vec<Value>,
    /// References and numbers that they hold, against pickles that copy a long list many times.
    held: usize,
}

impl Objects {
    /// Adds one.
    pub(super) fn add(&mut self, value: Value) -> Result<Id> {
        self.held = self.held.saturating_add(match &value {
            Value::List(items) | Value::Tuple(items) => items.len(),
            Value::Dict(members) => members.len().saturating_mul(2),
            Value::Tensor(tensor) => tensor.shape.len().saturating_mul(4).saturating_add(tensor.storage.key.len()),
            Value::Storage(storage) => storage.key.len(),
            _ => 0,
        });
        if self.values.len() >= limits::MAX_OBJECTS || self.held > HELD * limits::MAX_OBJECTS {
            return Err(Error::new(ErrorKind::Unsupported, "pickle makes too many objects")
                .expected(format!("at most {}", limits::MAX_OBJECTS)));
        }
        let id = self.values.len() as Id;
        self.values.push(value);
        Ok(id)
    }

    /// The object `id`, which [`Objects::add`] gave.
    #[expect(clippy::indexing_slicing, reason = "an `Id` is made by `add` alone, and nothing is removed")]
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// Every storage that was named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The same, to be changed.
    #[expect(clippy::indexing_slicing, reason = "an `Id` is made by `add` alone, and nothing is removed")]
    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id as usize]
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A string.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer from 0.
    pub(super) fn natural(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Integer(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }
}
