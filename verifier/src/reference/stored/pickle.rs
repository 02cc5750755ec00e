//! The pickle inside a PyTorch file, read as data: it can name tensors in storages and nothing else.
//!
//! A pickle is a program for a stack machine (opcodes: CPython's `Lib/pickletools.py`). This machine knows the
//! opcodes `torch.save` writes (protocol 2) and the few globals that rebuild tensors; anything else is an error
//! that says where. Objects live in an arena and refer to each other by index, so neither shared nor deeply nested
//! objects cost more than the bytes that describe them.

use std::collections::BTreeMap;

/// A tensor as the pickle describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PickledTensor {
    /// Storage class, such as `FloatStorage`.
    pub(super) storage: String,
    /// Name of the storage's entry under `data/`.
    pub(super) key: String,
    /// First element inside the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// What a pickle is refused for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PickleError {
    /// Where in the pickle.
    pub(super) offset: usize,
    pub(super) reason: String,
}

/// Index into the arena.
type Id = usize;

#[derive(Clone, Debug)]
enum Object {
    Mark,
    None,
    Bool,
    Int(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List,
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage { class: String, key: String },
    Tensor(PickledTensor),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(String),
}

impl Global {
    /// The allow-list.
    fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", storage) if storage.ends_with("Storage") => Some(Self::Storage(storage.into())),
            _ => None,
        }
    }
}

/// The tensors of a pickled state dictionary, by name. Entries that are no tensors are left out.
pub(super) fn state_dict(pickle: &[u8]) -> Result<BTreeMap<String, PickledTensor>, PickleError> {
    let mut machine = Machine {
        bytes: pickle,
        at: 0,
        objects: Vec::new(),
        stack: Vec::new(),
        memo: BTreeMap::new(),
    };
    let result = machine.run().map_err(|reason| PickleError {
        offset: machine.at,
        reason,
    })?;
    let Object::Dict(entries) = &machine.objects[result] else {
        return Err(PickleError {
            offset: machine.at,
            reason: "does not hold a dictionary of tensors".into(),
        });
    };
    let named =
        entries.iter().filter_map(
            |(key, value)| match (&machine.objects[*key], &machine.objects[*value]) {
                (Object::Text(name), Object::Tensor(tensor)) => Some((name.clone(), tensor.clone())),
                _ => None,
            },
        );
    Ok(named.collect())
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    memo: BTreeMap<u32, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let start = self.at;
            let [opcode] = self.take()?;
            if opcode == b'.' {
                return self.pop();
            }
            // Errors point at the opcode, not behind its argument.
            self.step(opcode).inspect_err(|_| self.at = start)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => self.protocol()?,
            b'c' => self.global()?,
            b'q' => self.memoize(|machine| machine.take().map(|[id]: [u8; 1]| u32::from(id)))?,
            b'r' => self.memoize(|machine| machine.take().map(u32::from_le_bytes))?,
            b'h' => self.recall(|machine| machine.take().map(|[id]: [u8; 1]| u32::from(id)))?,
            b'j' => self.recall(|machine| machine.take().map(u32::from_le_bytes))?,
            b'(' => self.push(Object::Mark),
            b'N' => self.push(Object::None),
            0x88 | 0x89 => self.push(Object::Bool),
            b'K' => {
                let [value] = self.take()?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Object::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Object::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                let _: [u8; 8] = self.take()?;
                self.push(Object::Float);
            }
            b'X' => self.text()?,
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let first = self
                    .stack
                    .len()
                    .checked_sub(usize::from(opcode - 0x84))
                    .ok_or("stack is empty")?;
                let items = self.stack.split_off(first);
                self.push(Object::Tuple(items));
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items));
            }
            b']' => self.push(Object::List),
            b'a' => {
                self.pop()?;
            }
            b'e' => {
                self.pop_to_mark()?;
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(&items)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => {
                // An ordered dictionary's attributes (`_metadata`): versions of modules, no tensors.
                self.pop()?;
                if !matches!(self.top()?, Object::Dict(_)) {
                    return Err("sets the state of something other than a dictionary".into());
                }
            }
            other => {
                return Err(format!(
                    "opcode 0x{other:02x} is not one torch.save writes for a state dictionary"
                ));
            }
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or("ends in the middle")?;
        self.at += N;
        Ok(*bytes)
    }

    fn push(&mut self, object: Object) {
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let id = self.stack.pop().ok_or("stack is empty")?;
        if matches!(self.objects[id], Object::Mark) {
            Err("a mark stands for an object".into())
        } else {
            Ok(id)
        }
    }

    fn top(&mut self) -> Result<&mut Object, String> {
        let id = *self.stack.last().ok_or("stack is empty")?;
        Ok(&mut self.objects[id])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self
            .stack
            .iter()
            .rposition(|id| matches!(self.objects[*id], Object::Mark));
        let items = self.stack.split_off(mark.ok_or("there is no mark")? + 1);
        self.stack.pop();
        Ok(items)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.take()? {
            [2 | 3] => Ok(()),
            [other] => Err(format!("pickle protocol {other}; torch.save writes 2")),
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("ends in the middle of a name")?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::named(&module, &name).ok_or_else(|| {
            format!("imports `{module}.{name}`, which a state dictionary has no use for; not read")
        })?;
        self.push(Object::Global(global));
        Ok(())
    }

    fn memoize(&mut self, id: impl Fn(&mut Self) -> Result<u32, String>) -> Result<(), String> {
        let id = id(self)?;
        let object = *self.stack.last().ok_or("stack is empty")?;
        self.memo.insert(id, object);
        Ok(())
    }

    fn recall(&mut self, id: impl Fn(&mut Self) -> Result<u32, String>) -> Result<(), String> {
        let id = id(self)?;
        let object = *self
            .memo
            .get(&id)
            .ok_or_else(|| format!("recalls object {id}, which was never kept"))?;
        self.stack.push(object);
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        let mut bytes = [0; 8];
        for byte in bytes
            .get_mut(..usize::from(length))
            .ok_or("an integer has more than 64 bits")?
        {
            [*byte] = self.take()?;
        }
        // Two's complement of `length` bytes.
        let unused = 64 - 8 * u32::from(length);
        let value = if length == 0 {
            0
        } else {
            i64::from_le_bytes(bytes) << unused >> unused
        };
        self.push(Object::Int(value));
        Ok(())
    }

    fn text(&mut self) -> Result<(), String> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).unwrap_or(usize::MAX);
        let end = self
            .at
            .checked_add(length)
            .ok_or("a text is longer than the pickle")?;
        let bytes = self
            .bytes
            .get(self.at..end)
            .ok_or("a text is longer than the pickle")?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        self.at = end;
        self.push(Object::Text(text.into()));
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), String> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("a dictionary's key has no value".into());
        };
        let Object::Dict(entries) = self.top()? else {
            return Err("sets items of something other than a dictionary".into());
        };
        entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    /// `("storage", class, key, device, element count)` as `torch.serialization` writes it.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let wrong = "a persistent id is not a storage";
        let Object::Tuple(parts) = &self.objects[id] else {
            return Err(wrong.into());
        };
        let [kind, class, key, _, _] = parts[..] else {
            return Err(wrong.into());
        };
        match (&self.objects[kind], &self.objects[class], &self.objects[key]) {
            (Object::Text(kind), Object::Global(Global::Storage(class)), Object::Text(key))
                if kind == "storage" =>
            {
                let storage = Object::Storage {
                    class: class.clone(),
                    key: key.clone(),
                };
                self.push(storage);
                Ok(())
            }
            _ => Err(wrong.into()),
        }
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Object::Tuple(arguments) = &self.objects[arguments] else {
            return Err("calls with something other than a tuple".into());
        };
        let result = match &self.objects[callable] {
            Object::Global(Global::OrderedDict) if arguments.is_empty() => Object::Dict(Vec::new()),
            Object::Global(Global::RebuildTensor) => Object::Tensor(self.tensor(arguments)?),
            Object::Global(Global::RebuildParameter) => {
                let first = *arguments.first().ok_or("a parameter without a tensor")?;
                match &self.objects[first] {
                    Object::Tensor(tensor) => Object::Tensor(tensor.clone()),
                    _ => return Err("a parameter that is no tensor".into()),
                }
            }
            _ => return Err("calls something a state dictionary has no use for; not read".into()),
        };
        self.push(result);
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
    fn tensor(&self, arguments: &[Id]) -> Result<PickledTensor, String> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            return Err("a tensor with fewer than four arguments".into());
        };
        let Object::Storage { class, key } = &self.objects[storage] else {
            return Err("a tensor without a storage".into());
        };
        let offset = self.natural(offset)?;
        let (shape, strides) = (self.naturals(shape)?, self.naturals(strides)?);
        if shape.len() != strides.len() {
            return Err("a tensor whose shape and strides differ in rank".into());
        }
        Ok(PickledTensor {
            storage: class.clone(),
            key: key.clone(),
            offset,
            shape,
            strides,
        })
    }

    fn natural(&self, id: Id) -> Result<u64, String> {
        match self.objects[id] {
            Object::Int(value) => u64::try_from(value).map_err(|_| format!("a size or offset of {value}")),
            _ => Err("a size or offset that is no integer".into()),
        }
    }

    fn naturals(&self, id: Id) -> Result<Vec<u64>, String> {
        match &self.objects[id] {
            Object::Tuple(items) => items.iter().map(|item| self.natural(*item)).collect(),
            _ => Err("a shape that is no tuple".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pickle: &[u8]) -> PickleError {
        state_dict(pickle).unwrap_err()
    }

    #[test]
    fn other_imports_are_refused_where_they_stand() {
        // Python: pickle.dumps of an object whose __reduce__ is (os.system, ("true",)), protocol 2.
        let error = refused(b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.");
        assert_eq!(error.offset, 2);
        assert!(error.reason.contains("`posix.system`"), "{}", error.reason);
        assert!(
            refused(b"\x80\x02cbuiltins\neval\n.")
                .reason
                .contains("builtins.eval")
        );
    }

    #[test]
    fn broken_pickles_are_errors() {
        for pickle in [
            b"".as_slice(),
            b"\x80\x02",
            b"\x80\x02.",
            b"\x80\x02u.",
            b"\x80\x02(.",
            b"\x80\x02X\xff\xff\xff\xff.",
            b"\x80\x02}h\x05.",
            b"\x80\x02)\x87.",
            b"\x80\x02}K\x01s.",
            b"\x80\x02\x8a\x09aaaaaaaaa.",
            b"\x80\x02}(K\x01u.",
            b"\x80\x05.",
            b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.",
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        ] {
            refused(pickle);
        }
    }

    #[test]
    fn nesting_costs_no_stack_and_sharing_no_memory() {
        let mut deep = b"\x80\x02}X\x01\x00\x00\x00aN".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 1 << 20));
        deep.extend(b"s.");
        assert_eq!(state_dict(&deep), Ok(BTreeMap::new()));
        // Each step doubles the object it refers to: 2^200 copies if it were copied.
        let mut doubling = b"\x80\x02}X\x01\x00\x00\x00aN".to_vec();
        for _ in 0..200 {
            doubling.extend(b"q\x00h\x00\x86");
        }
        doubling.extend(b"s.");
        assert_eq!(state_dict(&doubling), Ok(BTreeMap::new()));
    }

    #[test]
    fn longs_are_twos_complement() {
        let offset = |long: &[u8]| {
            let mut pickle = b"\x80\x02}X\x01\x00\x00\x00ac".to_vec();
            pickle.extend(
                b"torch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n",
            );
            pickle.extend(b"X\x01\x00\x00\x000NNtQ");
            pickle.extend(long);
            pickle.extend(b"))tRs.");
            state_dict(&pickle).map(|tensors| tensors["a"].offset)
        };
        assert_eq!(offset(b"\x8a\x02\x00\x01"), Ok(256));
        assert_eq!(offset(b"\x8a\x00"), Ok(0));
        assert!(offset(b"\x8a\x01\xff").unwrap_err().reason.contains("-1"));
    }
}
