//! Numbers of the fields that are looked at, by message: those of `onnx.proto` (ONNX 1.23, IR version 13).

/// `ModelProto`.
pub(super) mod model {
    pub(in super::super) const IR_VERSION: u32 = 1;
    pub(in super::super) const GRAPH: u32 = 7;
    pub(in super::super) const OPSET_IMPORT: u32 = 8;
    pub(in super::super) const METADATA: u32 = 14;
    pub(in super::super) const TRAINING: u32 = 20;
    /// Every field with its wire type.
    pub(in super::super) const FIELDS: &[(u32, u8)] =
        &[(1, 0), (2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (7, 2), (8, 2), (14, 2), (20, 2), (25, 2), (26, 2)];
}

/// `OperatorSetIdProto`.
pub(super) mod opset {
    pub(in super::super) const DOMAIN: u32 = 1;
    pub(in super::super) const VERSION: u32 = 2;
}

/// `StringStringEntryProto`.
pub(super) mod entry {
    pub(in super::super) const KEY: u32 = 1;
    pub(in super::super) const VALUE: u32 = 2;
}

/// `GraphProto`.
pub(super) mod graph {
    pub(in super::super) const NODE: u32 = 1;
    pub(in super::super) const INITIALIZER: u32 = 5;
    pub(in super::super) const INPUT: u32 = 11;
    pub(in super::super) const OUTPUT: u32 = 12;
    pub(in super::super) const VALUE_INFO: u32 = 13;
}

/// `NodeProto`.
pub(super) mod node {
    pub(in super::super) const INPUT: u32 = 1;
    pub(in super::super) const OUTPUT: u32 = 2;
    pub(in super::super) const NAME: u32 = 3;
    pub(in super::super) const OP_TYPE: u32 = 4;
    pub(in super::super) const ATTRIBUTE: u32 = 5;
    pub(in super::super) const DOMAIN: u32 = 7;
}

/// `AttributeProto`.
pub(super) mod attribute {
    pub(in super::super) const NAME: u32 = 1;
    pub(in super::super) const INT: u32 = 3;
    pub(in super::super) const TENSOR: u32 = 5;
    pub(in super::super) const GRAPH: u32 = 6;
    pub(in super::super) const INTS: u32 = 8;
    pub(in super::super) const GRAPHS: u32 = 11;
    pub(in super::super) const TYPE: u32 = 20;
    /// `AttributeType.INT`.
    pub(in super::super) const TYPE_INT: u64 = 2;
    /// `AttributeType.TENSOR`.
    pub(in super::super) const TYPE_TENSOR: u64 = 4;
}

/// `ValueInfoProto`, `TypeProto` and `TypeProto.Tensor`, whose fields that are looked at have the same number.
pub(super) mod value_info {
    pub(in super::super) const NAME: u32 = 1;
    pub(in super::super) const TYPE: u32 = 2;
    pub(in super::super) const TENSOR_TYPE: u32 = 1;
    pub(in super::super) const ELEM_TYPE: u32 = 1;
}

/// `TensorProto`.
pub(super) mod tensor {
    pub(in super::super) const DIMS: u32 = 1;
    pub(in super::super) const DATA_TYPE: u32 = 2;
    pub(in super::super) const SEGMENT: u32 = 3;
    pub(in super::super) const FLOAT_DATA: u32 = 4;
    pub(in super::super) const INT32_DATA: u32 = 5;
    pub(in super::super) const STRING_DATA: u32 = 6;
    pub(in super::super) const INT64_DATA: u32 = 7;
    pub(in super::super) const NAME: u32 = 8;
    pub(in super::super) const RAW_DATA: u32 = 9;
    pub(in super::super) const DOUBLE_DATA: u32 = 10;
    pub(in super::super) const UINT64_DATA: u32 = 11;
    pub(in super::super) const EXTERNAL_DATA: u32 = 13;
    pub(in super::super) const DATA_LOCATION: u32 = 14;
    /// `DataLocation.EXTERNAL`.
    pub(in super::super) const EXTERNAL: u64 = 1;
}
