//! The nodes that make rows of a table from its parts.

#![expect(clippy::indexing_slicing, reason = "parts are those of a codec, whose number its arithmetic fixes")]

use std::collections::HashMap;

use super::super::build::{Op, PREFIX, put_constant, put_node, renamed};
use crate::codec::{Arithmetic, Granularity};
use crate::format::EncodedTable;
use crate::tensor::{Dtype, TensorMeta};

/// The decoder of one table. Nodes that depend on its parts alone are made when they are asked for first.
pub(super) struct Decoder<'t> {
    /// Of the table, among those of the conversion.
    number: usize,
    arithmetic: Arithmetic,
    parts: &'t [TensorMeta],
    /// What the graph computes with.
    dtype: Dtype,
    /// Columns of the table.
    columns: usize,
    /// Nodes that depend on parts alone, in order.
    pub(super) constants: Vec<u8>,
    /// Values that they give, by what they are.
    made: HashMap<String, String>,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(number: usize, arithmetic: Arithmetic, table: &'t EncodedTable<'_>) -> Self {
        let (parts, dtype) = (&table.parts[..], table.dense.dtype);
        let columns = table.dense.shape.last().copied().unwrap_or_default();
        Decoder { number, arithmetic, parts, dtype, columns, constants: Vec::new(), made: HashMap::new() }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Nodes after a Gather of codes that gives `rows`, by which `output` becomes rows of the table; none where they are
    /// that already.
    pub(super) fn lookup(&mut self, rows: &str, ids: &str, output: &str) -> Vec<u8> {
        let mut nodes = Vec::new();
        let mut steps: Vec<(Op, Option<String>)> = Vec::new();
        if self.parts[0].dtype != self.dtype {
            steps.push((Op::cast(self.dtype), None));
        }
        match self.arithmetic {
            Arithmetic::Values => {}
            Arithmetic::Scaled { has_zero_points, granularity } => {
                let mut of_rows = |part: usize, word: &str| {
                    if granularity == Granularity::Tensor {
                        return self.float(part);
                    }
                    let mut then = Vec::new();
                    if self.parts[part].dtype != self.dtype {
                        then.push((Op::cast(self.dtype), None, "stored"));
                    }
                    if let Granularity::Group(group) = granularity {
                        then.push((Op::Gather(-1), Some(self.groups_of_columns(group)), "groups"));
                    }
                    let named = |step: usize| match then.get(step) {
                        Some((_, _, before)) => renamed(&format!("{word}-{before}"), output),
                        None => renamed(word, output),
                    };
                    let mut from = named(0);
                    put_node(Op::Gather(0), &[&self.parts[part].name, ids], &from, &mut nodes);
                    for (step, (op, right, _)) in (1..).zip(&then) {
                        let inputs: Vec<&str> = std::iter::once(from.as_str()).chain(right.as_deref()).collect();
                        let to = named(step);
                        put_node(*op, &inputs, &to, &mut nodes);
                        from = to;
                    }
                    from
                };
                if has_zero_points {
                    steps.push((Op::Sub, Some(of_rows(2, "zero-points"))));
                }
                steps.push((Op::Mul, Some(of_rows(1, "scales"))));
            }
            Arithmetic::Product => steps.push((Op::MatMul, Some(self.right_of_lookups()))),
            Arithmetic::CodedProduct => {
                steps.push((Op::MatMul, Some(self.right_of_lookups())));
                let right = self.right();
                let offsets = self.grid(1, 0);
                let bias = self.make("bias", Op::MatMul, &[&right, &offsets]);
                steps.push((Op::Add, Some(bias)));
            }
        }
        let mut from = rows.to_owned();
        let last = steps.len().saturating_sub(1);
        for (number, (op, right)) in steps.iter().enumerate() {
            let to = if number == last { output.to_owned() } else { renamed(&format!("step{number}"), output) };
            let inputs: Vec<&str> = std::iter::once(from.as_str()).chain(right.as_deref()).collect();
            put_node(*op, &inputs, &to, &mut nodes);
            from = to;
        }
        nodes
    }

    /// The left factor, or the whole table where there are no factors, as numbers: for uses of the table called `name`,
    /// whose codes go by `codes`.
    pub(super) fn values(&mut self, name: &str, codes: &str) -> String {
        if self.is_plain() {
            return codes.to_owned();
        }
        let decoded = self.decoded();
        self.make_as(&format!("values of {name}"), &renamed("values", name), Op::Identity, &[&decoded])
    }

    /// The same transposed, for uses of the folded copy called `name`.
    pub(super) fn transposed(&mut self, name: &str) -> String {
        let decoded = if self.is_plain() { self.parts[0].name.clone() } else { self.decoded() };
        self.make_as(&format!("transposed {name}"), &renamed("transposed", name), Op::Transpose, &[&decoded])
    }

    /// B transposed `[d, k]`, which heads multiply by first, where there are factors.
    pub(super) fn right_of_heads(&mut self) -> Option<String> {
        self.arithmetic.is_product().then(|| self.right())
    }

    /// Whether part 0 is the left factor or the table as it is.
    fn is_plain(&self) -> bool {
        matches!(self.arithmetic, Arithmetic::Values | Arithmetic::Product) && self.parts[0].dtype == self.dtype
    }

    /// Part 0 decoded.
    fn decoded(&mut self) -> String {
        let codes = self.float(0);
        match self.arithmetic {
            Arithmetic::Values | Arithmetic::Product => codes,
            Arithmetic::Scaled { has_zero_points, granularity } => {
                let scales = self.of_columns(1, granularity);
                let from = if has_zero_points {
                    let zero_points = self.of_columns(2, granularity);
                    self.make("difference", Op::Sub, &[&codes, &zero_points])
                } else {
                    codes
                };
                self.make("decoded", Op::Mul, &[&from, &scales])
            }
            Arithmetic::CodedProduct => {
                let (steps, offsets) = (self.grid(1, 1), self.grid(1, 0));
                let scaled = self.make("left-scaled", Op::Mul, &[&codes, &steps]);
                self.make("left", Op::Add, &[&scaled, &offsets])
            }
        }
    }

    /// B transposed `[d, k]`.
    fn right(&mut self) -> String {
        if self.arithmetic == Arithmetic::Product {
            return self.float(1);
        }
        let codes = self.float(2);
        let (steps, offsets) = (self.grid(3, 1), self.grid(3, 0));
        let scaled = self.make("right-scaled", Op::Mul, &[&codes, &steps]);
        self.make("right", Op::Add, &[&scaled, &offsets])
    }

    /// B `[k, d]`; with the steps of the left codes in it, so that a row of codes needs nothing but a cast.
    fn right_of_lookups(&mut self) -> String {
        let mut right = self.right();
        if self.arithmetic == Arithmetic::CodedProduct {
            let steps = self.grid(1, 1);
            right = self.make("right-folded", Op::Mul, &[&right, &steps]);
        }
        self.make("right-transposed", Op::Transpose, &[&right])
    }

    /// Part `part`, a number for each group of columns, as numbers that go with codes.
    fn of_columns(&mut self, part: usize, granularity: Granularity) -> String {
        let groups = self.float(part);
        let Granularity::Group(group) = granularity else { return groups };
        let columns = self.groups_of_columns(group);
        self.make(&format!("columns{part}"), Op::Gather(1), &[&groups, &columns])
    }

    /// For each column its group of `group` columns: looking up by it spreads numbers of groups over columns, for rows
    /// of any shape, where a reshaping would need the shape of the indices.
    fn groups_of_columns(&mut self, group: usize) -> String {
        let groups: Vec<i64> = (0..self.columns).map(|column| column.div_euclid(group) as i64).collect();
        self.constant("groups", &[self.columns], &groups)
    }

    /// Part `part` in the type of the table.
    fn float(&mut self, part: usize) -> String {
        let meta = &self.parts[part];
        if meta.dtype == self.dtype {
            return meta.name.clone();
        }
        let op = Op::cast(self.dtype);
        self.make(&format!("float{part}"), op, &[&meta.name])
    }

    /// Column `column` of the grids in part `part`: offsets, then steps.
    fn grid(&mut self, part: usize, column: i64) -> String {
        let grids = self.float(part);
        let at = self.constant(&format!("column{column}"), &[], &[column]);
        self.make(&format!("grid{part}-{column}"), Op::Gather(1), &[&grids, &at])
    }

    /// The array `values` of `shape`, made where it was not made before.
    fn constant(&mut self, what: &str, shape: &[usize], values: &[i64]) -> String {
        let name = format!("{PREFIX}{}/{what}", self.number);
        if !self.made.contains_key(what) {
            put_constant(shape, values, &name, &mut self.constants);
            self.made.insert(what.to_owned(), name.clone());
        }
        name
    }

    fn make(&mut self, what: &str, op: Op, inputs: &[&str]) -> String {
        let name = format!("{PREFIX}{}/{what}", self.number);
        self.make_as(what, &name, op, inputs)
    }

    /// The value `name`, made by `op` of `inputs` where it was not made before.
    fn make_as(&mut self, what: &str, name: &str, op: Op, inputs: &[&str]) -> String {
        if let Some(made) = self.made.get(what) {
            return made.clone();
        }
        put_node(op, inputs, name, &mut self.constants);
        self.made.insert(what.to_owned(), name.to_owned());
        name.to_owned()
    }
}
