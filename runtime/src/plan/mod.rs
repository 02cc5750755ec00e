//! From a function to a list of steps over planned buffers.
//!
//! A plan is made for inputs of known sizes. Operations are visited in order; what depends on constants alone is
//! computed on the spot, views are resolved, neighbours are fused, and every buffer gets a place in memory that is
//! shared by buffers whose lives don't overlap.

mod build;
mod constants;
mod emit;
mod execute;
mod places;
mod values;

pub(crate) use build::{Outcome, Request, build, known_sizes, value_of};
pub(crate) use constants::{ConstantId, Constants, Store};
pub(crate) use emit::{Emit, Reason};
pub(crate) use execute::{Failure, Seen, Workspace};
pub(crate) use places::Place;
pub(crate) use values::{Held, Op};

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::kernels::Kernel;
use crate::view::{Storage, View};

/// One kernel to run.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) inputs: Vec<Storage>,
    /// The buffer it fills.
    pub(crate) output: usize,
    /// Index of the operation it computes (or is part of).
    pub(crate) operation: usize,
}

/// A value to be shown to an observer.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// Steps that must have run.
    pub(crate) after: usize,
    /// Index of the operation.
    pub(crate) operation: usize,
    /// Index of its result.
    pub(crate) result: usize,
    pub(crate) view: View,
}

/// What an output is made of.
#[derive(Debug)]
pub(crate) enum OutputPlan {
    /// A tensor.
    Tensor(View),
    /// The best of a classifier's labels.
    Label(View),
    /// A classifier's probabilities.
    Probabilities(View),
}

/// A function planned for inputs of known sizes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) constants: Vec<Arc<Buffer>>,
    /// Where each buffer lies.
    pub(crate) places: Vec<Place>,
    /// Words of each slot of memory.
    pub(crate) slots: Vec<usize>,
    /// The buffer each input goes to.
    pub(crate) inputs: Vec<View>,
    /// Outputs, in declared order.
    pub(crate) outputs: Vec<(String, OutputPlan)>,
    pub(crate) sightings: Vec<Sighting>,
}
