//! Traced and exported programs at sizes that stay open: read at the largest and next to it, then made one.

use crate::error::ConvertError;
use crate::frontend::{Imported, Model};
use crate::graph::Probe;
use crate::passes::{self, PassReport};
use crate::request::Request;
use crate::shapes::InputShape;

/// The lifted graph with symbols for the sizes of `shape` that are open, and what lifting it did.
pub(crate) fn import(
    model: &Model<'_>,
    request: &Request,
    shape: InputShape,
) -> Result<(Imported, Vec<PassReport>), ConvertError> {
    let largest = InputShape {
        batch: shape.batch.most.into(),
        tokens: shape.tokens.most.into(),
    };
    let mut imported = model.import(request, largest)?;
    let reports = passes::lift(&mut imported.graph)?;
    let smaller = [
        (
            0,
            shape.batch,
            InputShape {
                batch: (shape.batch.most - 1).into(),
                ..largest
            },
        ),
        (
            1,
            shape.tokens,
            InputShape {
                tokens: (shape.tokens.most - 1).into(),
                ..largest
            },
        ),
    ];
    let mut probes = Vec::with_capacity(2);
    for (symbol, extent, shape) in smaller {
        // An open size has at least two values, so one less than the largest is one of them.
        if extent.known().is_none() {
            let mut graph = model.import(request, shape)?.graph;
            passes::lift(&mut graph)?;
            probes.push(Probe {
                graph,
                symbol,
                extent,
            });
        }
    }
    imported.graph = imported
        .graph
        .open(&probes)
        .map_err(|error| ConvertError::Request {
            flag: "--sequence-length",
            reason: error.to_string(),
        })?;
    imported.graph.check().map_err(|error| ConvertError::Graph {
        stage: "open".into(),
        error,
    })?;
    Ok((imported, reports))
}
