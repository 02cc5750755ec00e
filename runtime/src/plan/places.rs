//! Where buffers lie: buffers whose lives don't overlap share memory.

use super::{OutputPlan, Plan};
use crate::view::{Storage, View};

/// A buffer's place: a stretch of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) slot: usize,
    pub(crate) words: usize,
}

/// When a buffer is first written and last read, in steps; the inputs are there before the first.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
}

/// Gives every buffer a place. `words` holds the buffers' sizes.
pub(crate) fn assign(plan: &mut Plan, words: &[usize]) {
    let mut lives: Vec<Option<Life>> = vec![None; words.len()];
    let mut touch = |buffer: usize, time: usize| match &mut lives[buffer] {
        Some(life) => life.last = life.last.max(time),
        life => {
            *life = Some(Life {
                first: time,
                last: time,
            })
        }
    };
    for input in &plan.inputs {
        if let Storage::Buffer(buffer) = input.storage {
            touch(buffer, 0);
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let time = index + 1;
        for input in &step.inputs {
            if let Storage::Buffer(buffer) = *input {
                touch(buffer, time);
            }
        }
        touch(step.output, time);
    }
    let mut seen = |view: &View, time: usize| {
        if let Storage::Buffer(buffer) = view.storage {
            touch(buffer, time);
        }
    };
    for sighting in &plan.sightings {
        seen(&sighting.view, sighting.after);
    }
    for (_, output) in &plan.outputs {
        let (OutputPlan::Tensor(view) | OutputPlan::Label(view) | OutputPlan::Probabilities(view)) = output;
        seen(view, plan.steps.len() + 1);
    }

    let mut order: Vec<usize> = (0..words.len())
        .filter(|buffer| lives[*buffer].is_some())
        .collect();
    order.sort_by_key(|buffer| lives[*buffer].map(|life| life.first));
    let mut slots: Vec<usize> = Vec::new();
    let mut busy_until: Vec<usize> = Vec::new();
    plan.places = words
        .iter()
        .map(|words| Place {
            slot: 0,
            words: *words,
        })
        .collect();
    for buffer in order {
        let Some(life) = lives[buffer] else { continue };
        let wanted = words[buffer];
        let free = (0..slots.len()).filter(|slot| busy_until[*slot] < life.first);
        // The tightest that holds it, else the one that has to grow least.
        let slot = free.min_by_key(|slot| (slots[*slot] < wanted, slots[*slot].abs_diff(wanted)));
        let slot = slot.unwrap_or_else(|| {
            slots.push(0);
            busy_until.push(0);
            slots.len() - 1
        });
        slots[slot] = slots[slot].max(wanted);
        busy_until[slot] = life.last;
        plan.places[buffer].slot = slot;
    }
    plan.slots = slots;
}
