//! One graph with open sizes out of graphs of known ones.
//!
//! A trace is read at sizes that are known. Read again with one row or one token less, after the same passes, it is
//! the same graph but for what follows from those sizes; whatever changes by exactly that is the size itself and
//! becomes its symbol. Anything else that changes is refused: it can't be told at other sizes.

use std::collections::HashMap;

use corer_mil::Dim;

use super::{Def, Graph, GraphError, Node, Op, ValueId};
use crate::shapes::Extent;

/// Tables compared to see whether the shorter begins the longer are at most this large.
const MOST_COMPARED: u64 = 1 << 24;

/// What to do where a size can't stay open.
const INSTEAD: &str = "list the sizes (32,64,128) with --target ios18 to have a function for each";

/// The same program read with one size made smaller by one.
#[derive(Debug)]
pub struct Probe {
    /// The graph.
    pub graph: Graph,
    /// The symbol the size becomes.
    pub symbol: u32,
    /// From the smallest to the size the main graph was read at.
    pub extent: Extent,
}

impl Graph {
    /// Opens the sizes that the probes vary. `self` was read at the largest of each.
    ///
    /// # Errors
    /// The first place that depends on a size in a way that has no form at open sizes.
    pub fn open(self, probes: &[Probe]) -> Result<Self, GraphError> {
        let mut opener = Opener {
            pairs: vec![HashMap::new(); probes.len()],
            probes,
            cuts: HashMap::new(),
            graph: self,
        };
        opener.run()?;
        let mut graph = opener.graph;
        for probe in probes {
            graph.extents.insert(probe.symbol, probe.extent);
        }
        Ok(graph)
    }
}

struct Opener<'a> {
    graph: Graph,
    probes: &'a [Probe],
    /// Per probe, its value for each of the graph's.
    pairs: Vec<HashMap<ValueId, ValueId>>,
    /// Constants cut to the length of an input, by the constant.
    cuts: HashMap<ValueId, ValueId>,
}

fn refuse(scope: &str, op: impl ToString, reason: impl std::fmt::Display) -> GraphError {
    GraphError {
        scope: scope.into(),
        op: op.to_string(),
        reason: format!("{reason}; {INSTEAD}"),
    }
}

impl Opener<'_> {
    fn run(&mut self) -> Result<(), GraphError> {
        let same = |probe: &Probe| {
            let (a, b) = (&self.graph, &probe.graph);
            (a.nodes.len(), a.inputs.len(), a.outputs.len())
                == (b.nodes.len(), b.inputs.len(), b.outputs.len())
        };
        if !self.probes.iter().all(same) {
            let reason = "the program computes something else at another size";
            return Err(refuse("program", "open", reason));
        }
        for index in 0..self.graph.inputs.len() {
            let id = self.graph.inputs[index];
            for (probe, pairs) in self.probes.iter().zip(&mut self.pairs) {
                pairs.insert(id, probe.graph.inputs[index]);
            }
            self.open_shape(id)?;
        }
        for index in 0..self.graph.nodes.len() {
            self.node(index)?;
        }
        for (index, (name, id)) in self.graph.outputs.clone().into_iter().enumerate() {
            let theirs = |(probe, pairs): (&Probe, &HashMap<ValueId, ValueId>)| {
                pairs.get(&id) == Some(&probe.graph.outputs[index].1)
            };
            if !self.probes.iter().zip(&self.pairs).all(theirs) {
                return Err(refuse(&name, "output", "is another value at another size"));
            }
        }
        // What is cut to an input's length is cut before anything else.
        let made: Vec<ValueId> = self.cuts.values().copied().collect();
        self.graph.nodes.sort_by_key(|node| !made.contains(&node.output));
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<(), GraphError> {
        let node = self.graph.nodes[index].clone();
        let mut op = node.op.clone();
        let mut inputs = node.inputs.clone();
        for position in 0..self.probes.len() {
            let other = self.probes[position].graph.nodes[index].clone();
            if other.inputs.len() != inputs.len() {
                return Err(refuse(
                    &node.scope,
                    &node.op,
                    "has other arguments at another size",
                ));
            }
            for (slot, theirs) in node.inputs.iter().zip(&other.inputs) {
                self.pair(&node.scope, &node.op, position, *slot, *theirs)?;
            }
            self.pairs[position].insert(node.output, other.output);
            if node.op != other.op {
                let cut;
                (op, cut) = self.open_op(&node, op, &other.op, position)?;
                if let Some((axis, symbol)) = cut {
                    inputs.push(self.as_long(&node.scope, axis, symbol)?);
                }
            }
        }
        for slot in &mut inputs {
            *slot = self.open_constant(&node.scope, *slot)?;
        }
        self.open_shape(node.output)?;
        let slot = &mut self.graph.nodes[index];
        slot.op = op;
        slot.inputs = inputs;
        Ok(())
    }

    /// Notes that two values are the same at two sizes.
    fn pair(
        &mut self,
        scope: &str,
        op: &Op,
        probe: usize,
        ours: ValueId,
        theirs: ValueId,
    ) -> Result<(), GraphError> {
        let constant = !matches!(self.graph.value(ours).def, Def::Node | Def::Input);
        match self.pairs[probe].get(&ours) {
            Some(known) if *known == theirs => Ok(()),
            None if constant => {
                self.pairs[probe].insert(ours, theirs);
                Ok(())
            }
            _ => Err(refuse(scope, op, "takes other values at another size")),
        }
    }

    /// A size of ours and a probe's: the symbol where it is the size varied.
    fn dim(&self, probe: usize, ours: u64, theirs: u64) -> Option<Dim> {
        let probe = &self.probes[probe];
        match theirs {
            _ if ours == theirs => Some(Dim::Known(ours)),
            _ if ours == probe.extent.most && theirs + 1 == ours => Some(Dim::Symbol(probe.symbol)),
            _ => None,
        }
    }

    /// The shape of a value with its open sizes; `None` where one changes otherwise.
    fn shape(&self, id: ValueId) -> Option<Vec<Dim>> {
        let ours = self.graph.shape(id);
        let mut shape = ours.to_vec();
        for (probe, pairs) in self.pairs.iter().enumerate() {
            let Some(theirs) = pairs.get(&id) else { continue };
            let theirs = self.probes[probe].graph.shape(*theirs);
            if theirs.len() != ours.len() {
                return None;
            }
            for (slot, (ours, theirs)) in shape.iter_mut().zip(ours.iter().zip(theirs)) {
                match self.dim(probe, ours.known()?, theirs.known()?)? {
                    Dim::Known(_) => {}
                    // A product of both sizes, or one that only happens to be as large.
                    _ if slot.known().is_none() => return None,
                    symbol => *slot = symbol,
                }
            }
        }
        Some(shape)
    }

    fn open_shape(&mut self, id: ValueId) -> Result<(), GraphError> {
        let shape = self.shape(id).ok_or_else(|| {
            let value = self.graph.value(id);
            let shape = &value.shape;
            let reason = format!("its shape {shape:?} changes otherwise than by the size itself");
            refuse(&value.name, "open", reason)
        })?;
        self.graph.values[id.0].shape = shape;
        Ok(())
    }

    /// An operation that names a size, opened for the probes before; with it the axis and symbol it is cut to, if so.
    fn open_op(
        &self,
        node: &Node,
        so_far: Op,
        theirs: &Op,
        probe: usize,
    ) -> Result<(Op, Option<(usize, Dim)>), GraphError> {
        let fail = || {
            let reason = "depends on a size in a way that has no form at open sizes";
            refuse(&node.scope, &node.op, reason)
        };
        let from = node.inputs.first().map_or(&[][..], |x| self.graph.shape(*x));
        let varies = |ours: u64, theirs: u64| self.dim(probe, ours, theirs).ok_or_else(fail);
        match (&node.op, so_far, theirs) {
            (Op::View(ours), Op::View(mut sizes), Op::View(theirs)) if ours.len() == theirs.len() => {
                for (axis, (size, theirs)) in ours.iter().zip(theirs).enumerate() {
                    let known = |size: &i64| u64::try_from(*size).map_err(|_| fail());
                    if size == theirs {
                        continue;
                    }
                    let symbol = varies(known(size)?, known(theirs)?)?;
                    sizes[axis] = if from.get(axis) == Some(&symbol) {
                        0
                    } else if sizes.contains(&-1) {
                        return Err(fail());
                    } else {
                        -1
                    };
                }
                Ok((Op::View(sizes), None))
            }
            (
                Op::Slice { dim, start: 0, end },
                _,
                Op::Slice {
                    dim: same,
                    start: 0,
                    end: other,
                },
            ) if dim == same => {
                let symbol = varies(*end, *other)?;
                let axis = corer_mil::ops::normalize_axis(*dim, from.len()).map_err(|_| fail())?;
                if from[axis] == symbol {
                    // All of it.
                    return Ok((Op::View(vec![0; from.len()]), None));
                }
                let dim = i64::try_from(axis).map_err(|_| fail())?;
                Ok((Op::SliceLike(dim), Some((axis, symbol))))
            }
            _ => Err(fail()),
        }
    }

    /// A constant as it is at every size: itself, or the longest of it cut.
    fn open_constant(&mut self, scope: &str, id: ValueId) -> Result<ValueId, GraphError> {
        if matches!(self.graph.value(id).def, Def::Node | Def::Input) {
            return Ok(id);
        }
        if let Some(cut) = self.cuts.get(&id) {
            return Ok(*cut);
        }
        let name = self.graph.value(id).name.clone();
        let fail = |reason: &str| refuse(scope, format!("`{name}`"), reason);
        let open = self
            .shape(id)
            .ok_or_else(|| fail("changes otherwise than by the size itself"))?;
        let axes: Vec<usize> = (0..open.len())
            .filter(|axis| open[*axis].known().is_none())
            .collect();
        for (probe, pairs) in self.pairs.iter().enumerate() {
            let Some(theirs) = pairs.get(&id) else { continue };
            let graph = &self.probes[probe].graph;
            if let (Some(ours), Some(theirs)) = (self.graph.as_weight(id), graph.as_weight(*theirs))
                && ours.reads_as(theirs)
            {
                continue;
            }
            let (whole, part) = (values(&self.graph, id), values(graph, *theirs));
            let (whole, part) = (
                whole.map_err(|reason| fail(&reason))?,
                part.map_err(|reason| fail(&reason))?,
            );
            let shape: Vec<u64> = self
                .graph
                .shape(id)
                .iter()
                .filter_map(|dim| dim.known())
                .collect();
            let begins = match axes[..] {
                [] => part == whole,
                [axis] => {
                    let inner: u64 = shape[axis..].iter().product();
                    let outer: u64 = shape[..axis].iter().product();
                    leads(&part, &whole, outer, inner)
                }
                _ => false,
            };
            if !begins {
                return Err(fail("is another constant at another size"));
            }
        }
        let [axis] = axes[..] else { return Ok(id) };
        let like = self.as_long(scope, axis, open[axis])?;
        let dim = i64::try_from(axis).unwrap_or(i64::MAX);
        let cut = self
            .graph
            .push(&format!("{name}.cut"), Op::SliceLike(dim), vec![id, like])?;
        self.cuts.insert(id, cut);
        Ok(cut)
    }

    /// An input that is as long on this axis.
    fn as_long(&self, scope: &str, axis: usize, symbol: Dim) -> Result<ValueId, GraphError> {
        let found = self
            .graph
            .inputs
            .iter()
            .copied()
            .find(|input| self.graph.shape(*input).get(axis) == Some(&symbol));
        found.ok_or_else(|| {
            let reason = format!("is cut to an open size on axis {axis}, where no input has it");
            refuse(scope, "open", reason)
        })
    }
}

/// The numbers of a constant, when there are few enough to compare.
fn values(graph: &Graph, id: ValueId) -> Result<Vec<u64>, String> {
    if let Some(ints) = graph.as_ints(id) {
        return Ok(ints.iter().map(|int| int.cast_unsigned()).collect());
    }
    match graph.as_weight(id) {
        Some(weight) if weight.count() > MOST_COMPARED => {
            Err("changes with a size and is too large to see how".into())
        }
        Some(weight) => {
            let values = weight.read_f32().map_err(|error| error.to_string())?;
            Ok(values.iter().map(|value| u64::from(value.to_bits())).collect())
        }
        None => Err("is no constant".into()),
    }
}

/// Whether each of `outer` rows of `part` begins the row of `whole`, whose rows have `width` numbers.
fn leads(part: &[u64], whole: &[u64], outer: u64, width: u64) -> bool {
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let (outer, width) = (size(outer).max(1), size(width).max(1));
    let shorter = part.len() / outer;
    shorter > 0
        && shorter <= width
        && whole
            .chunks(width)
            .zip(part.chunks(shorter))
            .all(|(whole, part)| whole.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;
    use crate::source::LazyTensor;

    const WIDTH: u64 = 4;

    fn known(sizes: &[u64]) -> Vec<Dim> {
        sizes.iter().copied().map(Dim::Known).collect()
    }

    fn constant(graph: &mut Graph, name: &str, shape: &[u64], value: impl Fn(u64) -> f32) -> ValueId {
        let count: u64 = shape.iter().product();
        let values = (0..count).map(value).collect();
        let tensor = LazyTensor::from_values(name, shape.to_vec(), values).unwrap();
        graph.weight(name, tensor)
    }

    /// Lookups, positions, a view and what `more` makes of the result.
    fn program(
        batch: u64,
        tokens: u64,
        more: impl Fn(&mut Graph, ValueId) -> Result<ValueId, GraphError>,
    ) -> Graph {
        let mut graph = Graph::default();
        let ids = graph.input("input_ids", Kind::Int, known(&[batch, tokens]));
        let words = constant(&mut graph, "words", &[9, WIDTH], |at| at as f32);
        let positions = constant(&mut graph, "positions", &[1, tokens, WIDTH], |at| at as f32 / 2.0);
        let x = graph.push("words", Op::Embedding, vec![words, ids]).unwrap();
        let x = graph.push("add", Op::Add, vec![x, positions]).unwrap();
        let sizes = [batch, tokens, 2, 2].map(u64::cast_signed).to_vec();
        let x = graph.push("view", Op::View(sizes), vec![x]).unwrap();
        let x = more(&mut graph, x).unwrap();
        graph.outputs.push(("y".into(), x));
        graph
    }

    fn opened(
        open: [bool; 2],
        more: impl Fn(&mut Graph, ValueId, u64, u64) -> Result<ValueId, GraphError>,
    ) -> Result<Graph, String> {
        let (batch, tokens) = (3, 6);
        let read = |batch, tokens| program(batch, tokens, |graph, x| more(graph, x, batch, tokens));
        let probe = |symbol, most, graph| Probe {
            graph,
            symbol,
            extent: Extent { least: 1, most },
        };
        let mut probes = Vec::new();
        if open[0] {
            probes.push(probe(0, batch, read(batch - 1, tokens)));
        }
        if open[1] {
            probes.push(probe(1, tokens, read(batch, tokens - 1)));
        }
        let graph = read(batch, tokens)
            .open(&probes)
            .map_err(|error| error.to_string())?;
        graph.check().map_err(|error| error.to_string())?;
        Ok(graph)
    }

    #[test]
    fn sizes_become_symbols_and_tables_are_cut() {
        for open in [[false, true], [true, false], [true, true]] {
            let graph = opened(open, |_, x, _, _| Ok(x)).unwrap();
            let dim = |index: usize, size| match open[index] {
                true => Dim::Symbol(u32::try_from(index).unwrap()),
                false => Dim::Known(size),
            };
            let (batch, tokens) = (dim(0, 3), dim(1, 6));
            assert_eq!(graph.shape(graph.inputs[0]), [batch, tokens]);
            let wanted = [batch, tokens, Dim::Known(2), Dim::Known(2)];
            assert_eq!(graph.shape(graph.outputs[0].1), wanted);
            let cuts = graph.nodes.iter().filter(|node| node.op == Op::SliceLike(1));
            assert_eq!(cuts.count(), usize::from(open[1]));
            assert_eq!(graph.extents.len(), open.iter().filter(|open| **open).count());
        }
    }

    #[test]
    fn cuts_to_a_size_follow_it() {
        let graph = opened([false, true], |graph, x, _, tokens| {
            let table = constant(graph, "long", &[1, 9, 2, 2], |at| at as f32);
            let cut = Op::Slice {
                dim: -3,
                start: 0,
                end: tokens,
            };
            let part = graph.push("cut", cut.clone(), vec![table])?;
            let whole = graph.push("all", cut, vec![x])?;
            graph.push("sum", Op::Add, vec![whole, part])
        })
        .unwrap();
        let op = |scope: &str| &graph.nodes.iter().find(|node| node.scope == scope).unwrap().op;
        assert_eq!(*op("cut"), Op::SliceLike(1));
        assert_eq!(*op("all"), Op::View(vec![0; 4]));
    }

    #[test]
    fn whatever_else_depends_on_a_size_is_refused() {
        type More = fn(&mut Graph, ValueId, u64, u64) -> Result<ValueId, GraphError>;
        let cases: [(&str, More); 5] = [
            ("no form at open sizes", |graph, x, _, tokens| {
                graph.push("scaled", Op::MulScalar(tokens as f64), vec![x])
            }),
            ("something else", |graph, x, _, tokens| match tokens {
                6 => graph.push("once", Op::Tanh, vec![x]),
                _ => Ok(x),
            }),
            ("another constant", |graph, x, _, tokens| {
                let table = constant(graph, "table", &[1, tokens, 1, 1], |at| (at * tokens) as f32);
                graph.push("sum", Op::Add, vec![x, table])
            }),
            ("no form at open sizes", |graph, x, batch, tokens| {
                let sizes = vec![(batch * tokens).cast_signed(), 4];
                graph.push("flat", Op::View(sizes), vec![x])
            }),
            ("otherwise than by the size itself", |graph, x, _, tokens| {
                let table = constant(graph, "twice", &[3, 2 * tokens, 2, 2], |at| at as f32);
                graph.push("joined", Op::Concat(1), vec![x, table])
            }),
        ];
        for (reason, more) in cases {
            let error = opened([false, true], more).unwrap_err();
            assert!(
                error.contains(reason) && error.contains("ios18"),
                "{reason}: {error}"
            );
        }
    }
}
