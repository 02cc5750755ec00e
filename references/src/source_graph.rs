//! The imported source graph, computed op by op.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor as Value};
use corer_converter::frontend::{Imported, Model};
use corer_converter::graph::{Graph, ValueId};
use corer_converter::request::InputSize;
use corer_converter::shapes::InputShape;
use corer_converter::source::{Source, SourceModel};
use corer_converter::{ConvertError, InputSpec, Request, Task};
use corer_verifier::inputs::{Batch, InputType, Values};
use corer_verifier::reference::{Feed, Intake, Place};
use corer_verifier::report::{FileDigest, ReferenceReport};
use corer_verifier::{Reference, ReferenceError, Tensor};

use crate::bounds::bounds;
use crate::interpret::{Constants, as_kind, known_shape, run};

/// A checkpoint of any family, a traced or an exported model, computed as the frontend read it.
pub struct GraphReference {
    source: Source,
    request: Request,
    files: Vec<FileDigest>,
    constants: Constants,
    sized: Option<Sized>,
}

/// The model read for one size.
struct Sized {
    imported: Imported,
    batch: usize,
    bounds: BTreeMap<String, usize>,
}

impl GraphReference {
    /// Opens a source; `task` is the head to compute.
    ///
    /// # Errors
    /// When it can't be read, or is no model.
    pub fn open(path: &Path, task: Task) -> Result<Self, ReferenceError> {
        let source = Source::open(path).map_err(|error| engine(path, error))?;
        let digest = source.digest(&mut |_| {}).map_err(|error| engine(path, error))?;
        let files = digest.weights.into_iter().map(|file| FileDigest {
            name: file.name,
            bytes: file.bytes,
            sha256: file.sha256,
        });
        Ok(Self {
            files: files.collect(),
            source,
            request: Request {
                task,
                ..Request::new(path)
            },
            constants: Constants::default(),
            sized: None,
        })
    }

    /// Declares what a trace does not say of its inputs: everything the package takes that is not (B, S) integers.
    fn declared(model: &Model<'_>, feed: &Feed) -> Vec<InputSpec> {
        let Model::Program(program) = model else {
            return Vec::new();
        };
        let undeclared = |input: &&InputType| {
            let usual = !input.float && input.shape == [feed.batch, feed.length];
            let open = program
                .inputs
                .iter()
                .any(|other| other.name == input.name && other.shape.is_none());
            open && !usual
        };
        let spec = |input: &InputType| InputSpec {
            name: input.name.clone(),
            dtype: match input.float {
                true => corer_converter::frontend::aten::ScalarType::Float32,
                false => corer_converter::frontend::aten::ScalarType::Int64,
            },
            sizes: input
                .shape
                .iter()
                .map(|size| InputSize::Fixed(*size as u64))
                .collect(),
        };
        feed.inputs.iter().filter(undeclared).map(spec).collect()
    }

    fn import(&self, feed: &Feed) -> Result<Imported, ConvertError> {
        let model = Model::read(&self.source)?;
        let request = Request {
            inputs: Self::declared(&model, feed),
            ..self.request.clone()
        };
        let shape = InputShape {
            batch: (feed.batch as u64).into(),
            tokens: (feed.length as u64).into(),
        };
        model.import(&request, shape)
    }

    fn sized(&self) -> Result<&Sized, ReferenceError> {
        self.sized
            .as_ref()
            .ok_or_else(|| engine(&self.source.path, "is not readied for any size".to_owned()))
    }

    /// Values for all rows, computed as many rows at a time as the model is sized for.
    fn compute(&self, batch: &Batch<'_>, wanted: &[ValueId]) -> Result<Vec<Tensor>, ReferenceError> {
        let sized = self.sized()?;
        let graph = &sized.imported.graph;
        let path = &self.source.path;
        let mut gathered: Vec<(Vec<usize>, Vec<f32>)> = vec![Default::default(); wanted.len()];
        for rows in batch.rows.chunks(sized.batch) {
            let missing = sized.batch - rows.len();
            let last = std::iter::repeat_n(rows.last(), missing).flatten();
            let full: Vec<_> = rows.iter().chain(last).cloned().collect();
            let part = Batch {
                rows: &full,
                ..*batch
            };
            let mut inputs = BTreeMap::new();
            for id in &graph.inputs {
                inputs.insert(*id, self.input(graph, *id, &part)?);
            }
            let values = run(graph, &self.constants, &inputs, wanted).map_err(|error| engine(path, error))?;
            for ((shape, gathered), value) in gathered.iter_mut().zip(values) {
                let flat = as_kind(&value, corer_converter::graph::Kind::Float)
                    .and_then(|value| value.flatten_all()?.to_vec1::<f32>());
                let flat = flat.map_err(|error| engine(path, error))?;
                let by_row = value.dims().first() == Some(&sized.batch);
                let kept = match by_row {
                    true => flat.len() / sized.batch * rows.len(),
                    // Without a batch axis it is the same for all rows.
                    false if gathered.is_empty() => flat.len(),
                    false => 0,
                };
                gathered.extend(&flat[..kept]);
                let batch_axis = if by_row {
                    batch.rows.len()
                } else {
                    value.dims().first().copied().unwrap_or(1)
                };
                *shape = std::iter::once(batch_axis)
                    .chain(value.dims().iter().skip(1).copied())
                    .collect();
            }
        }
        let tensors = gathered.into_iter().map(|(shape, values)| {
            Tensor::new(shape, values).ok_or_else(|| engine(path, "shape and values disagree".to_owned()))
        });
        tensors.collect()
    }

    fn input(&self, graph: &Graph, id: ValueId, batch: &Batch<'_>) -> Result<Value, ReferenceError> {
        let value = graph.value(id);
        let path = &self.source.path;
        let given = batch.input(&value.name).ok_or_else(|| {
            engine(
                path,
                format!("takes `{}`, which the package does not", value.name),
            )
        })?;
        let shape = known_shape(graph, id).map_err(|error| engine(path, error))?;
        if given.values.len() != shape.iter().product::<usize>() {
            return Err(engine(
                path,
                format!(
                    "`{}` is {shape:?}, the package takes {:?}",
                    value.name, given.shape
                ),
            ));
        }
        let tensor = match given.values {
            Values::Ints(values) => {
                let wide: Vec<i64> = values.into_iter().map(i64::from).collect();
                Value::from_vec(wide, shape, &Device::Cpu)
            }
            Values::Floats(values) => Value::from_vec(values, shape, &Device::Cpu),
        };
        tensor
            .and_then(|tensor| as_kind(&tensor, value.kind))
            .map_err(|error| engine(path, error))
    }
}

impl Reference for GraphReference {
    fn describe(&self) -> ReferenceReport {
        let task = match &self.sized {
            Some(sized) => sized.imported.task,
            None => self.request.task,
        };
        ReferenceReport {
            kind: "the source's operations one by one, f32".into(),
            path: self.source.path.display().to_string(),
            task: (task != Task::Auto).then(|| task.name().into()),
            files: self.files.clone(),
            notes: BTreeMap::new(),
        }
    }

    fn intake(&self) -> Intake {
        let path = &self.source.path;
        let (folder, pad) = match &self.source.model {
            SourceModel::Checkpoint(checkpoint) => {
                let pad = checkpoint.config.get("pad_token_id").and_then(|pad| pad.as_u64());
                (path.clone(), pad.and_then(|pad| usize::try_from(pad).ok()))
            }
            _ => (path.parent().map(PathBuf::from).unwrap_or_default(), None),
        };
        Intake {
            bounds: self
                .sized
                .as_ref()
                .map(|sized| sized.bounds.clone())
                .unwrap_or_default(),
            pad: pad.unwrap_or(0),
            tokenizer: Some(folder.join("tokenizer.json")),
        }
    }

    fn prepare(&mut self, feed: &Feed) -> Result<(), ReferenceError> {
        let path = self.source.path.clone();
        let imported = self.import(feed).map_err(|error| match error {
            ConvertError::Request {
                flag: "--sequence-length" | "--batch-size",
                ..
            } => ReferenceError::Size {
                path: path.clone(),
                reason: error.to_string(),
            },
            other => engine(&path, other),
        })?;
        let graph = &imported.graph;
        for id in &graph.inputs {
            let name = &graph.value(*id).name;
            let usual = ["input_ids", "attention_mask", "token_type_ids"].contains(&name.as_str());
            if !usual && feed.inputs.iter().all(|input| input.name != *name) {
                let taken: Vec<_> = feed.inputs.iter().map(|input| input.name.as_str()).collect();
                return Err(engine(
                    &path,
                    format!(
                        "takes `{name}`, the package takes {}: it is of another model",
                        taken.join(", ")
                    ),
                ));
            }
        }
        self.constants.read(graph).map_err(|error| engine(&path, error))?;
        self.sized = Some(Sized {
            bounds: bounds(graph),
            batch: feed.batch,
            imported,
        });
        Ok(())
    }

    fn task_outputs(&self) -> Vec<String> {
        let outputs = self.sized.iter().flat_map(|sized| &sized.imported.graph.outputs);
        outputs.map(|(name, _)| name.clone()).collect()
    }

    fn labels(&self) -> Option<&[String]> {
        let imported = &self.sized.as_ref()?.imported;
        let classifies = matches!(
            imported.task,
            Task::SequenceClassification | Task::TokenClassification
        );
        (classifies && !imported.labels.is_empty()).then_some(&imported.labels)
    }

    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        let outputs = &self.sized()?.imported.graph.outputs;
        let wanted: Vec<ValueId> = outputs.iter().map(|(_, id)| *id).collect();
        let values = self.compute(batch, &wanted)?;
        Ok(outputs.iter().map(|(name, _)| name.clone()).zip(values).collect())
    }

    fn places(&self) -> Vec<Place> {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        let nodes = self.sized.iter().flat_map(|sized| &sized.imported.graph.nodes);
        for (index, node) in nodes.enumerate() {
            let ends = node.scope.match_indices('.').map(|(end, _)| end);
            for end in ends.chain([node.scope.len()]) {
                last.insert(&node.scope[..end], index);
            }
        }
        let mut places: Vec<(usize, &str)> = last.into_iter().map(|(place, index)| (index, place)).collect();
        // Of places that end together, the innermost comes first.
        places.sort_by_key(|(index, place)| (*index, std::cmp::Reverse(place.len())));
        places.into_iter().map(|(_, place)| place.to_owned()).collect()
    }

    fn traced(&self, batch: &Batch<'_>, want: &[Place]) -> Result<Vec<Tensor>, ReferenceError> {
        let graph = &self.sized()?.imported.graph;
        let inside = |scope: &str, place: &str| {
            scope
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let ids = want.iter().map(|place| {
            let node = graph.nodes.iter().rev().find(|node| inside(&node.scope, place));
            node.map(|node| node.output)
                .ok_or_else(|| ReferenceError::Place { place: place.clone() })
        });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        self.compute(batch, &ids)
    }
}

fn engine(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReferenceError {
    ReferenceError::Engine {
        path: path.to_owned(),
        source: source.into(),
    }
}
