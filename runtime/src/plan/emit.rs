//! Collecting steps: what lowering rules write to.

use std::collections::HashMap;
use std::sync::Arc;

use corer_mil::{DataType, WeightError};

use super::constants::{ConstantId, Constants, Store};
use super::{Plan, Step};
use crate::ane::{Accumulator, AneRounding, AneRules};
use crate::buffer::{Buffer, OutOfMemory};
use crate::half_values::Rounding;
use crate::kernels::{Copy, Fault, Kernel};
use crate::options::Arithmetic;
use crate::team::Team;
use crate::view::{Storage, View, count};

/// Why an operation can't be lowered.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The program is wrong.
    Invalid(String),
    /// The program may be right, but this engine can't do it.
    Unsupported(String),
    /// A weight can't be read.
    Weight { value: String, source: WeightError },
    /// Memory would pass the limit.
    TooLarge { needed: u64 },
    /// Sizes depend on these values, which only a run can tell.
    Needs(Vec<String>),
    /// A constant expression has no value.
    Fault(Fault),
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<OutOfMemory> for Reason {
    fn from(out: OutOfMemory) -> Self {
        Self::TooLarge {
            needed: out.words as u64 * 4,
        }
    }
}

/// Identifies a packed form of a view, so that it is made once.
type PackKey = (View, &'static str);

/// Steps, buffers and constants under construction.
#[derive(Debug)]
pub(crate) struct Emit<'p> {
    pub(crate) steps: Vec<Step>,
    /// Words of each buffer.
    pub(crate) buffers: Vec<usize>,
    pub(crate) constants: Vec<Arc<Buffer>>,
    /// The operation being lowered.
    pub(crate) operation: usize,
    pub(crate) store: &'p Store,
    pub(crate) team: Team,
    arithmetic: Arithmetic,
    made: Vec<(PackKey, View)>,
    loaded: HashMap<ConstantId, usize>,
    bytes: u64,
    limit: u64,
}

impl<'p> Emit<'p> {
    pub(crate) fn new(store: &'p Store, team: Team, arithmetic: Arithmetic, limit: u64) -> Self {
        Self {
            steps: Vec::new(),
            buffers: Vec::new(),
            constants: Vec::new(),
            operation: 0,
            store,
            team,
            arithmetic,
            made: Vec::new(),
            loaded: HashMap::new(),
            bytes: 0,
            limit,
        }
    }

    /// How values of the type are rounded.
    pub(crate) fn rounds(&self, dtype: DataType) -> Rounding {
        match self.arithmetic {
            Arithmetic::AsWritten if dtype == DataType::Fp16 => Rounding::Even,
            Arithmetic::Ane(rules) if dtype == DataType::Fp16 => Rounding::Ane(AneRounding::new(rules)),
            _ => Rounding::None,
        }
    }

    /// The rules of the Neural Engine that hold for an operation whose result has this type: all asked for where it
    /// is fp16, since operations of no other type run there (ANE rule D1, D3).
    pub(crate) fn ane(&self, dtype: DataType) -> AneRules {
        match self.arithmetic {
            Arithmetic::Ane(rules) if dtype == DataType::Fp16 => rules,
            _ => AneRules::NONE,
        }
    }

    /// How an operation whose result has this type holds sums of products.
    pub(crate) fn accumulator(&self, dtype: DataType) -> Accumulator {
        Accumulator::new(self.ane(dtype))
    }

    /// Counts memory about to be taken.
    pub(crate) fn take(&mut self, words: usize) -> Result<(), Reason> {
        self.bytes = self.bytes.saturating_add((words as u64).saturating_mul(4));
        if self.bytes > self.limit {
            return Err(Reason::TooLarge { needed: self.bytes });
        }
        Ok(())
    }

    /// A new buffer.
    pub(crate) fn buffer(&mut self, words: usize) -> Result<usize, Reason> {
        self.take(words)?;
        self.buffers.push(words);
        Ok(self.buffers.len() - 1)
    }

    /// Adds a step that fills a new buffer of `shape`.
    pub(crate) fn step(
        &mut self,
        kernel: impl Kernel + 'static,
        inputs: &[&View],
        shape: &[usize],
        dtype: DataType,
    ) -> Result<View, Reason> {
        let output = self.buffer(count(shape))?;
        self.steps.push(Step {
            kernel: Box::new(kernel),
            inputs: inputs.iter().map(|view| view.storage).collect(),
            output,
            operation: self.operation,
        });
        Ok(View::whole(Storage::Buffer(output), shape.to_vec(), dtype))
    }

    /// Adds a step whose result is a derived form of `view` (a copy, panels), unless there is one already.
    pub(crate) fn derived<K: Kernel + 'static>(
        &mut self,
        view: &View,
        form: &'static str,
        shape: &[usize],
        kernel: impl FnOnce() -> K,
    ) -> Result<View, Reason> {
        let known = self
            .made
            .iter()
            .rev()
            .find(|((made, other), _)| *other == form && made == view);
        if let Some((_, made)) = known {
            return Ok(made.clone());
        }
        let made = self.step(kernel(), &[view], shape, view.dtype)?;
        self.made.push(((view.clone(), form), made.clone()));
        Ok(made)
    }

    /// The view's elements row-major and without gaps: itself, or a copy.
    pub(crate) fn contiguous(&mut self, view: &View) -> Result<View, Reason> {
        if view.is_contiguous() {
            return Ok(view.clone());
        }
        self.derived(view, "row-major", &view.shape, || Copy::new(view))
    }

    /// Registers a constant's storage.
    pub(crate) fn constant(&mut self, buffer: Arc<Buffer>) -> Storage {
        self.constants.push(buffer);
        Storage::Constant(self.constants.len() - 1)
    }

    /// A constant's decoded elements.
    pub(crate) fn load(&mut self, constants: &Constants, id: ConstantId) -> Result<View, Reason> {
        let constant = constants.get(id);
        let index = match self.loaded.get(&id) {
            Some(index) => *index,
            None => {
                let buffer = constants.decode(id, self)?;
                self.constants.push(buffer);
                let index = self.constants.len() - 1;
                self.loaded.insert(id, index);
                index
            }
        };
        Ok(View::whole(
            Storage::Constant(index),
            constant.shape.clone(),
            constant.dtype,
        ))
    }

    /// Runs the steps from `first` on now, takes them out, and gives what fills `view`'s buffer. All their inputs
    /// are constants or results of steps among them.
    pub(crate) fn fold(&mut self, first: usize, views: Vec<View>) -> Result<Vec<View>, Reason> {
        let steps = self.steps.split_off(first);
        let mut made: HashMap<usize, Arc<Buffer>> = HashMap::new();
        for step in &steps {
            let mut output = Buffer::zeroed(self.buffers[step.output])?;
            let inputs: Vec<&[u32]> = step
                .inputs
                .iter()
                .map(|input| match input {
                    Storage::Constant(index) => self.constants[*index].words(),
                    Storage::Buffer(index) => made.get(index).map_or(&[][..], |buffer| buffer.words()),
                })
                .collect();
            let io = crate::kernels::Io {
                inputs: &inputs,
                output: output.words_mut(),
                team: self.team,
            };
            step.kernel.run(io)?;
            made.insert(step.output, Arc::new(output));
        }
        let mut moved: HashMap<usize, Storage> = HashMap::new();
        let mut move_to_constants = |view: &mut View, emit: &mut Self| {
            if let Storage::Buffer(index) = view.storage
                && let Some(buffer) = made.get(&index)
            {
                view.storage = *moved
                    .entry(index)
                    .or_insert_with(|| emit.constant(Arc::clone(buffer)));
            }
        };
        let mut views = views;
        for view in &mut views {
            move_to_constants(view, self);
        }
        // Copies and panels made on the way now lie among the constants too, or are forgotten.
        let mut kept = std::mem::take(&mut self.made);
        kept.retain(|((from, _), to)| {
            let gone =
                |view: &View| matches!(view.storage, Storage::Buffer(index) if made.contains_key(&index));
            !gone(from) && !gone(to)
        });
        self.made = kept;
        Ok(views)
    }

    /// Ends collecting.
    pub(crate) fn finish(self) -> Plan {
        Plan {
            steps: self.steps,
            constants: self.constants,
            places: Vec::new(),
            slots: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            sightings: Vec::new(),
        }
    }
}
