//! Running a plan.

use corer_mil::DataType;
use half::f16;

use super::{OutputPlan, Plan, Sighting};
use crate::ane::AneRounding;
use crate::buffer::{Buffer, OutOfMemory};
use crate::gemm::Sums;
use crate::half_values;
use crate::kernels::{Fault, Io, Kernel, copy};
use crate::options::Arithmetic;
use crate::team::{Team, Threads};
use crate::tensor::{Tensor, TensorData};
use crate::view::{Nest, Storage, View};

/// Memory for one run of a plan.
#[derive(Debug)]
pub(crate) struct Workspace {
    slots: Vec<Buffer>,
}

impl Workspace {
    /// Memory for any run of the plan.
    pub(crate) fn new(plan: &Plan) -> Result<Self, OutOfMemory> {
        let slots = plan.slots.iter().map(|words| Buffer::zeroed(*words));
        Ok(Self {
            slots: slots.collect::<Result<_, _>>()?,
        })
    }
}

/// Who wants to see values.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&Sighting, Seen<'_>);

/// A value in the memory of a run, as long as an observer looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    plan: &'a Plan,
    workspace: &'a Workspace,
    sighting: &'a Sighting,
    arithmetic: Arithmetic,
    threads: &'a Threads,
}

impl Seen<'_> {
    /// Its elements.
    pub(crate) fn tensor(&self) -> Tensor {
        self.plan.tensor(
            self.workspace,
            &self.sighting.view,
            self.arithmetic,
            self.threads.team(),
        )
    }

    /// The largest magnitude of its elements, which are floats, and how many of them are not finite.
    pub(crate) fn extent(&self) -> (f32, u64) {
        let view = &self.sighting.view;
        let nest = Nest::new(&view.shape, &[&view.strides]);
        let values: &[f32] = bytemuck::cast_slice(self.plan.storage(self.workspace, view.storage));
        let (inner, stride) = (nest.inner(), nest.inner_stride(0));
        let (mut largest, mut nonfinite) = (0f32, 0u64);
        let mut see = |value: f32| {
            let magnitude = value.abs();
            nonfinite += u64::from(!magnitude.is_finite());
            largest = if magnitude > largest { magnitude } else { largest };
        };
        for run in 0..nest.runs() {
            let start = view.offset.wrapping_add_signed(nest.start(0, run));
            match stride {
                1 => values[start..start + inner].iter().for_each(|value| see(*value)),
                0 if inner > 0 => see(values[start]),
                _ => (0..inner).for_each(|i| see(values[start.wrapping_add_signed(i as isize * stride)])),
            }
        }
        (largest, nonfinite)
    }

    /// How far the sums of products went that it is made of.
    pub(crate) fn sums(&self) -> Option<Sums> {
        let step = self.plan.steps.get(self.sighting.after.checked_sub(1)?)?;
        if step.operation != self.sighting.operation {
            return None;
        }
        // Nothing has been written since this step ran, so its inputs are still there.
        let inputs: Vec<&[u32]> = step
            .inputs
            .iter()
            .map(|input| self.plan.storage(self.workspace, *input))
            .collect();
        self.threads
            .install(|| step.kernel.sums(&inputs, self.threads.team()))
    }
}

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Index of the operation.
    pub(crate) operation: usize,
    pub(crate) fault: Fault,
}

impl Plan {
    fn storage<'a>(&'a self, workspace: &'a Workspace, storage: Storage) -> &'a [u32] {
        match storage {
            Storage::Constant(index) => self.constants[index].words(),
            Storage::Buffer(buffer) => {
                let place = self.places[buffer];
                &workspace.slots[place.slot].words()[..place.words]
            }
        }
    }

    /// Computes all buffers from the inputs, which fit (see [`super::super::Executable::run`]).
    pub(crate) fn run(
        &self,
        workspace: &mut Workspace,
        inputs: &[&Tensor],
        arithmetic: Arithmetic,
        threads: &Threads,
        observer: Option<Observer<'_>>,
    ) -> Result<(), Failure> {
        // An observer stays on the caller's thread, so only the kernels go to the pool.
        let observed = observer.is_some();
        self.run_with(
            workspace,
            inputs,
            arithmetic,
            threads,
            observer,
            &mut |kernel, io| {
                if observed {
                    threads.install(|| kernel.run(io))
                } else {
                    kernel.run(io)
                }
            },
        )
    }

    fn run_with(
        &self,
        workspace: &mut Workspace,
        inputs: &[&Tensor],
        arithmetic: Arithmetic,
        threads: &Threads,
        mut observer: Option<Observer<'_>>,
        call: &mut dyn FnMut(&dyn Kernel, Io<'_>) -> Result<(), Fault>,
    ) -> Result<(), Failure> {
        let team = threads.team();
        for (view, tensor) in self.inputs.iter().zip(inputs) {
            if let Storage::Buffer(buffer) = view.storage {
                let place = self.places[buffer];
                let words = &mut workspace.slots[place.slot].words_mut()[..place.words];
                let half = view.dtype == DataType::Fp16;
                read(tensor, half && arithmetic != Arithmetic::F32, words);
                if let (true, Arithmetic::Ane(rules)) = (half, arithmetic) {
                    AneRounding::new(rules).read(bytemuck::cast_slice_mut(words));
                }
            }
        }
        let mut sightings = self.sightings.iter().peekable();
        let mut show = |done: usize, workspace: &Workspace| {
            if let Some(observer) = &mut observer {
                while let Some(sighting) = sightings.next_if(|sighting| sighting.after == done) {
                    let seen = Seen {
                        plan: self,
                        workspace,
                        sighting,
                        arithmetic,
                        threads,
                    };
                    observer(sighting, seen);
                }
            }
        };
        show(0, workspace);
        for (index, step) in self.steps.iter().enumerate() {
            let place = self.places[step.output];
            // Taken out while it is written; no input of a step shares its slot, their lives overlap.
            let mut output = std::mem::take(&mut workspace.slots[place.slot]);
            let inputs: Vec<&[u32]> = step
                .inputs
                .iter()
                .map(|input| self.storage(workspace, *input))
                .collect();
            let io = Io {
                inputs: &inputs,
                output: &mut output.words_mut()[..place.words],
                team,
            };
            let outcome = call(&*step.kernel, io);
            workspace.slots[place.slot] = output;
            outcome.map_err(|fault| Failure {
                operation: step.operation,
                fault,
            })?;
            show(index + 1, workspace);
        }
        Ok(())
    }

    /// As [`Self::run`], with the seconds each step took.
    pub(crate) fn run_timed(
        &self,
        workspace: &mut Workspace,
        inputs: &[&Tensor],
        arithmetic: Arithmetic,
        threads: &Threads,
    ) -> Result<Vec<f64>, Failure> {
        let mut times = Vec::with_capacity(self.steps.len());
        self.run_with(workspace, inputs, arithmetic, threads, None, &mut |kernel, io| {
            let start = std::time::Instant::now();
            let outcome = kernel.run(io);
            times.push(start.elapsed().as_secs_f64());
            outcome
        })?;
        Ok(times)
    }

    /// A view's elements as a tensor.
    pub(crate) fn tensor(
        &self,
        workspace: &Workspace,
        view: &View,
        arithmetic: Arithmetic,
        team: Team,
    ) -> Tensor {
        let words = self.words(workspace, view, team);
        let data = write(words, view.dtype, arithmetic != Arithmetic::F32);
        Tensor::from_parts(view.shape.clone(), data)
    }

    /// A view's elements row-major.
    pub(crate) fn words(&self, workspace: &Workspace, view: &View, team: Team) -> Vec<u32> {
        let mut words = vec![0; view.count()];
        let nest = Nest::new(&view.shape, &[&view.strides]);
        copy(
            team,
            self.storage(workspace, view.storage),
            view.offset,
            &nest,
            &mut words,
        );
        words
    }

    /// The view behind an output.
    pub(crate) fn output_view(output: &OutputPlan) -> &View {
        let (OutputPlan::Tensor(view) | OutputPlan::Label(view) | OutputPlan::Probabilities(view)) = output;
        view
    }
}

/// Elements to words.
fn read(tensor: &Tensor, round: bool, words: &mut [u32]) {
    fn ints<T: Copy>(values: &[T], words: &mut [u32], to: impl Fn(T) -> i32) {
        for (word, value) in words.iter_mut().zip(values) {
            *word = to(*value) as u32;
        }
    }
    match tensor.data() {
        TensorData::F32(values) => {
            let words: &mut [f32] = bytemuck::cast_slice_mut(words);
            words.copy_from_slice(values);
            if round {
                half_values::round_all(words);
            }
        }
        TensorData::F16(values) => {
            for (word, value) in words.iter_mut().zip(values) {
                *word = value.to_f32().to_bits();
            }
        }
        TensorData::I32(values) => ints(values, words, |value| value),
        TensorData::I16(values) => ints(values, words, i32::from),
        TensorData::I8(values) => ints(values, words, i32::from),
        TensorData::U16(values) => ints(values, words, i32::from),
        TensorData::U8(values) => ints(values, words, i32::from),
        TensorData::Bool(values) => ints(values, words, i32::from),
        // No input is declared so; the run refused it.
        TensorData::F64(_) | TensorData::I64(_) | TensorData::Strings(_) => {}
    }
}

/// Words to elements.
fn write(words: Vec<u32>, dtype: DataType, half: bool) -> TensorData {
    let int = |word: &u32| *word as i32;
    match dtype {
        DataType::Fp16 if half => TensorData::F16(
            words
                .iter()
                .map(|word| f16::from_f32(f32::from_bits(*word)))
                .collect(),
        ),
        dtype if dtype.is_float() => TensorData::F32(bytemuck::allocation::cast_vec(words)),
        DataType::Int8 => TensorData::I8(words.iter().map(|word| int(word) as i8).collect()),
        DataType::UInt8 => TensorData::U8(words.iter().map(|word| int(word) as u8).collect()),
        DataType::Int16 => TensorData::I16(words.iter().map(|word| int(word) as i16).collect()),
        DataType::UInt16 => TensorData::U16(words.iter().map(|word| int(word) as u16).collect()),
        DataType::Bool => TensorData::Bool(words.iter().map(|word| *word != 0).collect()),
        _ => TensorData::I32(bytemuck::allocation::cast_vec(words)),
    }
}
