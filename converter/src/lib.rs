//! PyTorch checkpoints to MIL programs.
