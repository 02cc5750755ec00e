//! Executes MIL programs on this CPU.
//!
//! [`Executable::compile`] takes a program as read back from a package, decodes its constants, packs its weights
//! and plans its buffers once; [`Executable::run`] then computes outputs from inputs, in f32 throughout or with
//! every value rounded to the type the program declares, or by the rules published measurements of the Neural Engine
//! suggest ([`Arithmetic`]).

mod ane;
mod buffer;
mod decode;
mod engine;
mod error;
mod executable;
mod gemm;
mod half_values;
mod isolate;
mod kernels;
mod math;
mod options;
mod plan;
mod team;
mod tensor;
mod vectorised;
mod view;
mod watch;

pub use ane::{AneRule, AneRules, Evidence, Grade, UnknownRule};
pub use engine::{Engine, EngineDescription};
pub use error::{CompileError, RunError, TensorError, UnsupportedOp};
pub use executable::{Executable, Labels, Observation};
pub use gemm::Sums;
pub use isolate::{IsolateError, Loss, isolated_losses};
pub use options::{Arithmetic, Options};
pub use tensor::{Tensor, TensorData};
pub use watch::{ACCUMULATOR_LIMIT, Extent, HALF_MAX, Watch};
