//! The stack machine that pickles are programs for.

use std::collections::HashMap;

use super::{Global, Id, Node, Object, Pickle, PickleError, PickleErrorKind, opcode as op};
use crate::source::error::shortened;

/// Largest pickle read. One of a thousand tensors takes a hundred kilobytes: the numbers lie outside.
const MOST_BYTES: usize = 16 << 20;

/// Most values one pickle may make, and remember.
const MOST_NODES: usize = 1 << 21;

/// Longest name of a global, module and name each.
const LONGEST_NAME: usize = 1 << 10;

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Offset of the opcode being done.
    offset: usize,
    allowed: &'a dyn Fn(&str, &str) -> bool,
    nodes: Vec<Node>,
    offsets: Vec<u32>,
    stack: Vec<Id>,
    /// Stack heights at each `MARK` not yet taken.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step<T = ()> = Result<T, PickleErrorKind>;

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8], allowed: &'a dyn Fn(&str, &str) -> bool) -> Result<Self, PickleError> {
        let fail = |kind| Err(PickleError { offset: 0, kind });
        if bytes.len() > MOST_BYTES {
            return fail(PickleErrorKind::TooLarge {
                what: "bytes",
                limit: MOST_BYTES,
            });
        }
        match bytes {
            [] => return fail(PickleErrorKind::CutOff),
            [op::PROTO, 2..=5, ..] => {}
            _ => return fail(PickleErrorKind::Protocol),
        }
        Ok(Self {
            bytes,
            position: 2,
            offset: 0,
            allowed,
            nodes: Vec::new(),
            offsets: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<Pickle, PickleError> {
        loop {
            self.offset = self.position;
            match self.step() {
                Ok(false) => {}
                Ok(true) => break,
                Err(kind) => {
                    return Err(PickleError {
                        offset: self.offset as u64,
                        kind,
                    });
                }
            }
        }
        let (&[root], []) = (&self.stack[..], &self.marks[..]) else {
            let kind = PickleErrorKind::Invalid("the pickle does not end with one value".into());
            return Err(PickleError {
                offset: self.offset as u64,
                kind,
            });
        };
        Ok(Pickle {
            nodes: self.nodes,
            offsets: self.offsets,
            root,
            consumed: self.position,
        })
    }

    /// Does one opcode; `true` when it was the last.
    fn step(&mut self) -> Step<bool> {
        let [opcode] = *self.array()?;
        match opcode {
            op::STOP => return Ok(true),
            op::PROTO => return Err(invalid("PROTO again in the middle")),
            op::FRAME => {
                // Frames only tell readers how much to buffer.
                let len = u64::from_le_bytes(*self.array()?);
                if len > (self.bytes.len() - self.position) as u64 {
                    return Err(PickleErrorKind::CutOff);
                }
            }
            op::NONE => self.push(Node::None)?,
            op::NEWTRUE => self.push(Node::Bool(true))?,
            op::NEWFALSE => self.push(Node::Bool(false))?,
            op::BININT => {
                let value = i32::from_le_bytes(*self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            op::BININT1 => {
                let [value] = *self.array()?;
                self.push(Node::Int(value.into()))?;
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(*self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            op::LONG1 | op::LONG4 => {
                let len = if opcode == op::LONG1 {
                    self.len1()?
                } else {
                    self.len4()?
                };
                let node = long(self.take(len)?);
                self.push(node)?;
            }
            op::BINFLOAT => {
                let value = f64::from_be_bytes(*self.array()?);
                self.push(Node::Float(value))?;
            }
            op::SHORT_BINUNICODE => {
                let len = self.len1()?;
                self.push_text(len)?;
            }
            op::BINUNICODE => {
                let len = self.len4()?;
                self.push_text(len)?;
            }
            op::BINUNICODE8 => {
                let len = self.len8()?;
                self.push_text(len)?;
            }
            op::SHORT_BINBYTES | op::SHORT_BINSTRING => {
                let len = self.len1()?;
                self.push_bytes(len)?;
            }
            op::BINBYTES | op::BINSTRING => {
                let len = self.len4()?;
                self.push_bytes(len)?;
            }
            op::BINBYTES8 | op::BYTEARRAY8 => {
                let len = self.len8()?;
                self.push_bytes(len)?;
            }
            op::EMPTY_LIST => self.push(Node::List(Vec::new()))?,
            op::EMPTY_TUPLE => self.push(Node::Tuple([].into()))?,
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new()))?,
            op::EMPTY_SET => self.push(Node::Set(Vec::new()))?,
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => match self.marks.last() {
                // Python's machine lets POP take a mark too.
                Some(mark) if *mark == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            op::POP_MARK => drop(self.pop_mark()?),
            op::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            op::TUPLE => {
                let elements = self.pop_mark()?;
                self.push(Node::Tuple(elements.into()))?;
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let count = usize::from(opcode - op::TUPLE1) + 1;
                let elements = self.pop_several(count)?;
                self.push(Node::Tuple(elements.into()))?;
            }
            op::LIST => {
                let elements = self.pop_mark()?;
                self.push(Node::List(elements))?;
            }
            op::DICT => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Node::Dict(items))?;
            }
            op::FROZENSET => {
                let elements = self.pop_mark()?;
                self.push(Node::Set(elements))?;
            }
            op::APPEND => {
                let value = self.pop()?;
                self.append(&[value])?;
            }
            op::APPENDS => {
                let values = self.pop_mark()?;
                self.append(&values)?;
            }
            op::SETITEM => {
                let item = self.pop_several(2)?;
                self.set_items(&item)?;
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            op::ADDITEMS => {
                let values = self.pop_mark()?;
                match self.top_node()? {
                    Node::Set(elements) => elements.extend_from_slice(&values),
                    _ => return Err(invalid("ADDITEMS on something that is not a set")),
                }
            }
            op::BINPUT => {
                let [index] = *self.array()?;
                self.remember(index.into())?;
            }
            op::LONG_BINPUT => {
                let index = u32::from_le_bytes(*self.array()?);
                self.remember(index)?;
            }
            op::MEMOIZE => {
                let index = u32::try_from(self.memo.len()).map_err(|_| invalid("the memo is full"))?;
                self.remember(index)?;
            }
            op::BINGET => {
                let [index] = *self.array()?;
                self.recall(index.into())?;
            }
            op::LONG_BINGET => {
                let index = u32::from_le_bytes(*self.array()?);
                self.recall(index)?;
            }
            op::GLOBAL => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_global(module, name)?;
            }
            op::STACK_GLOBAL => {
                let names = self.pop_several(2)?;
                let text = |id: Id| match &self.nodes[id.0 as usize] {
                    Node::Text(text) => Ok(text.to_string()),
                    _ => Err(invalid("STACK_GLOBAL names that are not text")),
                };
                let (module, name) = (text(names[0])?, text(names[1])?);
                self.push_global(&module, &name)?;
            }
            op::REDUCE | op::NEWOBJ => {
                let parts = self.pop_several(2)?;
                self.push_object(parts[0], parts[1], None)?;
            }
            op::NEWOBJ_EX => {
                let parts = self.pop_several(3)?;
                if !matches!(self.nodes[parts[2].0 as usize], Node::Dict(_)) {
                    return Err(invalid("keyword arguments that are not a dict"));
                }
                self.push_object(parts[0], parts[1], Some(parts[2]))?;
            }
            op::BUILD => {
                let state = self.pop()?;
                match self.top_node()? {
                    Node::Object(object) if object.state.is_none() => object.state = Some(state),
                    _ => return Err(invalid("BUILD on something that takes no state")),
                }
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))?;
            }
            other => {
                return Err(match op::refused(other) {
                    Some(name) => PickleErrorKind::ForbiddenOpcode(name),
                    None => PickleErrorKind::UnknownOpcode(other),
                });
            }
        }
        Ok(false)
    }

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let end = self.position.checked_add(len).ok_or(PickleErrorKind::CutOff)?;
        let taken = self
            .bytes
            .get(self.position..end)
            .ok_or(PickleErrorKind::CutOff)?;
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<&'a [u8; N]> {
        self.take(N)?.first_chunk().ok_or(PickleErrorKind::CutOff)
    }

    fn len1(&mut self) -> Step<usize> {
        let [len] = *self.array()?;
        Ok(len.into())
    }

    fn len4(&mut self) -> Step<usize> {
        let len = u32::from_le_bytes(*self.array()?);
        usize::try_from(len).map_err(|_| PickleErrorKind::CutOff)
    }

    fn len8(&mut self) -> Step<usize> {
        let len = u64::from_le_bytes(*self.array()?);
        usize::try_from(len).map_err(|_| PickleErrorKind::CutOff)
    }

    /// Text up to a line feed, which is taken too.
    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.position..];
        let end = rest
            .iter()
            .take(LONGEST_NAME + 1)
            .position(|byte| *byte == b'\n')
            .ok_or(if rest.len() > LONGEST_NAME {
                PickleErrorKind::TooLarge {
                    what: "bytes in a name",
                    limit: LONGEST_NAME,
                }
            } else {
                PickleErrorKind::CutOff
            })?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| invalid("a name that is not UTF-8"))
    }

    /// Puts a new value on the stack.
    fn push(&mut self, node: Node) -> Step {
        if self.nodes.len() >= MOST_NODES {
            return Err(PickleErrorKind::TooLarge {
                what: "values",
                limit: MOST_NODES,
            });
        }
        // Both are below limits that fit.
        self.stack.push(Id(self.nodes.len() as u32));
        self.offsets.push(self.offset as u32);
        self.nodes.push(node);
        Ok(())
    }

    fn push_text(&mut self, len: usize) -> Step {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| invalid("text that is not UTF-8"))?;
        self.push(Node::Text(text.into()))
    }

    fn push_bytes(&mut self, len: usize) -> Step {
        let bytes = self.take(len)?;
        self.push(Node::Bytes(bytes.into()))
    }

    fn push_global(&mut self, module: &str, name: &str) -> Step {
        if !(self.allowed)(module, name) {
            return Err(PickleErrorKind::ForbiddenGlobal(shortened(&format!(
                "{module}.{name}"
            ))));
        }
        self.push(Node::Global(Box::new(Global {
            module: module.into(),
            name: name.into(),
        })))
    }

    fn push_object(&mut self, callable: Id, arguments: Id, keywords: Option<Id>) -> Step {
        if !matches!(self.nodes[callable.0 as usize], Node::Global(_)) {
            return Err(invalid("a call of something that is not a global"));
        }
        if !matches!(self.nodes[arguments.0 as usize], Node::Tuple(_)) {
            return Err(invalid("a call with arguments that are not a tuple"));
        }
        self.push(Node::Object(Box::new(Object {
            callable,
            arguments,
            keywords,
            state: None,
            items: Vec::new(),
            appended: Vec::new(),
        })))
    }

    /// Height below which the stack belongs to an enclosing mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Step<Id> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(invalid("the stack is empty")),
        }
    }

    fn top_node(&mut self) -> Step<&mut Node> {
        let top = self.top()?;
        Ok(&mut self.nodes[top.0 as usize])
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_several(&mut self, count: usize) -> Step<Vec<Id>> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|start| *start >= self.floor());
        Ok(self
            .stack
            .split_off(start.ok_or_else(|| invalid("the stack is empty"))?))
    }

    /// Takes everything above the last mark, and the mark.
    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| invalid("there is no MARK"))?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, values: &[Id]) -> Step {
        match self.top_node()? {
            Node::List(elements) => elements.extend_from_slice(values),
            Node::Object(object) => object.appended.extend_from_slice(values),
            _ => return Err(invalid("APPEND to something that is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, flat: &[Id]) -> Step {
        let items = pairs(flat)?;
        match self.top_node()? {
            Node::Dict(entries) => entries.extend(items),
            Node::Object(object) => object.items.extend(items),
            _ => return Err(invalid("SETITEM on something that is not a dict")),
        }
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Step {
        let top = self.top()?;
        if self.memo.len() >= MOST_NODES {
            return Err(PickleErrorKind::TooLarge {
                what: "memo entries",
                limit: MOST_NODES,
            });
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Step {
        let id = *self
            .memo
            .get(&index)
            .ok_or_else(|| invalid(&format!("memo {index} is empty")))?;
        self.stack.push(id);
        Ok(())
    }
}

fn invalid(reason: &str) -> PickleErrorKind {
    PickleErrorKind::Invalid(reason.into())
}

fn pairs(flat: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, []) = flat.as_chunks::<2>() else {
        return Err(invalid("a key without a value"));
    };
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

/// A LONG: little-endian two's complement of any length.
fn long(bytes: &[u8]) -> Node {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    if bytes.len() > 8 {
        return Node::LongInt(bytes.into());
    }
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}
