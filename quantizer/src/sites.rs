//! Finds the weights of a program: where they are, who uses them, which way their channels run.

use std::collections::BTreeMap;
use std::sync::Arc;

use corer_mil::{Binding, Block, Data, DataType, Immediate, MemoryWeight, Operation, Program, WeightSource};

use crate::dense::Dense;
use crate::mask::Channels;

/// A float weight: a `const`, or what a chain of `constexpr_*` operations makes of several.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) function: String,
    /// Name of the value.
    pub(crate) name: String,
    /// Index of the operation that makes it.
    pub(crate) operation: usize,
    pub(crate) dtype: DataType,
    pub(crate) shape: Vec<usize>,
    pub(crate) uses: Vec<Use>,
    pub(crate) state: State,
}

/// One operand a weight is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Use {
    /// Operation type.
    pub(crate) op: String,
    /// Operation name.
    pub(crate) name: String,
    /// Parameter.
    pub(crate) param: String,
    /// For products: whether the weight is taken transposed.
    transposed: bool,
    /// Name of the value the weight is multiplied with, for convolutions and linear layers.
    pub(crate) input: Option<String>,
}

/// How a weight is stored now.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Its numbers are there.
    Dense(Dense),
    /// Operations that decompress it, in order, the last one making it; and the bytes they take.
    Compressed { chain: Vec<usize>, bytes: u64 },
}

impl Site {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes it takes in the package now.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.state {
            State::Dense(_) => self.dense_bytes(),
            State::Compressed { bytes, .. } => *bytes,
        }
    }

    /// Bytes it takes uncompressed.
    pub(crate) fn dense_bytes(&self) -> u64 {
        self.len() as u64 * u64::from(self.dtype.bits() / 8)
    }

    /// Whether structured pruning makes sense: a weight that input channels are multiplied with.
    pub(crate) fn is_product(&self) -> bool {
        self.uses
            .iter()
            .any(|used| matches!(used.op.as_str(), "conv" | "linear" | "conv_transpose"))
    }

    /// The output channels' axis and the input channels'.
    ///
    /// Convolutions and linear layers have them in this order; so does a table of rows, where an output channel is a
    /// row. A table that is added (positions, token types: `[1, S, C]` or `[1, C, 1, S]`) has nothing on its first
    /// axis; one scale for all of it would drown most of its channels, so channels are its longest axes.
    pub(crate) fn channels(&self) -> Channels {
        let rank = self.shape.len();
        let last = rank.saturating_sub(1);
        let first = self.uses.first();
        let ordinary = Channels {
            output: 0,
            input: 1.min(last),
        };
        match first.map(|used| (used.op.as_str(), used.param.as_str(), used.transposed)) {
            Some(("conv_transpose", "weight", _)) => Channels {
                output: 1.min(last),
                input: 0,
            },
            Some(("matmul", "y", false)) if rank >= 2 => Channels {
                output: last,
                input: last - 1,
            },
            Some(("matmul", "y", true)) if rank >= 2 => Channels {
                output: last - 1,
                input: last,
            },
            Some(("matmul", "x", transposed)) if rank >= 2 => {
                let (rows, columns) = (last - 1, last);
                if transposed {
                    Channels {
                        output: columns,
                        input: rows,
                    }
                } else {
                    Channels {
                        output: rows,
                        input: columns,
                    }
                }
            }
            Some(("gather" | "gather_along_axis" | "conv" | "linear", ..)) => ordinary,
            _ if rank >= 2 && self.shape[0] > 1 => ordinary,
            _ => {
                // The two longest axes, the earlier one first.
                let mut axes: Vec<usize> = (0..rank).collect();
                axes.sort_by_key(|axis| std::cmp::Reverse(self.shape[*axis]));
                let mut axes = [
                    axes.first().copied().unwrap_or(0),
                    axes.get(1).copied().unwrap_or(0),
                ];
                axes.sort_unstable();
                Channels {
                    output: axes[0],
                    input: axes[1],
                }
            }
        }
    }
}

/// The weights of every function, in the order of functions and operations.
pub(crate) fn find(program: &Program) -> Vec<Site> {
    program
        .functions
        .iter()
        .filter_map(|(name, function)| Some(in_function(name, function.body()?)))
        .flatten()
        .collect()
}

fn in_function(function: &str, body: &Block) -> Vec<Site> {
    let uses = uses(body);
    let makers: BTreeMap<&str, usize> = body
        .operations
        .iter()
        .enumerate()
        .flat_map(|(index, operation)| {
            operation
                .outputs
                .iter()
                .map(move |output| (output.name.as_str(), index))
        })
        .collect();
    let mut sites = Vec::new();
    for (index, operation) in body.operations.iter().enumerate() {
        let [output] = &operation.outputs[..] else {
            continue;
        };
        let Some(ty) = output.ty.as_tensor() else { continue };
        let users = uses.get(output.name.as_str()).map_or(&[][..], Vec::as_slice);
        // Parts of a chain belong to the weight at its end. What a function returns is no weight.
        let inner = users.iter().any(|used| used.op.starts_with("constexpr_"));
        if users.is_empty() || inner || body.outputs.contains(&output.name) {
            continue;
        }
        let state = if let Some(value) = operation.const_value() {
            let source: Arc<dyn WeightSource> = match &value.data {
                Data::Weight(source) => Arc::clone(source),
                Data::Immediate(Immediate::Bytes(bytes)) => Arc::new(MemoryWeight(bytes.clone())),
                _ => continue,
            };
            match Dense::new(&output.name, ty, source) {
                Some(dense) => State::Dense(dense),
                None => continue,
            }
        } else if operation.op.starts_with("constexpr_") {
            let chain = chain(body, &makers, index);
            let bytes = chain
                .iter()
                .map(|index| stored_bytes(&body.operations[*index]))
                .sum();
            State::Compressed { chain, bytes }
        } else {
            continue;
        };
        let shape = ty.known_shape().unwrap_or_default();
        let shape = shape
            .into_iter()
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX))
            .collect();
        if !matches!(ty.dtype, DataType::Fp16 | DataType::Fp32) {
            continue;
        }
        sites.push(Site {
            function: function.to_owned(),
            name: output.name.clone(),
            operation: index,
            dtype: ty.dtype,
            shape,
            uses: users.to_vec(),
            state,
        });
    }
    sites
}

/// Who uses each value; operations of nested blocks count.
fn uses(body: &Block) -> BTreeMap<&str, Vec<Use>> {
    fn walk<'a>(block: &'a Block, uses: &mut BTreeMap<&'a str, Vec<Use>>) {
        for operation in &block.operations {
            for (param, bindings) in &operation.inputs {
                for binding in bindings {
                    let Binding::Name(name) = binding else { continue };
                    uses.entry(name).or_default().push(Use {
                        op: operation.op.clone(),
                        name: operation.name().to_owned(),
                        param: param.clone(),
                        transposed: false,
                        input: fed_by(operation, param),
                    });
                }
            }
            for block in &operation.blocks {
                walk(block, uses);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(body, &mut all);
    // Products say elsewhere which way they take a weight.
    let flag = |operation: &Operation, param: &str| {
        let Some(Binding::Name(name)) = operation.inputs.get(param).and_then(|bindings| bindings.first())
        else {
            return false;
        };
        let maker = body
            .operations
            .iter()
            .find(|maker| maker.outputs.iter().any(|output| output.name == *name));
        maker
            .and_then(Operation::const_value)
            .and_then(corer_mil::Value::as_bool)
            .unwrap_or(false)
    };
    for operation in body
        .operations
        .iter()
        .filter(|operation| operation.op == "matmul")
    {
        for (param, transpose) in [("x", "transpose_x"), ("y", "transpose_y")] {
            if let Some(Binding::Name(name)) =
                operation.inputs.get(param).and_then(|bindings| bindings.first())
                && let Some(users) = all.get_mut(name.as_str())
            {
                let transposed = flag(operation, transpose);
                for used in users
                    .iter_mut()
                    .filter(|used| used.name == operation.name() && used.param == param)
                {
                    used.transposed = transposed;
                }
            }
        }
    }
    all
}

/// The value a weight of a convolution or a linear layer meets.
fn fed_by(operation: &Operation, param: &str) -> Option<String> {
    if param != "weight" || !matches!(operation.op.as_str(), "conv" | "linear") {
        return None;
    }
    match operation.inputs.get("x")?.first()? {
        Binding::Name(name) => Some(name.clone()),
        Binding::Value(_) => None,
    }
}

/// The operations a decompressed value is made by, the inner ones first.
fn chain(body: &Block, makers: &BTreeMap<&str, usize>, last: usize) -> Vec<usize> {
    let mut chain = Vec::new();
    let mut pending = vec![last];
    while let Some(index) = pending.pop() {
        if chain.contains(&index) {
            continue;
        }
        chain.push(index);
        for binding in body.operations[index].inputs.values().flatten() {
            if let Binding::Name(name) = binding
                && let Some(maker) = makers.get(name.as_str())
                && *maker < index
            {
                pending.push(*maker);
            }
        }
    }
    chain.sort_unstable();
    chain
}

/// Bytes of the values an operation carries.
fn stored_bytes(operation: &Operation) -> u64 {
    let values = operation
        .attributes
        .iter()
        .filter(|(name, _)| *name != "name")
        .map(|(_, value)| value)
        .chain(
            operation
                .inputs
                .values()
                .flatten()
                .filter_map(|binding| match binding {
                    Binding::Value(value) => Some(value),
                    Binding::Name(_) => None,
                }),
        );
    values.filter_map(|value| value.tensor_type()?.byte_len()).sum()
}
