//! The published model of how the system cuts a graph (rule P2): the cheapest way through the operations in the order
//! of the file, where each costs its estimated time on its unit, each stretch on the Neural Engine a launch, each
//! change of unit a switch, and a result that leaves the Neural Engine once more.
//!
//! It reproduced 440 of 482 graphs exactly, with 41 ties and one miss, on M4 under macOS 27.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::work::{Work, moved_bytes};

/// What the segmenter charges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// For each stretch on the Neural Engine.
    pub launch_ms: f64,
    /// For each change of unit.
    pub change_ms: f64,
    /// When a result leaves the Neural Engine.
    pub output_ms: f64,
    /// Decisions nearer than this say nothing.
    pub tie_ms: f64,
    /// Models with fewer 10⁹ operations are taken for undecided.
    pub least_gflop: f64,
    dense: Vec<Rate>,
    memory: Vec<Rate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    /// Operations of this rate; none in the entry for all others.
    ops: Vec<String>,
    /// 10¹² operations, or 10⁹ bytes, per second.
    ane: f64,
    /// The same on the CPU.
    cpu: f64,
    /// Where the rate is from.
    #[allow(dead_code)] // for who reads the table
    sample: String,
}

static PRICES: LazyLock<Prices> =
    LazyLock::new(|| toml::from_str(include_str!("../data/segmenter.toml")).expect("a test reads the table"));

impl Prices {
    /// Those published for M4 under macOS 27.
    pub fn published() -> &'static Self {
        &PRICES
    }

    /// Estimated times of one operation on both units.
    pub fn estimate(&self, op: &str, work: &Work) -> Times {
        let of = |rates: &'static [Rate]| rates.iter().find(|rate| rate.ops.iter().any(|known| known == op));
        // 10¹² operations in a second are 10⁹ in a millisecond; 10⁹ bytes are 10⁶.
        let (rate, amount) = match of(&PRICES.dense) {
            Some(rate) => (Some(rate), work.flops as f64 / 1e9),
            None => {
                let rate =
                    of(&PRICES.memory).or_else(|| PRICES.memory.iter().find(|rate| rate.ops.is_empty()));
                (rate, moved_bytes(work) as f64 / 1e6)
            }
        };
        rate.map_or(Times::default(), |rate| Times {
            ane_ms: amount / rate.ane,
            cpu_ms: amount / rate.cpu,
        })
    }
}

/// Estimated times of one operation, in milliseconds.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct Times {
    /// On the Neural Engine.
    pub ane_ms: f64,
    /// On the CPU.
    pub cpu_ms: f64,
}

/// One operation on its way through the segmenter.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Estimated times.
    pub times: Times,
    /// Whether the Neural Engine can take it.
    pub eligible: bool,
    /// Whether it gives a result of the function.
    pub gives_output: bool,
}

/// The cheapest way, and what others cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Segmentation {
    /// Whether each operation is on the Neural Engine.
    pub on_ane: Vec<bool>,
    /// For each operation, what the cheapest way with it on the other unit costs more; infinite when it can't be.
    pub margins_ms: Vec<f64>,
    /// What the cheapest way costs.
    pub best_ms: f64,
    /// What everything on the CPU costs.
    pub all_cpu_ms: f64,
    /// What the cheapest way costs that uses the Neural Engine; infinite when nothing can.
    pub with_ane_ms: f64,
    /// What the cheapest way with the Neural Engine pays for launches, changes and results.
    pub fixed_ms: f64,
}

/// On which unit the last operation was, and whether a result was given on the Neural Engine.
const STATES: usize = 4;
const fn on_ane(state: usize) -> bool {
    state & 1 == 1
}
const fn gave_output(state: usize) -> bool {
    state & 2 == 2
}

/// Finds the cheapest way through the operations.
pub fn segment(steps: &[Step], prices: &Prices) -> Segmentation {
    let forward = forward(steps, prices);
    let backward = backward(steps, prices);
    // Cheapest way with operation `index` on a unit.
    let through = |index: usize, ane: bool| {
        (0..STATES)
            .filter(|state| on_ane(*state) == ane)
            .map(|state| forward[index][state] + backward[index][state])
            .fold(f64::INFINITY, f64::min)
    };
    let all_cpu_ms: f64 = steps.iter().map(|step| step.times.cpu_ms).sum();
    let with_ane_ms = (0..steps.len())
        .map(|index| through(index, true))
        .fold(f64::INFINITY, f64::min);
    let best_ms = all_cpu_ms.min(with_ane_ms);
    let mut units = Vec::with_capacity(steps.len());
    let mut margins_ms = Vec::with_capacity(steps.len());
    for index in 0..steps.len() {
        let (ane, cpu) = (through(index, true), through(index, false));
        units.push(ane < cpu);
        margins_ms.push((ane - cpu).abs());
    }
    let fixed_ms = fixed(steps, prices, &forward, &backward, with_ane_ms);
    Segmentation {
        on_ane: units,
        margins_ms,
        best_ms,
        all_cpu_ms,
        with_ane_ms,
        fixed_ms,
    }
}

/// Moving from one state to the next: the price and the state, when operation `step` runs on a unit.
fn advance(from: Option<usize>, ane: bool, step: &Step, prices: &Prices) -> (f64, usize) {
    let mut price = if ane { step.times.ane_ms } else { step.times.cpu_ms };
    let was_ane = from.is_some_and(on_ane);
    if from.is_some() && was_ane != ane {
        price += prices.change_ms;
    }
    if ane && !was_ane {
        price += prices.launch_ms;
    }
    let gave = from.is_some_and(gave_output);
    let gives = gave || ane && step.gives_output;
    if gives && !gave {
        price += prices.output_ms;
    }
    (price, usize::from(ane) | usize::from(gives) << 1)
}

fn units(step: &Step) -> &'static [bool] {
    if step.eligible { &[false, true] } else { &[false] }
}

/// Cheapest way from the start to each operation in each state, that operation included.
fn forward(steps: &[Step], prices: &Prices) -> Vec<[f64; STATES]> {
    let mut table: Vec<[f64; STATES]> = Vec::with_capacity(steps.len());
    for step in steps {
        let mut row = [f64::INFINITY; STATES];
        for ane in units(step) {
            match table.last() {
                None => {
                    let (price, state) = advance(None, *ane, step, prices);
                    row[state] = row[state].min(price);
                }
                Some(before) => {
                    for (from, cost) in before.iter().enumerate() {
                        let (price, state) = advance(Some(from), *ane, step, prices);
                        row[state] = row[state].min(cost + price);
                    }
                }
            }
        }
        table.push(row);
    }
    table
}

/// Cheapest way from each operation in each state to the end, that operation left out.
fn backward(steps: &[Step], prices: &Prices) -> Vec<[f64; STATES]> {
    let mut table = vec![[0.0; STATES]; steps.len()];
    for index in (1..steps.len()).rev() {
        let after = table[index];
        let step = &steps[index];
        for (from, cost) in table[index - 1].iter_mut().enumerate() {
            *cost = units(step)
                .iter()
                .map(|ane| {
                    let (price, state) = advance(Some(from), *ane, step, prices);
                    price + after[state]
                })
                .fold(f64::INFINITY, f64::min);
        }
    }
    table
}

/// Launches, changes and results of the cheapest way that uses the Neural Engine.
fn fixed(
    steps: &[Step],
    prices: &Prices,
    forward: &[[f64; STATES]],
    backward: &[[f64; STATES]],
    with_ane_ms: f64,
) -> f64 {
    if !with_ane_ms.is_finite() {
        return 0.0;
    }
    // The operation that is on the Neural Engine in that way, then outwards from it along cheapest states.
    let cost = |index: usize, state: usize| forward[index][state] + backward[index][state];
    let Some((pivot, mut state)) = (0..steps.len())
        .flat_map(|index| (0..STATES).map(move |state| (index, state)))
        .filter(|(_, state)| on_ane(*state))
        .min_by(|a, b| cost(a.0, a.1).total_cmp(&cost(b.0, b.1)))
    else {
        return 0.0;
    };
    let mut times = if on_ane(state) {
        steps[pivot].times.ane_ms
    } else {
        0.0
    };
    let start = state;
    for index in (1..=pivot).rev() {
        let step = &steps[index];
        let from = (0..STATES)
            .filter(|from| advance(Some(*from), on_ane(state), step, prices).1 == state)
            .min_by(|a, b| {
                let price = |from: usize| {
                    forward[index - 1][from] + advance(Some(from), on_ane(state), step, prices).0
                };
                price(*a).total_cmp(&price(*b))
            });
        let Some(from) = from else { break };
        let before = &steps[index - 1].times;
        times += if on_ane(from) {
            before.ane_ms
        } else {
            before.cpu_ms
        };
        state = from;
    }
    state = start;
    for (index, step) in steps.iter().enumerate().skip(pivot + 1) {
        let next = units(step).iter().min_by(|a, b| {
            let price = |ane: bool| {
                let (price, next) = advance(Some(state), ane, step, prices);
                price + backward[index][next]
            };
            price(**a).total_cmp(&price(**b))
        });
        let Some(ane) = next else { break };
        times += if *ane {
            step.times.ane_ms
        } else {
            step.times.cpu_ms
        };
        state = advance(Some(state), *ane, step, prices).1;
    }
    with_ane_ms - times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ane_ms: f64, cpu_ms: f64) -> Step {
        Step {
            times: Times { ane_ms, cpu_ms },
            eligible: true,
            gives_output: false,
        }
    }

    fn chain(mut steps: Vec<Step>) -> Segmentation {
        if let Some(last) = steps.last_mut() {
            last.gives_output = true;
        }
        segment(&steps, Prices::published())
    }

    /// The study's own example: one 3×3 convolution stays on the CPU, four are enough for the Neural Engine.
    #[test]
    fn one_convolution_stays_and_four_go() {
        let conv = step(0.00467, 0.10006);
        let one = chain(vec![conv]);
        assert_eq!(one.on_ane, [false]);
        let four = chain(vec![conv; 4]);
        assert_eq!(four.on_ane, [true; 4]);
        assert!((four.fixed_ms - 0.25).abs() < 1e-9, "{}", four.fixed_ms);
        assert!((four.all_cpu_ms - four.with_ane_ms - (4.0 * 0.09539 - 0.25)).abs() < 1e-9);
    }

    /// In the middle of a graph the Neural Engine must save 0.375 ms.
    #[test]
    fn an_island_pays_a_launch_and_two_changes() {
        let host = Step {
            eligible: false,
            ..step(0.0, 0.01)
        };
        for (saved, goes) in [(0.37, false), (0.38, true)] {
            let found = chain(vec![host, step(0.0, saved), host]);
            assert_eq!(found.on_ane[1], goes, "{saved}");
            assert!((found.fixed_ms - 0.375).abs() < 1e-9, "{}", found.fixed_ms);
            assert!((found.margins_ms[1] - 0.005).abs() < 1e-9);
        }
    }

    /// Every margin against trying all ways through.
    #[test]
    fn the_cheapest_way_is_the_cheapest_of_all() {
        let prices = Prices::published();
        let steps: Vec<Step> = (0..9u32)
            .map(|index| Step {
                times: Times {
                    ane_ms: f64::from(index * 7 % 5) * 0.03,
                    cpu_ms: f64::from(index * 11 % 7) * 0.09,
                },
                eligible: index % 4 != 2,
                gives_output: index == 3 || index == 8,
            })
            .collect();
        let cost = |ways: u32| {
            let mut state = None;
            let mut total = 0.0;
            for (index, step) in steps.iter().enumerate() {
                let ane = ways >> index & 1 == 1;
                if ane && !step.eligible {
                    return f64::INFINITY;
                }
                let (price, next) = advance(state, ane, step, prices);
                total += price;
                state = Some(next);
            }
            total
        };
        let found = segment(&steps, prices);
        let cheapest = |index: usize, ane: bool| {
            (0..1u32 << steps.len())
                .filter(|ways| (ways >> index & 1 == 1) == ane)
                .map(cost)
                .fold(f64::INFINITY, f64::min)
        };
        for index in 0..steps.len() {
            let (ane, cpu) = (cheapest(index, true), cheapest(index, false));
            if ane.is_finite() {
                assert!((found.margins_ms[index] - (ane - cpu).abs()).abs() < 1e-9);
                assert_eq!(found.on_ane[index], ane < cpu);
            } else {
                assert!(found.margins_ms[index].is_infinite());
            }
        }
        assert!((found.all_cpu_ms - cost(0)).abs() < 1e-9);
    }
}
