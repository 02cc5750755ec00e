//! The one number format outputs are compared in: f32, row-major, batch axis first.

/// A dense f32 tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape`; `None` when the number of values is not the product of the sizes.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        let count = shape
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size));
        (count == Some(values.len())).then_some(Self { shape, values })
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The sizes of one row: the shape without the batch axis.
    pub fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// Number of rows: the batch axis.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The elements of row `index`; empty when there is no such row.
    pub fn row(&self, index: usize) -> &[f32] {
        let length: usize = self.row_shape().iter().product();
        self.values
            .get(index.saturating_mul(length)..(index.saturating_add(1)).saturating_mul(length))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_slices_of_the_batch_axis() {
        let tensor = Tensor::new(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(tensor.row(1), [3.0, 4.0, 5.0]);
        assert_eq!(tensor.row(2), [] as [f32; 0]);
        assert_eq!(Tensor::new(vec![2, 3], vec![0.0]), None);
        assert_eq!(Tensor::new(vec![usize::MAX, 2], vec![]), None);
    }
}
