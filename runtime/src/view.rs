//! Where a value's elements lie: a place in some storage, sizes and strides. Reshapes, slices and transpositions
//! make new views of old storage.

use corer_mil::DataType;

/// What holds a value's words while a plan runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Storage {
    /// A buffer some step (or the caller's input) fills.
    Buffer(usize),
    /// A decoded constant.
    Constant(usize),
}

/// A strided view of storage. Strides are in words and may be zero (broadcast) or negative (reversed).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    pub(crate) storage: Storage,
    /// Index of the first element.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<isize>,
    /// The type the program declares; words are f32 for float types and i32 for the others.
    pub(crate) dtype: DataType,
}

/// Row-major strides of a shape.
pub(crate) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1isize;
    for (axis, size) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride = stride.saturating_mul(isize::try_from(*size).unwrap_or(isize::MAX));
    }
    strides
}

/// Number of elements of a shape whose product is known to fit.
pub(crate) fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl View {
    /// All of a storage, row-major.
    pub(crate) fn whole(storage: Storage, shape: Vec<usize>, dtype: DataType) -> Self {
        let strides = row_major(&shape);
        Self {
            storage,
            offset: 0,
            shape,
            strides,
            dtype,
        }
    }

    /// Number of dimensions.
    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        count(&self.shape)
    }

    /// Whether elements are floats.
    pub(crate) fn is_float(&self) -> bool {
        self.dtype.is_float()
    }

    /// Whether elements lie row-major without gaps.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut stride = 1isize;
        for (size, actual) in self.shape.iter().zip(&self.strides).rev() {
            if *size == 0 {
                return true;
            }
            if *size != 1 {
                if *actual != stride {
                    return false;
                }
                stride *= *size as isize;
            }
        }
        true
    }

    /// The same elements under another type.
    pub(crate) fn with_dtype(mut self, dtype: DataType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The same elements in another shape, if strides can say it.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let make = |strides| Self {
            storage: self.storage,
            offset: self.offset,
            shape: shape.to_vec(),
            strides,
            dtype: self.dtype,
        };
        if self.is_contiguous() {
            return Some(make(row_major(shape)));
        }
        // Old axes of size 1 say nothing; the others must merge and split group by group.
        let old: Vec<(usize, isize)> = self
            .shape
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(size, _)| *size != 1)
            .collect();
        let mut strides = vec![0isize; shape.len()];
        let (mut from, mut to) = (0, 0);
        while from < old.len() {
            let (mut have, mut want) = (old[from].0, 1);
            let first = to;
            let mut last = from;
            loop {
                if want < have {
                    want *= shape.get(to)?;
                    to += 1;
                } else if have < want {
                    last += 1;
                    have *= old.get(last)?.0;
                } else {
                    break;
                }
            }
            for pair in from..last {
                if old[pair].1 != old[pair + 1].1 * old[pair + 1].0 as isize {
                    return None;
                }
            }
            let mut stride = old[last].1;
            for axis in (first..to).rev() {
                strides[axis] = stride;
                stride *= shape[axis] as isize;
            }
            from = last + 1;
        }
        Some(make(strides))
    }

    /// Axes in another order.
    pub(crate) fn permuted(&self, perm: &[usize]) -> Self {
        Self {
            shape: perm.iter().map(|axis| self.shape[*axis]).collect(),
            strides: perm.iter().map(|axis| self.strides[*axis]).collect(),
            ..self.clone()
        }
    }

    /// `size` elements of an axis from `start` on, `step` apart.
    pub(crate) fn sliced(&self, axis: usize, start: usize, size: usize, step: isize) -> Self {
        let mut view = self.clone();
        if size > 0 {
            view.offset = self
                .offset
                .wrapping_add_signed((start as isize).wrapping_mul(self.strides[axis]));
        }
        view.shape[axis] = size;
        view.strides[axis] = self.strides[axis].wrapping_mul(step);
        view
    }

    /// Repeated along axes of size 1 and new leading axes, as numpy broadcasts; `None` when it doesn't fit.
    pub(crate) fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let lead = shape.len().checked_sub(self.rank())?;
        let mut strides = vec![0; lead];
        for (axis, (size, stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            strides.push(match (*size, shape[lead + axis]) {
                (size, wanted) if size == wanted => *stride,
                (1, _) => 0,
                _ => return None,
            });
        }
        Some(Self {
            shape: shape.to_vec(),
            strides,
            ..self.clone()
        })
    }
}

/// Sizes and strides with neighbouring axes merged wherever every operand allows it, and without axes of size 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Nest {
    /// Sizes, outermost first; never empty.
    pub(crate) sizes: Vec<usize>,
    /// Strides by operand, then axis.
    pub(crate) strides: Vec<Vec<isize>>,
}

impl Nest {
    /// Merges the axes of `shape` that all operands step through evenly.
    pub(crate) fn new(shape: &[usize], operands: &[&[isize]]) -> Self {
        let mut sizes: Vec<usize> = Vec::new();
        let mut strides: Vec<Vec<isize>> = vec![Vec::new(); operands.len()];
        for (axis, size) in shape.iter().enumerate() {
            if *size == 1 {
                continue;
            }
            let merges = !sizes.is_empty()
                && operands.iter().zip(&strides).all(|(operand, merged)| {
                    merged
                        .last()
                        .is_some_and(|last| *last == operand[axis].wrapping_mul(*size as isize))
                });
            if merges {
                let last = sizes.len() - 1;
                sizes[last] *= size;
                for (operand, merged) in operands.iter().zip(&mut strides) {
                    merged[last] = operand[axis];
                }
            } else {
                sizes.push(*size);
                for (operand, merged) in operands.iter().zip(&mut strides) {
                    merged.push(operand[axis]);
                }
            }
        }
        if sizes.is_empty() {
            sizes.push(1);
            for merged in &mut strides {
                merged.push(0);
            }
        }
        Self { sizes, strides }
    }

    /// The innermost size.
    pub(crate) fn inner(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// How many runs of the innermost size there are.
    pub(crate) fn runs(&self) -> usize {
        count(&self.sizes[..self.sizes.len() - 1])
    }

    /// The innermost stride of an operand.
    pub(crate) fn inner_stride(&self, operand: usize) -> isize {
        self.strides[operand][self.sizes.len() - 1]
    }

    /// Where a run of an operand starts, relative to the operand's offset.
    pub(crate) fn start(&self, operand: usize, mut run: usize) -> isize {
        let mut offset = 0isize;
        for axis in (0..self.sizes.len() - 1).rev() {
            let size = self.sizes[axis];
            offset += (run % size) as isize * self.strides[operand][axis];
            run /= size;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[isize]) -> View {
        View {
            storage: Storage::Buffer(0),
            offset: 0,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            dtype: DataType::Fp32,
        }
    }

    #[test]
    fn reshape_keeps_strides_where_axes_do_not_mix() {
        // (2, 3, 4) transposed to (4, 2, 3): the last two axes still merge, the first can split.
        let moved = view(&[4, 2, 3], &[1, 12, 4]);
        assert_eq!(moved.reshaped(&[4, 6]).unwrap().strides, [1, 4]);
        assert_eq!(moved.reshaped(&[2, 2, 1, 6]).unwrap().strides, [2, 1, 24, 4]);
        assert_eq!(moved.reshaped(&[8, 3]), None);
    }

    #[test]
    fn nest_merges_what_all_operands_step_through_evenly() {
        // (2, 3, 4) plus a row of 4.
        let nest = Nest::new(&[2, 3, 4], &[&[12, 4, 1], &[0, 0, 1]]);
        assert_eq!(nest.sizes, [6, 4]);
        assert_eq!(nest.strides, [vec![4, 1], vec![0, 1]]);
        assert_eq!(nest.start(0, 5), 20);
        assert_eq!(nest.start(1, 5), 0);
        assert_eq!(Nest::new(&[1, 1], &[&[1, 1]]).sizes, [1]);
    }
}
