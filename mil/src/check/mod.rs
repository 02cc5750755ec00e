//! Checks a whole program against the op table and collects everything that is wrong with it.
//!
//! What Apple's reader lets through is refused here too: constants whose data contradicts their declared type,
//! results declared otherwise than inferred, duplicate or illegal names, axes out of range.

mod arguments;
mod fault;
mod function;
mod near;
mod value;

pub use fault::{Fault, FaultKind, OperationAt};

use crate::builder::is_identifier;
use crate::program::Program;

/// No more faults than this are listed: a hostile program may have one per byte.
pub const MAX_FAULTS: usize = 1000;

/// Everything wrong with `program`, in the order of functions and operations; empty when it is well-formed.
pub fn check(program: &Program) -> Vec<Fault> {
    let mut faults = Faults::default();
    if program.functions.is_empty() {
        faults.add(FaultKind::Function, None, "the program has no function".into());
    }
    for (name, value) in &program.attributes {
        if let Err(reason) = value::check_value(value) {
            faults.add(
                FaultKind::Value,
                Some(name),
                format!("program attribute: {reason}"),
            );
        }
    }
    for (name, function) in &program.functions {
        faults.function.clone_from(name);
        if name.is_empty() {
            faults.add(FaultKind::Function, None, "a function has no name".into());
        } else if !is_identifier(name) {
            faults.add(FaultKind::Identifier, Some(name), "is not an identifier".into());
        }
        function::check_function(function, &mut faults);
    }
    faults.list
}

/// The faults found so far, and where the checker is.
#[derive(Debug, Default)]
struct Faults {
    function: String,
    operation: Option<OperationAt>,
    list: Vec<Fault>,
}

impl Faults {
    fn add(&mut self, kind: FaultKind, value: Option<&str>, message: String) {
        let kind = match self.list.len() {
            MAX_FAULTS.. => return,
            count if count == MAX_FAULTS - 1 => FaultKind::TooMany,
            _ => kind,
        };
        let message = if kind == FaultKind::TooMany {
            format!("there are more faults than the {} listed", MAX_FAULTS - 1)
        } else {
            shortened(message)
        };
        self.list.push(Fault {
            function: self.function.clone(),
            operation: self.operation.clone(),
            value: value.map(|name| shortened(name.to_owned())),
            kind,
            message,
        });
    }

    const fn full(&self) -> bool {
        self.list.len() >= MAX_FAULTS
    }
}

/// Keeps what a hostile program can put into a message (names, types with a million parts) readable.
fn shortened(mut message: String) -> String {
    const LONGEST: usize = 1000;
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
        message.push('…');
    }
    message
}
