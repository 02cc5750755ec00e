//! Executes MIL programs on this CPU.
