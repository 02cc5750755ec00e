//! A function made ready to run: the public face of this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use corer_mil::{
    Binding, Block, Data, DataType, Function, NamedType, Program, TensorType, Value, ValueType, ops,
};

use crate::decode::is_constexpr;
use crate::engine::{Engine, EngineDescription};
use crate::error::{CompileError, RunError, UnsupportedOp};
use crate::gemm::Sums;
use crate::kernels::{Fault, lowering};
use crate::options::{Arithmetic, Options};
use crate::plan::{
    self, Failure, Outcome, OutputPlan, Plan, Request, Seen, Store, Workspace, known_sizes, value_of,
};
use crate::team::Threads;
use crate::tensor::{Tensor, TensorData};

/// A compiled function. Running takes `&self` and may happen on several threads at once.
#[derive(Debug)]
pub struct Executable {
    function: Function,
    name: String,
    outputs: Vec<NamedType>,
    labels: BTreeMap<String, Labels>,
    arithmetic: Arithmetic,
    memory_limit: u64,
    threads: Threads,
    store: Store,
    plans: Mutex<Vec<Arc<Planned>>>,
}

/// A plan with what it was made for, and memory that no run is using.
#[derive(Debug)]
struct Planned {
    key: Key,
    plan: Plan,
    spare: Mutex<Vec<Workspace>>,
}

/// What a plan is made for: sizes of the inputs, values that other sizes depend on, what is to come out.
#[derive(Clone, Debug)]
struct Key {
    sizes: Vec<Vec<usize>>,
    planned: BTreeMap<String, Value>,
    wanted: Option<Vec<String>>,
    observed: bool,
}

impl Key {
    fn is(&self, other: &Self) -> bool {
        self.observed == other.observed
            && self.sizes == other.sizes
            && self.wanted == other.wanted
            && self.planned.len() == other.planned.len()
            && self
                .planned
                .iter()
                .zip(&other.planned)
                .all(|((name, a), (other, b))| {
                    name == other && a.ty == b.ty && a.immediate_bytes() == b.immediate_bytes()
                })
    }
}

/// Plans kept for other sizes than the last ones used.
const KEPT_PLANS: usize = 8;

/// One value an operation produced, as an observer sees it.
///
/// What the observer doesn't ask for costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Operation name.
    pub operation: &'a str,
    /// Operation type.
    pub op: &'a str,
    /// Name of the value.
    pub value: &'a str,
    /// Element type the program declares.
    pub dtype: DataType,
    seen: Seen<'a>,
}

impl Observation<'_> {
    /// The value: a copy.
    pub fn tensor(&self) -> Tensor {
        self.seen.tensor()
    }

    /// The largest magnitude of its elements, NaN passed over, and how many of them are not finite. `None` for
    /// elements that are no floats.
    pub fn extent(&self) -> Option<(f32, u64)> {
        self.dtype.is_float().then(|| self.seen.extent())
    }

    /// How far the sums of products went that it is made of. `None` for operations other than `conv`, `linear`,
    /// `matmul`, `einsum` and `scaled_dot_product_attention` of floats. Takes a few times as long as the operation.
    pub fn sums(&self) -> Option<Sums> {
        self.seen.sums()
    }
}

/// The classes a classifier chooses from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the element type says it
pub enum Labels {
    Strings(Vec<String>),
    Integers(Vec<i64>),
}

impl Executable {
    /// Makes `function` of `program` ready to run.
    ///
    /// Where all input sizes are known, constants are decoded, weights packed and buffers planned here; else a plan is
    /// made at the first run with each set of sizes.
    ///
    /// # Errors
    /// When there is no such function, an operation is not supported (all of them are listed) or not well-formed,
    /// a weight can't be read, or the memory limit would be passed.
    pub fn compile(program: &Program, function: &str, options: &Options) -> Result<Self, CompileError> {
        let Some(source) = program.functions.get(function) else {
            return Err(CompileError::NoSuchFunction {
                function: function.into(),
                available: program.functions.keys().cloned().collect(),
            });
        };
        let Some(body) = source.body() else {
            return Err(CompileError::NoBody {
                function: function.into(),
                opset: source.opset.to_string(),
            });
        };
        let unsupported = unsupported(source, body);
        if !unsupported.is_empty() {
            return Err(CompileError::Unsupported {
                function: function.into(),
                ops: unsupported,
            });
        }
        let outputs = interface(source, body, function)?;
        let threads = Threads::new(options.threads).map_err(|error| CompileError::Threads {
            reason: error.to_string(),
        })?;
        let executable = Self {
            labels: labels(body),
            function: source.clone(),
            name: function.into(),
            outputs,
            arithmetic: options.arithmetic,
            memory_limit: options.memory_limit,
            threads,
            store: Store::default(),
            plans: Mutex::new(Vec::new()),
        };
        let sizes: Option<Vec<_>> = executable
            .function
            .inputs
            .iter()
            .map(|input| input.ty.as_tensor().and_then(known_sizes))
            .collect();
        if let Some(sizes) = sizes {
            // A function whose sizes depend on values is planned at its first run.
            let _ = executable.planned(Key {
                sizes,
                planned: BTreeMap::new(),
                wanted: None,
                observed: false,
            })?;
        }
        Ok(executable)
    }

    /// The function's inputs, in declared order.
    pub fn inputs(&self) -> &[NamedType] {
        &self.function.inputs
    }

    /// The function's outputs, in declared order. Under [`crate::Arithmetic::F32`] outputs declared fp16 are
    /// delivered as [`crate::TensorData::F32`]. A classifier's dictionary is delivered as the vector of its
    /// probabilities, in the order of [`Self::labels`].
    pub fn outputs(&self) -> &[NamedType] {
        &self.outputs
    }

    /// The classes behind an output of `classify`: its label or its dictionary.
    pub fn labels(&self, output: &str) -> Option<&Labels> {
        self.labels.get(output)
    }

    /// Computes the outputs. An input declared fp16 or fp32 may be given as either; anything else must have the
    /// declared element type.
    ///
    /// # Errors
    /// When inputs don't fit, or an index is out of range.
    pub fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, RunError> {
        self.execute(inputs, None)
    }

    /// As [`Self::run`], showing the observer every value an operation computes, in execution order. Operations
    /// whose operands are all constants were computed when planning and are not shown. Slower than `run`: nothing
    /// is fused. The values are those `run` computes, to the bit.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_observed(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        observer: &mut dyn FnMut(&Observation<'_>),
    ) -> Result<BTreeMap<String, Tensor>, RunError> {
        self.execute(inputs, Some(observer))
    }

    /// What the time of a run goes to: operation types with how many kernels they took and the seconds of the
    /// fastest of `iterations` runs of each, longest first. Kernels that serve several fused operations count for
    /// the first.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn profile(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        iterations: usize,
    ) -> Result<Vec<(String, usize, f64)>, RunError> {
        let inputs = self.check(inputs)?;
        let mut key = Key {
            sizes: inputs.iter().map(|tensor| tensor.shape().to_vec()).collect(),
            planned: BTreeMap::new(),
            wanted: None,
            observed: false,
        };
        let planned = self.resolve(&mut key, &inputs)?;
        let mut workspace = planned.workspace()?;
        let mut fastest = vec![f64::INFINITY; planned.plan.steps.len()];
        for _ in 0..iterations.max(1) {
            let times = self
                .threads
                .install(|| {
                    planned
                        .plan
                        .run_timed(&mut workspace, &inputs, self.arithmetic, &self.threads)
                })
                .map_err(|failure| self.failed(failure))?;
            for (fastest, time) in fastest.iter_mut().zip(times) {
                *fastest = fastest.min(time);
            }
        }
        let operations = self
            .function
            .body()
            .map_or(&[][..], |body| body.operations.as_slice());
        let mut groups: BTreeMap<String, (usize, f64)> = BTreeMap::new();
        for (step, time) in planned.plan.steps.iter().zip(fastest) {
            let kernel = format!("{:?}", step.kernel);
            let kernel = kernel.split([' ', '{', '(']).next().unwrap_or_default();
            let group = groups
                .entry(format!("{} ({kernel})", operations[step.operation].op))
                .or_default();
            group.0 += 1;
            group.1 += time;
        }
        let mut list: Vec<_> = groups
            .into_iter()
            .map(|(what, (count, time))| (what, count, time))
            .collect();
        list.sort_by(|a, b| b.2.total_cmp(&a.2));
        Ok(list)
    }

    fn execute(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        observer: Option<&mut dyn FnMut(&Observation<'_>)>,
    ) -> Result<BTreeMap<String, Tensor>, RunError> {
        let inputs = self.check(inputs)?;
        let mut key = Key {
            sizes: inputs.iter().map(|tensor| tensor.shape().to_vec()).collect(),
            planned: BTreeMap::new(),
            wanted: None,
            observed: observer.is_some(),
        };
        let planned = self.resolve(&mut key, &inputs)?;
        let mut shown = observer.map(|observer| {
            let operations = self
                .function
                .body()
                .map_or(&[][..], |body| body.operations.as_slice());
            move |sighting: &plan::Sighting, seen: plan::Seen<'_>| {
                let operation = &operations[sighting.operation];
                observer(&Observation {
                    operation: operation.name(),
                    op: &operation.op,
                    value: operation
                        .outputs
                        .get(sighting.result)
                        .map_or("", |output| output.name.as_str()),
                    dtype: sighting.view.dtype,
                    seen,
                });
            }
        });
        let mut workspace = planned.workspace()?;
        let outcome = match &mut shown {
            Some(shown) => planned.plan.run(
                &mut workspace,
                &inputs,
                self.arithmetic,
                &self.threads,
                Some(shown),
            ),
            None => self.threads.install(|| {
                planned
                    .plan
                    .run(&mut workspace, &inputs, self.arithmetic, &self.threads, None)
            }),
        };
        outcome.map_err(|failure| self.failed(failure))?;
        let team = crate::team::Team::ALONE;
        let mut outputs = BTreeMap::new();
        for (name, output) in &planned.plan.outputs {
            let tensor = planned
                .plan
                .tensor(&workspace, Plan::output_view(output), self.arithmetic, team);
            let tensor = match output {
                OutputPlan::Tensor(_) => tensor,
                OutputPlan::Probabilities(_) => Tensor::from_parts(vec![tensor.len()], tensor.into_data()),
                OutputPlan::Label(_) => self.best(name, &tensor)?,
            };
            outputs.insert(name.clone(), tensor);
        }
        planned.give_back(workspace);
        Ok(outputs)
    }

    /// Inputs in declared order, checked.
    fn check<'t>(&self, given: &'t BTreeMap<String, Tensor>) -> Result<Vec<&'t Tensor>, RunError> {
        let declared = &self.function.inputs;
        if let Some(name) = given
            .keys()
            .find(|name| declared.iter().all(|input| input.name != **name))
        {
            return Err(RunError::UnknownInput {
                name: name.clone(),
                expected: declared.iter().map(|input| input.name.clone()).collect(),
            });
        }
        let missing: Vec<String> = declared
            .iter()
            .filter(|input| !given.contains_key(&input.name))
            .map(|input| input.name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(RunError::MissingInputs { names: missing });
        }
        let mut symbols: BTreeMap<u32, usize> = BTreeMap::new();
        let mut tensors = Vec::with_capacity(declared.len());
        for input in declared {
            let tensor = &given[&input.name];
            let Some(ty) = input.ty.as_tensor() else { continue };
            let fits = fits(ty, tensor, &mut symbols);
            if !fits {
                let shape = tensor.shape().iter().map(|size| *size as u64);
                return Err(RunError::WrongType {
                    name: input.name.clone(),
                    expected: ty.to_string(),
                    given: TensorType::new(tensor.dtype(), shape).to_string(),
                });
            }
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// The plan for `key`, after computing the values it depends on.
    fn resolve(&self, key: &mut Key, inputs: &[&Tensor]) -> Result<Arc<Planned>, RunError> {
        loop {
            let names = match self.planned(key.clone())? {
                Ok(planned) => return Ok(planned),
                Err(names) => names,
            };
            let before = key.planned.len();
            let mut first = Key {
                wanted: Some(names.clone()),
                observed: false,
                ..key.clone()
            };
            // What the values themselves depend on stands before them, so this ends.
            let planned = self.resolve(&mut first, inputs)?;
            let mut workspace = planned.workspace()?;
            self.threads
                .install(|| {
                    planned
                        .plan
                        .run(&mut workspace, inputs, self.arithmetic, &self.threads, None)
                })
                .map_err(|failure| self.failed(failure))?;
            key.planned.extend(first.planned);
            for (name, output) in &planned.plan.outputs {
                let view = Plan::output_view(output);
                let words = planned.plan.words(&workspace, view, crate::team::Team::ALONE);
                key.planned.insert(name.clone(), value_of(view, &words));
            }
            planned.give_back(workspace);
            if key.planned.len() == before {
                return Err(RunError::Operation {
                    operation: names.join(", "),
                    reason: "sizes depend on a value that can't be had before them".into(),
                });
            }
        }
    }

    /// The plan for `key`, made if there is none, or the values it depends on.
    fn planned(&self, key: Key) -> Result<Result<Arc<Planned>, Vec<String>>, CompileError> {
        let lock = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut plans = lock();
            if let Some(index) = plans.iter().position(|planned| planned.key.is(&key)) {
                let planned = plans.remove(index);
                plans.push(Arc::clone(&planned));
                return Ok(Ok(planned));
            }
        }
        let request = Request {
            function: &self.function,
            name: &self.name,
            sizes: &key.sizes,
            planned: &key.planned,
            wanted: key.wanted.as_deref(),
            observed: key.observed,
            arithmetic: self.arithmetic,
            memory_limit: self.memory_limit,
            team: self.threads.team(),
            store: &self.store,
        };
        match self.threads.install(|| plan::build(request))? {
            Outcome::Needs(names) => Ok(Err(names)),
            Outcome::Ready(plan) => {
                let planned = Arc::new(Planned {
                    key,
                    plan,
                    spare: Mutex::new(Vec::new()),
                });
                let mut plans = lock();
                if plans.len() >= KEPT_PLANS {
                    plans.remove(0);
                }
                plans.push(Arc::clone(&planned));
                Ok(Ok(planned))
            }
        }
    }

    fn failed(&self, failure: Failure) -> RunError {
        let operation = self
            .function
            .body()
            .and_then(|body| body.operations.get(failure.operation))
            .map_or_else(String::new, |operation| operation.name().to_owned());
        match failure.fault {
            Fault::Index { value, index, size } => RunError::IndexOutOfRange {
                operation,
                value,
                index,
                size,
            },
        }
    }

    /// The label of the largest probability; the first of equal ones.
    fn best(&self, output: &str, probabilities: &Tensor) -> Result<Tensor, RunError> {
        let values = probabilities.to_f32();
        let mut best = 0;
        for (index, value) in values.iter().enumerate() {
            if *value > values[best] {
                best = index;
            }
        }
        let data = match self.labels.get(output) {
            Some(Labels::Strings(labels)) => labels
                .get(best)
                .map(|label| TensorData::Strings(vec![label.clone()])),
            Some(Labels::Integers(labels)) => labels.get(best).map(|label| TensorData::I64(vec![*label])),
            None => None,
        };
        let data = data.ok_or_else(|| RunError::Operation {
            operation: output.to_owned(),
            reason: format!("class {best} has no label"),
        })?;
        Ok(Tensor::from_parts(Vec::new(), data))
    }
}

impl Planned {
    fn workspace(&self) -> Result<Workspace, RunError> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(workspace) => Ok(workspace),
            None => Workspace::new(&self.plan).map_err(|out| RunError::Operation {
                operation: "run".into(),
                reason: format!("no memory for a buffer of {} bytes", out.words as u64 * 4),
            }),
        }
    }

    fn give_back(&self, workspace: Workspace) {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(workspace);
    }
}

/// Whether a tensor may be given where `ty` is declared. Symbols must be the same size wherever they stand.
fn fits(ty: &TensorType, tensor: &Tensor, symbols: &mut BTreeMap<u32, usize>) -> bool {
    let either = |dtype: DataType| matches!(dtype, DataType::Fp16 | DataType::Fp32);
    let dtype = tensor.dtype() == ty.dtype || (either(ty.dtype) && either(tensor.dtype()));
    dtype
        && tensor.shape().len() == ty.rank()
        && tensor.shape().iter().zip(&ty.shape).all(|(size, dim)| match dim {
            corer_mil::Dim::Known(known) => *known == *size as u64,
            corer_mil::Dim::Symbol(symbol) => *symbols.entry(*symbol).or_insert(*size) == *size,
        })
}

/// Every operation that can't be executed.
fn unsupported(function: &Function, body: &Block) -> Vec<UnsupportedOp> {
    let mut list = Vec::new();
    let mut names: BTreeSet<&str> = function.inputs.iter().map(|input| input.name.as_str()).collect();
    for operation in &body.operations {
        let mut refuse = |reason: String| {
            list.push(UnsupportedOp {
                operation: operation.name().to_owned(),
                op: operation.op.clone(),
                reason,
            });
        };
        if let Some(output) = operation
            .outputs
            .iter()
            .find(|output| !names.insert(&output.name))
        {
            refuse(format!("`{}` is defined before", output.name));
        } else if !operation.blocks.is_empty() {
            refuse("has nested blocks, which are not executed".into());
        } else if ops::lookup(&operation.op, function.opset).is_none() {
            refuse(match ops::introduced(&operation.op) {
                Some(since) if since > function.opset => {
                    format!("needs opset {since}, the function is {}", function.opset)
                }
                Some(_) => "is not executed by this engine".into(),
                None => "is no operation of MIL".into(),
            });
        } else if operation.op != "const" && !is_constexpr(&operation.op) && lowering(&operation.op).is_none()
        {
            refuse("is not executed by this engine".into());
        }
    }
    list
}

/// The outputs with their declared types.
fn interface(function: &Function, body: &Block, name: &str) -> Result<Vec<NamedType>, CompileError> {
    let fail = |value: &str, reason: String| CompileError::Interface {
        function: name.into(),
        value: value.into(),
        reason,
    };
    for input in &function.inputs {
        match &input.ty {
            ValueType::Tensor(ty)
                if !matches!(ty.dtype, DataType::String | DataType::Fp64 | DataType::Bf16)
                    && !ty.dtype.is_sub_byte()
                    && ty.dtype.bits() <= 32
                    && ty.dtype != DataType::UInt32 => {}
            other => {
                return Err(fail(
                    &input.name,
                    format!("inputs of type {other} are not executed"),
                ));
            }
        }
    }
    let mut types: BTreeMap<&str, &ValueType> = BTreeMap::new();
    for named in function
        .inputs
        .iter()
        .chain(body.operations.iter().flat_map(|operation| &operation.outputs))
    {
        types.insert(&named.name, &named.ty);
    }
    body.outputs
        .iter()
        .map(|output| match types.get(output.as_str()) {
            Some(ty) => Ok(NamedType::new(output.clone(), (*ty).clone())),
            None => Err(fail(output, "is returned but not defined".into())),
        })
        .collect()
}

/// The labels behind the results of `classify` operations.
fn labels(body: &Block) -> BTreeMap<String, Labels> {
    let constants: BTreeMap<&str, &Value> = body
        .operations
        .iter()
        .filter_map(|operation| Some((operation.outputs.first()?.name.as_str(), operation.const_value()?)))
        .collect();
    let mut labels = BTreeMap::new();
    for operation in body
        .operations
        .iter()
        .filter(|operation| operation.op == "classify")
    {
        let classes = match operation
            .inputs
            .get("classes")
            .and_then(|bindings| bindings.first())
        {
            Some(Binding::Value(value)) => Some(value),
            Some(Binding::Name(name)) => constants.get(name.as_str()).copied(),
            None => None,
        };
        let Some(Value {
            data: Data::List(list),
            ..
        }) = classes
        else {
            continue;
        };
        let strings: Option<Vec<String>> = list
            .iter()
            .map(|label| label.as_str().map(str::to_owned))
            .collect();
        let integers: Option<Vec<i64>> = list.iter().map(Value::as_int).collect();
        let Some(found) = strings.map(Labels::Strings).or(integers.map(Labels::Integers)) else {
            continue;
        };
        for output in &operation.outputs {
            labels.insert(output.name.clone(), found.clone());
        }
    }
    labels
}

impl Engine for Executable {
    fn describe(&self) -> EngineDescription {
        let arithmetic = match self.arithmetic {
            Arithmetic::F32 => "f32".into(),
            Arithmetic::AsWritten => "as written".into(),
            Arithmetic::Ane(rules) => format!("by the Neural Engine rules {rules}"),
        };
        EngineDescription {
            name: "corer-cpu".into(),
            detail: format!("{arithmetic}, {}", instructions()),
            threads: Some(self.threads.team().threads()),
        }
    }

    fn inputs(&self) -> &[NamedType] {
        self.inputs()
    }

    fn outputs(&self) -> &[NamedType] {
        self.outputs()
    }

    fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, RunError> {
        self.run(inputs)
    }
}

/// The vector instructions kernels use on this machine.
fn instructions() -> &'static str {
    match crate::gemm::geometry().columns {
        32 => "AVX-512",
        16 => "256-bit vectors",
        8 => "128-bit vectors",
        _ => "no vectors",
    }
}
