//! The types of MIL values: tensors with known or symbolic dimensions, lists, dictionaries.

use std::fmt;

use crate::dtype::DataType;

/// One dimension of a shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Dim {
    /// A size known when the package is written.
    Known(u64),
    /// A size known only at prediction. Equal numbers mean equal sizes within one function; the number is not
    /// stored in a package.
    Symbol(u32),
}

impl Dim {
    /// A size that shows itself at prediction only and that no rule can relate to another; the builder gives
    /// each its own number.
    pub const FRESH: Dim = Dim::Symbol(u32::MAX);

    /// The size, if known.
    pub const fn known(self) -> Option<u64> {
        match self {
            Self::Known(size) => Some(size),
            Self::Symbol(_) => None,
        }
    }

    /// Whether two dimensions can be the same size: a symbol fits anything.
    pub fn compatible(self, other: Self) -> bool {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a == b,
            _ => true,
        }
    }
}

impl From<u64> for Dim {
    fn from(size: u64) -> Self {
        Self::Known(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol(id) => write!(f, "?{id}"),
        }
    }
}

/// Element type and shape; rank 0 is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Sizes, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A tensor type from anything that lists dimensions.
    pub fn new<D: Into<Dim>>(dtype: DataType, shape: impl IntoIterator<Item = D>) -> Self {
        Self {
            dtype,
            shape: shape.into_iter().map(Into::into).collect(),
        }
    }

    /// A scalar.
    pub const fn scalar(dtype: DataType) -> Self {
        Self {
            dtype,
            shape: Vec::new(),
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The shape as numbers, if no dimension is symbolic.
    pub fn known_shape(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(|dim| dim.known()).collect()
    }

    /// Number of elements; `None` when a dimension is symbolic or the product overflows.
    pub fn element_count(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(1u64, |count, dim| count.checked_mul(dim.known()?))
    }

    /// Packed size in bytes; `None` as for [`Self::element_count`].
    pub fn byte_len(&self) -> Option<u64> {
        self.dtype.packed_len(self.element_count()?)
    }

    /// Same element type, same rank, compatible dimensions.
    pub fn compatible(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && self.rank() == other.rank()
            && self.shape.iter().zip(&other.shape).all(|(a, b)| a.compatible(*b))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor<{}, [", self.dtype)?;
        for (position, dim) in self.shape.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]>")
    }
}

/// The type of any MIL value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ValueType {
    /// A tensor or, with rank 0, a scalar.
    Tensor(TensorType),
    /// A list of values of one type.
    List(Box<ValueType>, Dim),
    /// A fixed sequence of types.
    Tuple(Vec<ValueType>),
    /// A dictionary.
    Dictionary(Box<ValueType>, Box<ValueType>),
    /// A value that outlives a prediction (iOS 18).
    State(Box<ValueType>),
}

impl ValueType {
    /// The tensor type, if it is one.
    pub const fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Whether a value of `other` may stand where this is declared (symbols fit any size).
    pub fn compatible(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tensor(a), Self::Tensor(b)) => a.compatible(b),
            (Self::List(a, n), Self::List(b, m)) => a.compatible(b) && n.compatible(*m),
            (Self::Tuple(a), Self::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.compatible(b))
            }
            (Self::Dictionary(a, b), Self::Dictionary(c, d)) => a.compatible(c) && b.compatible(d),
            (Self::State(a), Self::State(b)) => a.compatible(b),
            _ => false,
        }
    }
}

impl From<TensorType> for ValueType {
    fn from(tensor: TensorType) -> Self {
        Self::Tensor(tensor)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(tensor) => write!(f, "{tensor}"),
            Self::List(element, length) => write!(f, "list<{element}, {length}>"),
            Self::Tuple(elements) => {
                f.write_str("tuple<")?;
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{element}")?;
                }
                f.write_str(">")
            }
            Self::Dictionary(key, value) => write!(f, "dict<{key}, {value}>"),
            Self::State(inner) => write!(f, "state<{inner}>"),
        }
    }
}
