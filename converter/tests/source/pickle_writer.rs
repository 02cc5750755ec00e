//! Pickles of state dicts put together opcode by opcode, so that every argument can be made to lie.

/// An int: BININT where it fits, else LONG1.
pub(crate) fn int(value: i64) -> Vec<u8> {
    match i32::try_from(value) {
        Ok(value) => [&b"J"[..], &value.to_le_bytes()].concat(),
        Err(_) => [&[0x8a, 8][..], &value.to_le_bytes()].concat(),
    }
}

/// A str.
pub(crate) fn text(value: &str) -> Vec<u8> {
    [&b"X"[..], &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// A tuple.
pub(crate) fn tuple(elements: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &elements.concat(), b"t"].concat()
}

/// A global.
pub(crate) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// `callable(*arguments)`.
pub(crate) fn call(callable: &[u8], arguments: &[u8]) -> Vec<u8> {
    [callable, arguments, b"R"].concat()
}

/// A dict.
pub(crate) fn dict(items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let flat: Vec<u8> = items
        .iter()
        .flat_map(|(key, value)| [&key[..], value].concat())
        .collect();
    [&b"}("[..], &flat, b"u"].concat()
}

/// A whole pickle of protocol 2.
pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [&b"\x80\x02"[..], value, b"."].concat()
}

/// Ints as a tuple.
pub(crate) fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|value| int(*value)).collect::<Vec<_>>())
}

/// A tensor as `torch.save` describes it; the defaults describe 2 × 3 floats in storage `0`.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) rebuild: &'static str,
    pub(crate) class: (&'static str, &'static str),
    pub(crate) key: &'static str,
    pub(crate) elements: i64,
    pub(crate) offset: i64,
    pub(crate) size: Vec<u8>,
    pub(crate) stride: Vec<u8>,
}

impl Default for Tensor {
    fn default() -> Self {
        Self {
            rebuild: "_rebuild_tensor_v2",
            class: ("torch", "FloatStorage"),
            key: "0",
            elements: 6,
            offset: 0,
            size: ints(&[2, 3]),
            stride: ints(&[3, 1]),
        }
    }
}

impl Tensor {
    /// Its pickle.
    pub(crate) fn write(&self) -> Vec<u8> {
        let class = global(self.class.0, self.class.1);
        let id = tuple(&[
            text("storage"),
            class,
            text(self.key),
            text("cpu"),
            int(self.elements),
        ]);
        let storage = [&id[..], b"Q"].concat();
        let hooks = call(&global("collections", "OrderedDict"), b")");
        let (size, stride) = (self.size.clone(), self.stride.clone());
        let arguments = [storage, int(self.offset), size, stride, b"\x89".to_vec(), hooks];
        call(&global("torch._utils", self.rebuild), &tuple(&arguments))
    }
}
