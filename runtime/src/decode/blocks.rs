//! Walking over a tensor cut into blocks that share a parameter.

use crate::view::{count, row_major};

/// A dense shape and, per axis, how many blocks it is cut into.
#[derive(Debug)]
pub(super) struct Blocks {
    shape: Vec<usize>,
    /// Elements of a block along each axis.
    sizes: Vec<usize>,
    strides: Vec<isize>,
}

impl Blocks {
    /// `groups` has the rank of `shape`, and each number divides the size it belongs to.
    pub(super) fn new(shape: &[usize], groups: &[usize]) -> Option<Self> {
        if shape.is_empty() || shape.len() != groups.len() {
            return None;
        }
        let sizes = shape
            .iter()
            .zip(groups)
            .map(|(size, groups)| {
                (*groups > 0 && size.is_multiple_of(*groups)).then(|| (size / groups).max(1))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            shape: shape.to_vec(),
            sizes,
            strides: row_major(groups),
        })
    }

    /// Calls `block` with each stretch of row-major elements that share a parameter, and the parameter's index.
    pub(super) fn each(&self, mut block: impl FnMut(std::ops::Range<usize>, usize)) {
        let (width, size) = (self.shape[self.shape.len() - 1], self.sizes[self.sizes.len() - 1]);
        let outer = self.shape.len() - 1;
        if count(&self.shape) == 0 {
            return;
        }
        for row in 0..count(&self.shape[..outer]) {
            let (mut rest, mut group) = (row, 0usize);
            for axis in (0..outer).rev() {
                group += rest % self.shape[axis] / self.sizes[axis] * self.strides[axis] as usize;
                rest /= self.shape[axis];
            }
            for (index, start) in (0..width).step_by(size).enumerate() {
                block(row * width + start..row * width + start + size, group + index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_meets_its_blocks_parameter() {
        let blocks = Blocks::new(&[4, 6], &[2, 3]).unwrap();
        let mut seen = vec![usize::MAX; 24];
        blocks.each(|range, group| seen[range].fill(group));
        let expected: Vec<usize> = (0..24).map(|i| i / 6 / 2 * 3 + i % 6 / 2).collect();
        assert_eq!(seen, expected);
        assert!(Blocks::new(&[4, 6], &[3, 3]).is_none());
        assert!(Blocks::new(&[4, 6], &[0, 3]).is_none());
    }
}
