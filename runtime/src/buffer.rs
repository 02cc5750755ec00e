//! Memory for values: 64-byte aligned words that are read as f32 or i32.
//!
//! Every value has four bytes per element while a program runs. Floats are f32 (fp16 values are f32 numbers that
//! fp16 can hold), integers of any width and booleans are i32. Operations that move elements move words.

use bytemuck::{Pod, Zeroable};

/// One cache line of words.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u32; Line::WORDS]);

impl Line {
    const WORDS: usize = 16;
}

/// Memory could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutOfMemory {
    /// Words asked for.
    pub(crate) words: usize,
}

/// Zeroed, aligned words.
#[derive(Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    words: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} words)", self.words)
    }
}

impl Buffer {
    /// A buffer of that many zero words.
    pub(crate) fn zeroed(words: usize) -> Result<Self, OutOfMemory> {
        let count = words.div_ceil(Line::WORDS);
        let mut lines = Vec::new();
        lines
            .try_reserve_exact(count)
            .map_err(|_| OutOfMemory { words })?;
        lines.resize(count, Line::zeroed());
        Ok(Self { lines, words })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[u32] {
        &bytemuck::cast_slice(&self.lines)[..self.words]
    }

    /// The words, to write.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.words]
    }

    /// The words as f32.
    pub(crate) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.words())
    }

    /// The words as f32, to write.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.words_mut())
    }

    /// The words as i32.
    pub(crate) fn ints(&self) -> &[i32] {
        bytemuck::cast_slice(self.words())
    }

    /// The words as i32, to write.
    pub(crate) fn ints_mut(&mut self) -> &mut [i32] {
        bytemuck::cast_slice_mut(self.words_mut())
    }
}
