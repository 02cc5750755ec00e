//! TorchScript modules: made from named parameters and a traced computation, saved, loaded and run.
//!
//! tch's own `CModule` traces without parameters, so that every weight becomes a nameless constant, and has no names of
//! arguments; `module.cpp` does what is missing.

#![allow(unsafe_code)] // calls of C++

mod ffi;

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

/// What libtorch said went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// An argument of `forward`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Argument {
    pub(crate) name: String,
    /// As TorchScript writes it: `Tensor`, `Dict[str, Tensor]`.
    pub(crate) ty: String,
}

/// A TorchScript module.
#[derive(Debug)]
pub(crate) struct Module(*mut ffi::CModule);

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: made by `corer_module_new` or `corer_module_load`, freed once.
        unsafe { ffi::corer_module_free(self.0) }
    }
}

impl Module {
    /// An empty module of a class (`BertModel`).
    pub(crate) fn new(class: &str) -> Result<Self, Refused> {
        let class = text(&format!("__torch__.{class}"))?;
        let mut module = ptr::null_mut();
        // SAFETY: the text ends in a zero, `module` is a place to write to.
        done(unsafe { ffi::corer_module_new(class.as_ptr(), &raw mut module) })?;
        Ok(Self(module))
    }

    /// Loads an archive. Its code is compiled, not run; but libtorch trusts the file, as corer itself never does.
    pub(crate) fn load(path: &Path) -> Result<Self, Refused> {
        let path = text(&path.to_string_lossy())?;
        let mut module = ptr::null_mut();
        // SAFETY: as in `new`.
        done(unsafe { ffi::corer_module_load(path.as_ptr(), &raw mut module) })?;
        Ok(Self(module))
    }

    /// Adds a parameter, or a buffer; modules along its dotted path are made where they are missing.
    pub(crate) fn add(&mut self, path: &str, tensor: &Tensor, is_parameter: bool) -> Result<(), Refused> {
        let path = text(path)?;
        // SAFETY: the module is alive, the text ends in a zero, the tensor is only read.
        done(unsafe { ffi::corer_module_add(self.0, path.as_ptr(), tensor.as_ptr(), is_parameter) })
    }

    /// Gives the module a `forward`: what `body` does with the inputs. It returns a dictionary of `body`'s results.
    pub(crate) fn trace<E: From<Refused>>(
        &mut self,
        inputs: &[(&str, Tensor)],
        body: impl FnOnce(Vec<Tensor>) -> Result<Vec<(String, Tensor)>, E>,
    ) -> Result<(), E> {
        let names = inputs
            .iter()
            .map(|(name, _)| text(name))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let tensors: Vec<*const C_tensor> = inputs.iter().map(|(_, tensor)| tensor.as_ptr()).collect();
        let mut traced = Traced {
            body: Some(body),
            failure: None,
            panic: None,
        };
        let call = call_of(&traced);
        // SAFETY: names and tensors are as many as said and outlive the call, as does the context, which is of the type
        // `call` expects.
        let result = done(unsafe {
            ffi::corer_module_trace(
                self.0,
                names.as_ptr(),
                tensors.as_ptr(),
                inputs.len(),
                call,
                (&raw mut traced).cast(),
            )
        });
        if let Some(panic) = traced.panic {
            resume_unwind(panic);
        }
        match traced.failure {
            Some(failure) => Err(failure),
            None => Ok(result?),
        }
    }

    /// Writes the archive, over whatever is there.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Refused> {
        let path = text(&path.to_string_lossy())?;
        // SAFETY: as in `add`.
        done(unsafe { ffi::corer_module_save(self.0, path.as_ptr()) })
    }

    /// The arguments that must be given, in order.
    pub(crate) fn arguments(&self) -> Result<Vec<Argument>, Refused> {
        unsafe extern "C" fn sink(context: *mut c_void, name: *const c_char, ty: *const c_char) {
            // SAFETY: called during the call below, with its context and two texts.
            unsafe {
                let arguments = &mut *context.cast::<Vec<Argument>>();
                arguments.push(Argument {
                    name: read(name),
                    ty: read(ty),
                });
            }
        }
        let mut arguments: Vec<Argument> = Vec::new();
        // SAFETY: the context is what `sink` takes it for.
        done(unsafe { ffi::corer_module_arguments(self.0, sink, (&raw mut arguments).cast()) })?;
        Ok(arguments)
    }

    /// Runs `forward`; results in order, nested ones taken apart, those from dictionaries with their keys. With
    /// `as_dictionary` the inputs go into one argument.
    pub(crate) fn forward(
        &mut self,
        inputs: &[(&str, Tensor)],
        as_dictionary: bool,
    ) -> Result<Vec<(Option<String>, Tensor)>, Refused> {
        unsafe extern "C" fn sink(context: *mut c_void, name: *const c_char, tensor: *mut C_tensor) {
            // SAFETY: called during the call below, with its context, a text, and a tensor that is ours from now on.
            unsafe {
                let results = &mut *context.cast::<Vec<(Option<String>, Tensor)>>();
                let name = read(name);
                results.push(((!name.is_empty()).then_some(name), Tensor::from_ptr(tensor)));
            }
        }
        let names = inputs
            .iter()
            .map(|(name, _)| text(name))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let tensors: Vec<*const C_tensor> = inputs.iter().map(|(_, tensor)| tensor.as_ptr()).collect();
        let mut results: Vec<(Option<String>, Tensor)> = Vec::new();
        // SAFETY: names and tensors are as many as said and outlive the call; the context is what `sink` takes it for.
        done(unsafe {
            ffi::corer_module_forward(
                self.0,
                tensors.as_ptr(),
                if as_dictionary {
                    names.as_ptr()
                } else {
                    ptr::null()
                },
                inputs.len(),
                sink,
                (&raw mut results).cast(),
            )
        })?;
        Ok(results)
    }
}

/// Says that what is recorded from now on belongs to the submodule at a dotted path. Only within [`Module::trace`].
pub(crate) fn enter_scope(path: &str) -> Result<(), Refused> {
    let path = text(path)?;
    // SAFETY: the text ends in a zero; callers are within a trace.
    done(unsafe { ffi::corer_scope_enter(path.as_ptr()) })
}

/// Ends what [`enter_scope`] began.
pub(crate) fn leave_scope() -> Result<(), Refused> {
    // SAFETY: callers are within a trace.
    done(unsafe { ffi::corer_scope_leave() })
}

/// A body being traced, and how it ended.
struct Traced<F, E> {
    body: Option<F>,
    failure: Option<E>,
    panic: Option<Box<dyn Any + Send>>,
}

/// The function that runs this body, whose type has no name.
fn call_of<F, E>(_: &Traced<F, E>) -> ffi::Body
where
    F: FnOnce(Vec<Tensor>) -> Result<Vec<(String, Tensor)>, E>,
    E: From<Refused>,
{
    Traced::<F, E>::call
}

impl<F, E> Traced<F, E>
where
    F: FnOnce(Vec<Tensor>) -> Result<Vec<(String, Tensor)>, E>,
    E: From<Refused>,
{
    unsafe extern "C" fn call(
        context: *mut c_void,
        inputs: *mut *mut C_tensor,
        count: usize,
        results: *mut c_void,
        add: ffi::Add,
    ) -> bool {
        // SAFETY: `Module::trace` gave this context, and it outlives the call.
        let traced = unsafe { &mut *context.cast::<Self>() };
        // SAFETY: as many pointers as said.
        let inputs = unsafe { std::slice::from_raw_parts(inputs, count) };
        // SAFETY: each is a tensor that is ours from now on.
        let own = |tensor: &*mut C_tensor| unsafe { Tensor::from_ptr(*tensor) };
        let inputs = inputs.iter().map(own).collect();
        let Some(body) = traced.body.take() else {
            return false;
        };
        // A panic must not cross C++.
        match catch_unwind(AssertUnwindSafe(|| body(inputs))) {
            Ok(Ok(outputs)) => outputs.iter().all(|(name, tensor)| match text(name) {
                Ok(name) => {
                    // SAFETY: `results` belongs to `add`; the tensor is copied by reference count.
                    unsafe { add(results, name.as_ptr(), tensor.as_ptr()) };
                    true
                }
                Err(refused) => {
                    traced.failure = Some(refused.into());
                    false
                }
            }),
            Ok(Err(failure)) => {
                traced.failure = Some(failure);
                false
            }
            Err(panic) => {
                traced.panic = Some(panic);
                false
            }
        }
    }
}

fn text(text: &str) -> Result<CString, Refused> {
    CString::new(text).map_err(|_| Refused(format!("{text:?} has a zero within")))
}

/// # Safety
/// `text` must end in a zero.
unsafe fn read(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The message a call returned, if it failed. libtorch puts the C++ call stack behind the first paragraphs.
fn done(message: *mut c_char) -> Result<(), Refused> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message of `module.cpp`, freed once.
    let text = unsafe {
        let text = read(message);
        ffi::corer_message_free(message);
        text
    };
    Err(Refused(text.trim_end().to_owned()))
}
