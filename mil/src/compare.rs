//! Whether two programs are the same, weights' bytes included.

use std::collections::BTreeMap;

use crate::program::{Binding, Block, Function, Operation, Program};
use crate::value::{Data, Immediate, Value};
use crate::weight::{WeightError, WeightSource};

/// The first difference between two programs, as a path and what differs there; `None` when they are the same.
///
/// Where a constant's bytes lie, inline or in a weight, makes no difference; symbols of sizes are compared by
/// number. A weight that can't be read differs from every other.
pub fn difference(a: &Program, b: &Program) -> Option<String> {
    attributes(&a.attributes, &b.attributes)
        .or_else(|| maps(&a.functions, &b.functions, "function", function))
}

/// The first difference between two maps.
fn maps<K: Ord + std::fmt::Display, T>(
    a: &BTreeMap<K, T>,
    b: &BTreeMap<K, T>,
    what: &str,
    inner: impl Fn(&T, &T) -> Option<String>,
) -> Option<String> {
    for (key, left) in a {
        let found = match b.get(key) {
            None => Some("only in the first".to_owned()),
            Some(right) => inner(left, right),
        };
        if let Some(found) = found {
            return Some(format!("{what} `{key}`: {found}"));
        }
    }
    b.keys()
        .find(|key| !a.contains_key(key))
        .map(|key| format!("{what} `{key}`: only in the second"))
}

fn attributes(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Option<String> {
    maps(a, b, "attribute", values)
}

fn function(a: &Function, b: &Function) -> Option<String> {
    if a.opset != b.opset {
        return Some(format!("opsets {} and {}", a.opset, b.opset));
    }
    if a.inputs != b.inputs {
        return Some("inputs differ".into());
    }
    attributes(&a.attributes, &b.attributes).or_else(|| maps(&a.blocks, &b.blocks, "block", block))
}

fn block(a: &Block, b: &Block) -> Option<String> {
    if a.inputs != b.inputs {
        return Some("block inputs differ".into());
    }
    let found = a
        .operations
        .iter()
        .zip(&b.operations)
        .enumerate()
        .find_map(|(index, (left, right))| {
            operation(left, right).map(|found| format!("operation {index} `{}`: {found}", left.name()))
        });
    if found.is_some() {
        return found;
    }
    if a.operations.len() != b.operations.len() {
        return Some(format!(
            "{} and {} operations",
            a.operations.len(),
            b.operations.len()
        ));
    }
    if a.outputs != b.outputs {
        return Some(format!("returns {:?} and {:?}", a.outputs, b.outputs));
    }
    attributes(&a.attributes, &b.attributes)
}

fn operation(a: &Operation, b: &Operation) -> Option<String> {
    if a.op != b.op {
        return Some(format!("is `{}` and `{}`", a.op, b.op));
    }
    if a.outputs != b.outputs {
        return Some("results differ".into());
    }
    if a.blocks.len() != b.blocks.len() {
        return Some(format!("{} and {} blocks", a.blocks.len(), b.blocks.len()));
    }
    maps(&a.inputs, &b.inputs, "parameter", |left, right| {
        bindings(left, right)
    })
    .or_else(|| attributes(&a.attributes, &b.attributes))
    .or_else(|| {
        a.blocks
            .iter()
            .zip(&b.blocks)
            .find_map(|(left, right)| block(left, right))
    })
}

fn bindings(a: &[Binding], b: &[Binding]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} bindings", a.len(), b.len()));
    }
    a.iter().zip(b).find_map(|pair| match pair {
        (Binding::Name(left), Binding::Name(right)) if left == right => None,
        (Binding::Name(left), Binding::Name(right)) => Some(format!("bound to `{left}` and `{right}`")),
        (Binding::Value(left), Binding::Value(right)) => values(left, right),
        _ => Some("bound to a name and to a literal".into()),
    })
}

fn values(a: &Value, b: &Value) -> Option<String> {
    if a.ty != b.ty {
        return Some(format!("types {} and {}", a.ty, b.ty));
    }
    match (&a.data, &b.data) {
        (Data::Immediate(left), Data::Immediate(right)) => (left != right).then(|| "data differs".to_owned()),
        (Data::Weight(left), Data::Weight(right)) => weights(left.as_ref(), right.as_ref()),
        (Data::Weight(weight), Data::Immediate(Immediate::Bytes(bytes)))
        | (Data::Immediate(Immediate::Bytes(bytes)), Data::Weight(weight)) => {
            weights(weight.as_ref(), &Inline(bytes))
        }
        (Data::Tuple(left), Data::Tuple(right)) | (Data::List(left), Data::List(right)) => {
            if left.len() == right.len() {
                left.iter()
                    .zip(right)
                    .find_map(|(left, right)| values(left, right))
            } else {
                Some(format!("{} and {} elements", left.len(), right.len()))
            }
        }
        (Data::Dictionary(left), Data::Dictionary(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .find_map(|(left, right)| values(&left.0, &right.0).or_else(|| values(&left.1, &right.1))),
        _ => Some("data differs in kind".into()),
    }
}

/// Inline bytes, to be compared with a weight's.
#[derive(Debug)]
struct Inline<'a>(&'a [u8]);

impl WeightSource for Inline<'_> {
    fn byte_len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.0.get(start..start.checked_add(out.len())?));
        match bytes {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(WeightError {
                place: "inline constant".into(),
                reason: "read beyond its end".into(),
            }),
        }
    }
}

/// Compares piece by piece, so that large weights need no memory.
fn weights(a: &dyn WeightSource, b: &dyn WeightSource) -> Option<String> {
    const PIECE: usize = 1 << 16;
    if a.byte_len() != b.byte_len() {
        return Some(format!("{} and {} bytes", a.byte_len(), b.byte_len()));
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    while offset < a.byte_len() {
        let length = usize::try_from(a.byte_len() - offset).unwrap_or(PIECE).min(PIECE);
        let read = a
            .read_at(offset, &mut left[..length])
            .and_then(|()| b.read_at(offset, &mut right[..length]));
        if let Err(error) = read {
            return Some(error.to_string());
        }
        if left[..length] != right[..length] {
            let at = left[..length]
                .iter()
                .zip(&right)
                .position(|(left, right)| left != right)
                .unwrap_or_default();
            return Some(format!("bytes differ from byte {} on", offset + at as u64));
        }
        offset += length as u64;
    }
    None
}
