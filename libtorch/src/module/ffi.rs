//! `module.cpp` as Rust sees it.

use std::ffi::{c_char, c_void};

use torch_sys::C_tensor;

/// `torch::jit::Module`, never looked into.
#[repr(C)]
pub(super) struct CModule {
    _opaque: [u8; 0],
}

/// Takes a named result; the tensor becomes the callee's.
pub(super) type Sink = unsafe extern "C" fn(*mut c_void, *const c_char, *mut C_tensor);

/// Adds a result of a traced body; the tensor stays the caller's.
pub(super) type Add = unsafe extern "C" fn(*mut c_void, *const c_char, *const C_tensor);

/// Computes what is traced: context, inputs (which become the callee's) and their number, results and how to add one.
pub(super) type Body = unsafe extern "C" fn(*mut c_void, *mut *mut C_tensor, usize, *mut c_void, Add) -> bool;

/// Takes the name and type of an argument.
pub(super) type Argument = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char);

unsafe extern "C" {
    pub(super) fn corer_message_free(text: *mut c_char);
    pub(super) fn corer_module_new(class: *const c_char, module: *mut *mut CModule) -> *mut c_char;
    pub(super) fn corer_module_load(path: *const c_char, module: *mut *mut CModule) -> *mut c_char;
    pub(super) fn corer_module_free(module: *mut CModule);
    pub(super) fn corer_module_add(
        module: *mut CModule,
        path: *const c_char,
        tensor: *const C_tensor,
        is_parameter: bool,
    ) -> *mut c_char;
    pub(super) fn corer_module_trace(
        module: *mut CModule,
        names: *const *const c_char,
        inputs: *const *const C_tensor,
        count: usize,
        body: Body,
        context: *mut c_void,
    ) -> *mut c_char;
    pub(super) fn corer_scope_enter(path: *const c_char) -> *mut c_char;
    pub(super) fn corer_scope_leave() -> *mut c_char;
    pub(super) fn corer_module_save(module: *const CModule, path: *const c_char) -> *mut c_char;
    pub(super) fn corer_module_arguments(
        module: *const CModule,
        sink: Argument,
        context: *mut c_void,
    ) -> *mut c_char;
    pub(super) fn corer_module_forward(
        module: *mut CModule,
        inputs: *const *const C_tensor,
        names: *const *const c_char,
        count: usize,
        sink: Sink,
        context: *mut c_void,
    ) -> *mut c_char;
}
