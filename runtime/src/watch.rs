//! A watch over how large values get, so that what a device could overflow on is seen here.

use std::collections::BTreeMap;

use corer_mil::DataType;

use crate::executable::Observation;
use crate::gemm::Sums;

/// The largest finite fp16 number: beyond it a result is infinite.
pub const HALF_MAX: f32 = 65504.0;
/// The magnitude at which the Neural Engine's accumulator is full (ANE rule N1).
pub const ACCUMULATOR_LIMIT: f32 = crate::ane::LIMIT;

/// How large the values of one operation got over all inputs it was seen with.
#[derive(Clone, PartialEq, Debug)]
pub struct Extent {
    /// Operation name.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// Element type of its result.
    pub dtype: DataType,
    /// The largest magnitude of an element of its results, NaN passed over.
    pub largest: f32,
    /// Elements that were not finite.
    pub nonfinite: u64,
    /// How far its sums of products went, for operations that form such sums.
    pub sums: Option<Sums>,
}

impl Extent {
    /// How many times as large its results could be before fp16 overflows; `None` where they are not fp16 or all zero.
    pub fn result_headroom(&self) -> Option<f32> {
        (self.dtype == DataType::Fp16 && self.largest > 0.0).then(|| HALF_MAX / self.largest)
    }

    /// How many times as large its sums could be, on the way or at the end, before the Neural Engine's accumulator is
    /// full; `None` where it forms none of fp16 numbers.
    pub fn accumulator_headroom(&self) -> Option<f32> {
        self.headroom_of(|sums| sums.reached)
    }

    /// As [`Self::accumulator_headroom`], whatever the order in which products are added.
    pub fn certain_headroom(&self) -> Option<f32> {
        self.headroom_of(|sums| sums.bound)
    }

    fn headroom_of(&self, reach: fn(&Sums) -> f32) -> Option<f32> {
        let reach = self.sums.as_ref().map(reach)?;
        (self.dtype == DataType::Fp16 && reach > 0.0).then(|| ACCUMULATOR_LIMIT / reach)
    }

    /// The smaller of result and accumulator headroom; below 1 the operation overflows, at 1 the accumulator does.
    pub fn headroom(&self) -> Option<f32> {
        match (self.result_headroom(), self.accumulator_headroom()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Collects the largest magnitudes over any number of runs: give it to [`crate::Executable::run_observed`].
///
/// What it says is true of the arithmetic the function runs in. In [`crate::Arithmetic::F32`] nothing overflows, so
/// that every operation's own need is seen, also behind one that would overflow.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    extents: Vec<Extent>,
    places: BTreeMap<String, usize>,
}

impl Watch {
    /// Takes an operation's result into account.
    pub fn see(&mut self, observation: &Observation<'_>) {
        let Some((largest, nonfinite)) = observation.extent() else {
            return;
        };
        let sums = observation.sums();
        let place = match self.places.get(observation.operation) {
            Some(place) => *place,
            None => {
                self.places
                    .insert(observation.operation.to_owned(), self.extents.len());
                self.extents.push(Extent {
                    operation: observation.operation.to_owned(),
                    op: observation.op.to_owned(),
                    dtype: observation.dtype,
                    largest: 0.0,
                    nonfinite: 0,
                    sums: None,
                });
                self.extents.len() - 1
            }
        };
        let extent = &mut self.extents[place];
        extent.largest = extent.largest.max(largest);
        extent.nonfinite += nonfinite;
        extent.sums = match (extent.sums, sums) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
    }

    /// What was seen, in the order operations ran first.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }
}
