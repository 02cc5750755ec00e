//! A tensor on disk plus what is to be done to it on the way out: rows and columns picked, transposed, scaled,
//! rounded. Nothing is read until its bytes are asked for.

mod convert;
mod ints;
mod read;
mod scratch;
mod weight;

use std::ops::Range;
use std::sync::Arc;

use super::dtype::StoredType;
use super::error::SourceError;
use super::file::SourceFile;
use super::tensor_set::{TensorSlice, byte_len};

pub use weight::Overflow;

/// A tensor of a checkpoint, rearranged and scaled, still unread.
///
/// Everything that rearranges sees the tensor as a matrix: rows are axis 0 of [`Self::shape`], columns all other
/// axes together. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LazyTensor {
    base: Base,
    /// The base as a matrix: its width; its height is what its elements give.
    base_columns: u64,
    rows: Rows,
    /// Columns of the base, in order; all of them when `None`.
    columns: Option<Arc<[u32]>>,
    /// Whether the picked matrix is seen transposed.
    transposed: bool,
    scale: f32,
    shape: Vec<u64>,
}

/// What a lazy tensor reads from.
#[derive(Clone, Debug)]
enum Base {
    Slice(TensorSlice),
    /// A rearrangement that can't be told as rows and columns of what it rearranges.
    Nested(Arc<LazyTensor>),
    /// Stands for a tensor that is missing.
    Placeholder(Arc<str>),
}

/// Rows of the base, in order.
#[derive(Clone, PartialEq, Debug)]
enum Rows {
    Range(Range<u64>),
    Listed(Arc<[u32]>),
}

impl Rows {
    fn len(&self) -> u64 {
        match self {
            Self::Range(range) => range.end - range.start,
            Self::Listed(list) => list.len() as u64,
        }
    }

    /// The base row behind a picked one; `index` must be below `len`.
    fn get(&self, index: u64) -> u64 {
        match self {
            Self::Range(range) => range.start + index,
            // A list's length fits usize, so an index below it does.
            Self::Listed(list) => u64::from(list[index as usize]),
        }
    }
}

impl LazyTensor {
    /// The tensor as it is stored.
    pub fn new(slice: TensorSlice) -> Self {
        let shape = slice.shape().to_vec();
        let (rows, columns) = matrix(&shape);
        if slice.column_major {
            // Stored as the transpose: `columns` rows of `rows` elements.
            let base = Self::over(Base::Slice(slice), columns, rows, vec![columns, rows]);
            return Self {
                transposed: true,
                shape,
                ..base
            };
        }
        Self::over(Base::Slice(slice), rows, columns, shape)
    }

    /// Values computed from small tensors, under a name for messages.
    ///
    /// # Errors
    /// When there are more or fewer values than the shape has elements.
    pub fn from_values(name: &str, shape: Vec<u64>, values: Vec<f32>) -> Result<Self, SourceError> {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>();
        if byte_len(StoredType::F32, &shape) != Some(bytes.len() as u64) {
            return Err(SourceError::view(
                name,
                format!("{} values don't fill {shape:?}", values.len()),
            ));
        }
        let file = SourceFile::memory("(computed)", bytes);
        TensorSlice::new(name, file, 0, StoredType::F32, shape).map(Self::new)
    }

    /// A tensor that is not there, so that everything missing can be told at once. Reading it is an error.
    pub fn placeholder(name: &str, shape: &[u64]) -> Self {
        let (rows, columns) = matrix(shape);
        Self::over(Base::Placeholder(name.into()), rows, columns, shape.to_vec())
    }

    fn over(base: Base, rows: u64, columns: u64, shape: Vec<u64>) -> Self {
        Self {
            base,
            base_columns: columns,
            rows: Rows::Range(0..rows),
            columns: None,
            transposed: false,
            scale: 1.0,
            shape,
        }
    }

    /// Name of the tensor it was made from.
    pub fn name(&self) -> &str {
        match &self.base {
            Base::Slice(slice) => slice.name(),
            Base::Nested(inner) => inner.name(),
            Base::Placeholder(name) => name,
        }
    }

    /// Stored element type of the tensor it was made from; `None` for a placeholder.
    pub fn stored(&self) -> Option<StoredType> {
        match &self.base {
            Base::Slice(slice) => Some(slice.dtype()),
            Base::Nested(inner) => inner.stored(),
            Base::Placeholder(_) => None,
        }
    }

    /// Shape, outermost axis first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        self.picked_rows() * self.picked_columns()
    }

    /// The same elements in the same order under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(mut self, shape: Vec<u64>) -> Result<Self, SourceError> {
        let count = shape
            .iter()
            .try_fold(1u64, |count, size| count.checked_mul(*size));
        if count != Some(self.count()) {
            let reason = format!("shape {:?} can't be seen as {shape:?}", self.shape);
            return Err(SourceError::view(self.name(), reason));
        }
        self.shape = shape;
        Ok(self)
    }

    /// The given rows (axis 0), in the given order; a row may come several times or not at all.
    ///
    /// # Errors
    /// When there is no axis 0 or a row lies outside it.
    pub fn select_rows(self, rows: Arc<[u32]>) -> Result<Self, SourceError> {
        let mut picked = self.in_rows()?;
        picked.check_indices("row", &rows, picked.shape[0])?;
        picked.shape[0] = rows.len() as u64;
        if picked.transposed {
            picked.columns = Some(compose(picked.columns.take(), rows));
        } else {
            picked.rows = picked.rows_at(rows)?;
        }
        Ok(picked)
    }

    /// The given columns of the matrix view, in the given order. The shape becomes `[rows, columns picked]`,
    /// followed by ones up to the rank it had.
    ///
    /// # Errors
    /// When there is no axis 0 or a column lies outside the matrix.
    pub fn select_columns(self, columns: Arc<[u32]>) -> Result<Self, SourceError> {
        let mut picked = self.in_rows()?;
        let (_, width) = matrix(&picked.shape);
        picked.check_indices("column", &columns, width)?;
        let rank = picked.shape.len().max(2);
        picked.shape.resize(1, 0);
        picked.shape.push(columns.len() as u64);
        picked.shape.resize(rank, 1);
        if picked.transposed {
            picked.rows = picked.rows_at(columns)?;
        } else {
            picked.columns = Some(compose(picked.columns.take(), columns));
        }
        Ok(picked)
    }

    /// Consecutive rows (axis 0).
    ///
    /// # Errors
    /// When there is no axis 0 or the range does not lie within it.
    pub fn slice_rows(self, range: Range<u64>) -> Result<Self, SourceError> {
        let mut picked = self.in_rows()?;
        let height = picked.shape[0];
        if range.start > range.end || range.end > height {
            let reason = format!("rows {range:?} don't lie within its {height}");
            return Err(SourceError::view(picked.name(), reason));
        }
        if let (Rows::Range(rows), false) = (&picked.rows, picked.transposed) {
            picked.rows = Rows::Range(rows.start + range.start..rows.start + range.end);
            picked.shape[0] = range.end - range.start;
            return Ok(picked);
        }
        let rows = range.clone().map(u32::try_from).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|_| picked.too_many())?;
        picked.select_rows(rows.into())
    }

    /// A matrix with its axes swapped.
    ///
    /// # Errors
    /// When it has not exactly two axes.
    pub fn transpose(self) -> Result<Self, SourceError> {
        let [rows, columns] = self.shape[..] else {
            let reason = format!("shape {:?} is not a matrix, it can't be transposed", self.shape);
            return Err(SourceError::view(self.name(), reason));
        };
        let seen = self.in_rows()?;
        Ok(Self {
            transposed: !seen.transposed,
            shape: vec![columns, rows],
            ..seen
        })
    }

    /// Every value multiplied, in f32 and before rounding. Factors of several calls are multiplied first.
    #[must_use]
    pub fn scale(mut self, factor: f32) -> Self {
        self.scale *= factor;
        self
    }

    /// Whether both read the same elements of the same open file, in the same order and with the same scale;
    /// their shapes may differ. Never true of placeholders.
    pub fn reads_as(&self, other: &Self) -> bool {
        let same_base = match (&self.base, &other.base) {
            (Base::Slice(a), Base::Slice(b)) => {
                Arc::ptr_eq(&a.file, &b.file)
                    && (a.offset, a.dtype, a.column_major) == (b.offset, b.dtype, b.column_major)
                    && a.count() == b.count()
            }
            (Base::Nested(a), Base::Nested(b)) => a.reads_as(b),
            _ => false,
        };
        same_base
            && self.base_columns == other.base_columns
            && self.rows == other.rows
            && self.columns == other.columns
            && self.transposed == other.transposed
            && self.scale.to_bits() == other.scale.to_bits()
    }

    /// Rows picked from the base.
    fn picked_rows(&self) -> u64 {
        self.rows.len()
    }

    /// Columns picked from the base.
    fn picked_columns(&self) -> u64 {
        self.columns
            .as_ref()
            .map_or(self.base_columns, |columns| columns.len() as u64)
    }

    /// The tensor with rows and columns that are those of its shape.
    fn in_rows(self) -> Result<Self, SourceError> {
        if self.shape.is_empty() {
            return Err(SourceError::view(self.name(), "a scalar has no rows"));
        }
        let (rows, columns) = matrix(&self.shape);
        let seen = if self.transposed {
            (self.picked_columns(), self.picked_rows())
        } else {
            (self.picked_rows(), self.picked_columns())
        };
        if seen == (rows, columns) {
            return Ok(self);
        }
        // Whole consecutive rows are consecutive elements: another width tells them as well.
        if let (Rows::Range(range), None, false) = (&self.rows, &self.columns, self.transposed) {
            let first = range.start * self.base_columns;
            if let Some(start) = first
                .checked_div(columns)
                .filter(|start| start * columns == first)
            {
                return Ok(Self {
                    base_columns: columns,
                    rows: Rows::Range(start..start + rows),
                    ..self
                });
            }
        }
        let (scale, shape) = (self.scale, self.shape.clone());
        let inner = Self { scale: 1.0, ..self };
        Ok(Self {
            scale,
            ..Self::over(Base::Nested(Arc::new(inner)), rows, columns, shape)
        })
    }

    /// The picked rows at the given positions.
    fn rows_at(&self, positions: Arc<[u32]>) -> Result<Rows, SourceError> {
        if let Rows::Range(range) = &self.rows
            && range.start == 0
        {
            return Ok(Rows::Listed(positions));
        }
        let rows = positions
            .iter()
            .map(|position| u32::try_from(self.rows.get(u64::from(*position))));
        rows.collect::<Result<Arc<[u32]>, _>>()
            .map(Rows::Listed)
            .map_err(|_| self.too_many())
    }

    fn check_indices(&self, what: &str, indices: &[u32], size: u64) -> Result<(), SourceError> {
        match indices.iter().find(|index| u64::from(**index) >= size) {
            None => Ok(()),
            Some(index) => Err(SourceError::view(
                self.name(),
                format!("{what} {index} does not lie within its {size}"),
            )),
        }
    }

    fn too_many(&self) -> SourceError {
        SourceError::view(self.name(), "more than 2^32 rows can't be picked one by one")
    }
}

/// A shape as a matrix: axis 0 and everything else.
fn matrix(shape: &[u64]) -> (u64, u64) {
    match shape {
        [] => (1, 1),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}

/// Indices of indices.
fn compose(inner: Option<Arc<[u32]>>, outer: Arc<[u32]>) -> Arc<[u32]> {
    match inner {
        None => outer,
        Some(inner) => outer.iter().map(|index| inner[*index as usize]).collect(),
    }
}
