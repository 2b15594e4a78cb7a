//! A reader of pickles that runs nothing: an interpreter of the opcodes and globals that state dicts need, and no
//! others. Written after CPython's `Lib/pickletools.py`, which describes every opcode.

use std::collections::HashMap;

use super::rebuild;
use super::value::{Global, Id, Objects, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// Reads one pickle after the other from the same bytes.
pub(super) struct Unpickler<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Objects of all pickles read so far.
    pub(super) objects: Objects,
}

/// The state of one pickle.
#[derive(Default)]
struct Machine {
    stack: Vec<Id>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Unpickler<'a> {
    /// Reads from the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Unpickler { bytes, position: 0, objects: Objects::default() }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Reads the next pickle.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an opcode or global that no state dict needs, by its name, and where a cap is
    /// exceeded; [`ErrorKind::Malformed`] where the pickle ends early or contradicts itself.
    pub(super) fn load(&mut self) -> Result<Id> {
        let mut machine = Machine::default();
        loop {
            let place = self.position;
            let [opcode] = self.array()?;
            // Marks and references from the memo make no objects, so nothing else counts them.
            if machine.stack.len().saturating_add(machine.marks.len()) > limits::MAX_OBJECTS {
                return Err(Error::new(ErrorKind::Unsupported, "stack of the pickle is too deep")
                    .expected(format!("at most {} entries", limits::MAX_OBJECTS)));
            }
            match self.step(opcode, &mut machine) {
                Ok(None) => {}
                Ok(Some(result)) => return Ok(result),
                Err(error) => return Err(error.hint(format!("at byte {place} of the pickle; {ADVICE}"))),
            }
        }
    }

    fn step(&mut self, opcode: u8, machine: &mut Machine) -> Result<Option<Id>> {
        let value = match opcode {
            b'.' => return machine.pop().map(Some),
            0x80 => {
                let [version] = self.array()?;
                if version > 5 {
                    return Err(Error::new(ErrorKind::Unsupported, "pickle of an unknown protocol")
                        .expected("at most 5")
                        .found(version.to_string()));
                }
                return Ok(None);
            }
            // The length of a frame only helps readers of streams.
            0x95 => {
                self.array::<8>()?;
                return Ok(None);
            }
            b'(' => {
                machine.marks.push(machine.stack.len());
                return Ok(None);
            }
            b'0' => {
                machine.pop()?;
                return Ok(None);
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => return self.memo(opcode, machine).map(|()| None),
            b'a' | b'e' | b's' | b'u' | 0x90 | b'b' => return self.fill(opcode, machine).map(|()| None),
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Integer(self.array::<1>()?[0].into()),
            b'M' => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            0x8a | 0x8b => self.long(opcode)?,
            b'G' => {
                self.array::<8>()?;
                Value::Float
            }
            b'X' => self.text::<4>()?,
            0x8c => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            // Strings of Python 2: names of parameters and keys of storages.
            b'T' => self.text::<4>()?,
            b'U' => self.text::<1>()?,
            b'C' => self.binary::<1>()?,
            b'B' => self.binary::<4>()?,
            b']' => Value::List(Vec::new()),
            b'l' => Value::List(machine.above_mark()?),
            b'}' => Value::Dict(Vec::new()),
            b'd' => Value::Dict(pairs(&machine.above_mark()?)?),
            b')' => Value::Tuple(Vec::new()),
            b't' => Value::Tuple(machine.above_mark()?),
            0x85 => Value::Tuple(machine.top(1)?),
            0x86 => Value::Tuple(machine.top(2)?),
            0x87 => Value::Tuple(machine.top(3)?),
            0x8f => Value::Set,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Global(global(&module, &name)?)
            }
            0x93 => {
                let [module, global_name] = machine.pair()?;
                let name = |id| self.objects.text(id).ok_or_else(|| malformed("name of a global is no string"));
                Value::Global(global(name(module)?, name(global_name)?)?)
            }
            b'Q' => {
                let id = machine.pop()?;
                Value::Storage(rebuild::storage(&self.objects, id)?)
            }
            b'R' => return self.reduce(machine).map(|()| None),
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, "opcode that no state dict needs")
                    .found(format!("{} (0x{opcode:02x})", opcode_name(opcode))));
            }
        };
        let id = self.objects.add(value)?;
        machine.stack.push(id);
        Ok(None)
    }

    /// Opcodes that put into the memo or take from it.
    fn memo(&mut self, opcode: u8, machine: &mut Machine) -> Result<()> {
        let key = match opcode {
            b'q' | b'h' => self.array::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?).into(),
            _ => machine.memo.len() as u64,
        };
        if matches!(opcode, b'h' | b'j') {
            let id = machine.memo.get(&key).copied();
            machine.stack.push(
                id.ok_or_else(|| malformed("pickle asks its memo for what it never put there").found(key.to_string()))?,
            );
            return Ok(());
        }
        let top = machine.stack.last().copied().ok_or_else(underflow)?;
        if machine.memo.len() >= limits::MAX_OBJECTS {
            return Err(Error::new(ErrorKind::Unsupported, "memo of the pickle is too large")
                .expected(format!("at most {} entries", limits::MAX_OBJECTS)));
        }
        machine.memo.insert(key, top);
        Ok(())
    }

    /// Opcodes that change the container below what they take from the stack.
    fn fill(&mut self, opcode: u8, machine: &mut Machine) -> Result<()> {
        let items = match opcode {
            b'a' | b'b' => machine.top(1)?,
            b's' => machine.top(2)?,
            _ => machine.above_mark()?,
        };
        let container = machine.stack.last().copied().ok_or_else(underflow)?;
        let wrong = |found: &Value| malformed("pickle fills what is no container of that kind").found(found.kind());
        match (opcode, self.objects.get_mut(container)) {
            (b'a' | b'e', Value::List(list)) => list.extend(items),
            (b's' | b'u', Value::Dict(members)) => members.extend(pairs(&items)?),
            (0x90, Value::Set) => {}
            // Attributes of an `OrderedDict`, such as the `_metadata` of a state dict: versions of modules.
            (b'b', Value::Dict(_)) => {}
            (b'b', found) => {
                return Err(Error::new(ErrorKind::Unsupported, "BUILD of an object that no state dict needs")
                    .expected("an OrderedDict")
                    .found(found.kind()));
            }
            (_, found) => return Err(wrong(found)),
        }
        Ok(())
    }

    fn reduce(&mut self, machine: &mut Machine) -> Result<()> {
        let [callable, arguments] = machine.pair()?;
        let Value::Global(global) = *self.objects.get(callable) else {
            return Err(Error::new(ErrorKind::Unsupported, "REDUCE of what is no known function")
                .found(self.objects.get(callable).kind()));
        };
        let id = rebuild::call(&mut self.objects, global, arguments)?;
        machine.stack.push(id);
        Ok(())
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            malformed("pickle ends early").expected(format!("{length} bytes more")).found(format!("{}", rest.len()))
        })?;
        self.position = self.position.saturating_add(taken.len());
        if self.position > limits::MAX_PICKLE {
            return Err(Error::new(ErrorKind::Unsupported, "pickle is too long")
                .expected(format!("at most {} bytes without the storages", limits::MAX_PICKLE)));
        }
        Ok(taken)
    }

    fn array<const WIDTH: usize>(&mut self) -> Result<[u8; WIDTH]> {
        let mut array = [0; WIDTH];
        array.copy_from_slice(self.bytes(WIDTH as u64)?);
        Ok(array)
    }

    /// A little-endian length of `WIDTH` bytes.
    fn length<const WIDTH: usize>(&mut self) -> Result<u64> {
        Ok(self.array::<WIDTH>()?.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte)))
    }

    fn binary<const WIDTH: usize>(&mut self) -> Result<Value> {
        let length = self.length::<WIDTH>()?;
        self.bytes(length)?;
        Ok(Value::Bytes)
    }

    fn text<const WIDTH: usize>(&mut self) -> Result<Value> {
        let length = self.length::<WIDTH>()?;
        let bytes = self.bytes(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|error| malformed("string of the pickle is not UTF-8").caused_by(error))?;
        Ok(Value::Text(text.to_owned()))
    }

    /// A line of an opcode of the text protocol.
    fn line(&mut self) -> Result<String> {
        const LONGEST: usize = 1024;
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let end = rest.iter().take(LONGEST).position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| malformed("name of a global does not end"))?;
        let line = self.bytes(end as u64)?;
        self.bytes(1)?;
        let text =
            std::str::from_utf8(line).map_err(|error| malformed("name of a global is not UTF-8").caused_by(error))?;
        Ok(text.to_owned())
    }

    /// An integer of any length, which is held to what an `i128` takes.
    fn long(&mut self, opcode: u8) -> Result<Value> {
        let length = if opcode == 0x8a { self.length::<1>()? } else { self.length::<4>()? };
        if length > limits::MAX_INTEGER as u64 {
            return Err(Error::new(ErrorKind::Unsupported, "integer of the pickle is too long")
                .expected(format!("at most {} bytes", limits::MAX_INTEGER))
                .found(length.to_string()));
        }
        let bytes = self.bytes(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; limits::MAX_INTEGER];
        for (wide, byte) in wide.iter_mut().zip(bytes) {
            *wide = *byte;
        }
        Ok(Value::Integer(i128::from_le_bytes(wide)))
    }
}

/// What to do about a pickle of something else.
const ADVICE: &str = "in Python, save the state dict alone: `torch.save(model.state_dict(), \"model.bin\")`";

fn underflow() -> Error {
    malformed("pickle takes from an empty stack")
}

impl Machine {
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    /// Takes the last `count`.
    fn top(&mut self, count: usize) -> Result<Vec<Id>> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(start))
    }

    /// The two uppermost, the deeper first.
    fn pair(&mut self) -> Result<[Id; 2]> {
        let pair = self.top(2)?;
        pair.try_into().map_err(|_| underflow())
    }

    /// Takes what lies above the last mark, and the mark.
    fn above_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| malformed("pickle looks for a mark that it never set"))?;
        Ok(self.stack.split_off(mark))
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(malformed("pickle has a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn global(module: &str, name: &str) -> Result<Global> {
    Global::find(module, name).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "pickle needs a class or function that no state dict needs").found(format!(
            "`{}.{}`",
            module.escape_debug(),
            name.escape_debug()
        ))
    })
}

/// The name of an opcode in Python's `pickletools`.
fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'F' => "FLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'P' => "PERSID",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'g' => "GET",
        b'i' => "INST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x81 => "NEWOBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8e => "BINBYTES8",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "no opcode",
    }
}
