//! What is known about the Neural Engine and compressed weights, as warnings that name the rule they rest on.
//!
//! Rule numbers are those of the collection the project keeps (W: weights). What they rest on is said with them;
//! nothing here was measured by corer.

use serde::Serialize;

use crate::scheme::{Coding, Granularity, Linear, Palette, Prune, Scheme};
use crate::sites::Site;

/// A scheme that may leave the Neural Engine or slow it down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Warning {
    /// The rule, such as `W6`.
    pub rule: &'static str,
    /// What it says.
    pub text: String,
    /// The nearest scheme that is not affected.
    pub instead: Option<String>,
}

/// The smallest groups a table per group should have.
const SMALLEST_GROUP: usize = 4;

/// Warnings about giving `site` this scheme.
pub(crate) fn warnings(site: &Site, scheme: &Scheme) -> Vec<Warning> {
    // Lookups run on the CPU whatever their table looks like.
    if site.uses.iter().all(|used| used.op.starts_with("gather")) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    match scheme.coding {
        Coding::Linear(
            linear @ Linear {
                granularity: Granularity::Block(_),
                ..
            },
        ) => {
            let instead = Linear {
                granularity: Granularity::Channel,
                ..linear
            };
            warnings.push(Warning {
                rule: "W6",
                text: "scales along the input channels are rejected by the Neural Engine: the operation runs elsewhere".into(),
                instead: Some(with(scheme, Coding::Linear(instead))),
            });
        }
        Coding::Palette(palette) => {
            if let Some(group) = palette.group.filter(|group| *group < SMALLEST_GROUP) {
                let instead = Palette {
                    group: Some(8),
                    ..palette
                };
                warnings.push(Warning {
                    rule: "W2",
                    text: format!("groups of {group}: below 4 channels a table, large tables made one model 2 to 4 times slower"),
                    instead: Some(with(scheme, Coding::Palette(instead))),
                });
            }
            if palette.vector > 1 {
                let instead = Palette { vector: 1, ..palette };
                warnings.push(Warning {
                    rule: "W1",
                    text: "expanding tables of scalars is known to be fast; of tables of vectors nothing is known".into(),
                    instead: Some(with(scheme, Coding::Palette(instead))),
                });
            }
        }
        Coding::Linear(_) | Coding::Dense => {}
    }
    match scheme.prune {
        Some(Prune::Ratio(ratio)) if ratio < 0.75 && scheme.coding == Coding::Dense => {
            warnings.push(Warning {
                rule: "W13",
                text: "zeros are skipped from 75 % on, or in blocks; below that only bytes are saved".into(),
                instead: Some("sparse75".into()),
            })
        }
        _ => {}
    }
    warnings
}

fn with(scheme: &Scheme, coding: Coding) -> String {
    Scheme { coding, ..*scheme }.to_string()
}
