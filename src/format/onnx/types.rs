//! Element types: ONNX's numbers for ours.

use crate::tensor::Dtype;

/// `TensorProto.DataType` of every dtype that ONNX has.
const TYPES: &[(u64, Dtype)] = &[
    (1, Dtype::F32),
    (2, Dtype::U8),
    (3, Dtype::I8),
    (4, Dtype::U16),
    (5, Dtype::I16),
    (6, Dtype::I32),
    (7, Dtype::I64),
    (9, Dtype::Bool),
    (10, Dtype::F16),
    (11, Dtype::F64),
    (12, Dtype::U32),
    (13, Dtype::U64),
    (14, Dtype::C64),
    (16, Dtype::BF16),
    (17, Dtype::F8_E4M3),
    (18, Dtype::F8_E4M3FNUZ),
    (19, Dtype::F8_E5M2),
    (20, Dtype::F8_E5M2FNUZ),
    (24, Dtype::F8_E8M0),
];

/// INT32 and INT64: what indices of a Gather are.
pub(super) const INDICES: [u64; 2] = [6, 7];

/// The dtype of a `data_type`; `None` for text, INT4 and others that have no dtype here.
pub(super) fn dtype(data_type: u64) -> Option<Dtype> {
    TYPES.iter().find(|(number, _)| *number == data_type).map(|&(_, dtype)| dtype)
}

/// The `data_type` of a dtype, where ONNX has it.
pub(super) fn data_type(dtype: Dtype) -> Option<u64> {
    TYPES.iter().find(|(_, own)| *own == dtype).map(|&(number, _)| number)
}
