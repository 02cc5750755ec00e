//! PyTorch checkpoints to MIL programs.
//!
//! A source is read as data ([`source`]), becomes a graph of framework-level operations ([`frontend`]), is
//! rewritten by small passes ([`passes`]) and lowered to MIL in one of two layouts ([`lower`]). Weights stay on
//! disk all the way; whoever writes the package streams them.

pub mod error;
pub mod frontend;
pub mod graph;
pub mod lower;
pub mod passes;
pub mod request;
pub mod shapes;
pub mod source;

mod constants;
mod describe;
mod open;

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::DataType;
use corer_proto::{Metadata, Model};

pub use error::{ConvertError, TensorMismatch, UnsupportedOp};
pub use lower::Pattern;
pub use passes::{LeftPlain, PassReport};
pub use request::{AttentionForm, Buckets, InputSpec, Layout, Precision, Request, Task};

use lower::{Classifier, Settings, Weights};
use shapes::{InputShape, Shapes, Sizes};
use source::{Overflow, Source, SourceModel};

/// The version recorded in packages.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A converted model, its weights still to be read from the source when it is written.
#[derive(Debug)]
pub struct Conversion {
    /// The model. Its metadata lacks the source's digest until [`Conversion::source`] is digested.
    pub model: Model,
    /// What it came from.
    pub source: Source,
    /// The task it was converted for.
    pub task: Task,
    /// What each pass did.
    pub passes: Vec<PassReport>,
    /// What no pass lifted.
    pub left_plain: Vec<LeftPlain>,
    /// Operations kept in f32 in an fp16 package, by name.
    pub kept_f32: Vec<String>,
    /// Tensors of the source the package does not need.
    pub unused: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Metadata key of the source's digest.
pub const SOURCE_DIGEST_KEY: &str = "corer.source.sha256";

/// Converts a checkpoint, a traced or an exported model. No weight is read, save small ones that are summed.
///
/// # Errors
/// When the source can't be read or converted; nothing is written either way.
pub fn convert(request: &Request) -> Result<Conversion, ConvertError> {
    let source = Source::open(&request.source)?;
    let model = frontend::Model::read(&source)?;
    let (batch, tokens) = model.sizes(request)?;
    let shapes = Shapes::new(&batch, &tokens, request.buckets, request.target)?;
    let dtype = request.precision.dtype();
    let settings = Settings {
        opset: request.target.opset(),
        layout: request.layout,
        dtype,
        output_dtype: output_dtype(request, dtype)?,
        overflow: if request.saturate {
            Overflow::Saturate
        } else {
            Overflow::Error
        },
    };
    let wanted = match &shapes {
        Shapes::Functions { functions } => functions
            .iter()
            .map(|(name, shape)| (name.clone(), InputShape::from(*shape)))
            .collect(),
        one => vec![("main".to_owned(), one.extent())],
    };
    let longest = (wanted.len() > 1).then(|| shapes.extent().tokens.most);
    let mut weights = Weights::default();
    let mut functions = Vec::with_capacity(wanted.len());
    let (mut kept_f32, mut seen) = (Vec::new(), BTreeSet::new());
    let mut read = None;
    for (name, shape) in wanted {
        let (mut imported, mut reports) = match model {
            frontend::Model::Program(_) if !shape.is_known() => open::import(&model, request, shape)?,
            _ => {
                let mut imported = model.import(request, shape)?;
                imported.graph.longest = longest;
                let reports = passes::lift(&mut imported.graph)?;
                (imported, reports)
            }
        };
        reports.extend(passes::suit(
            &mut imported.graph,
            request.layout,
            request.attention,
        )?);
        let classifier = classifier(request, &imported, &batch)?;
        let mut function = lower::lower(&imported.graph, settings, classifier.as_ref(), &mut weights)?;
        let kept = lower::keep_f32(&mut function, &request.keep_f32, &mut weights, settings.overflow);
        kept_f32.extend(kept.into_iter().filter(|name| seen.insert(name.clone())));
        functions.push((name, function));
        // Functions differ in sizes alone, so what is said of one holds for all.
        read.get_or_insert((imported, reports, classifier));
    }
    let Some((imported, passes, classifier)) = read else {
        return Err(ConvertError::Request {
            flag: "--sequence-length",
            reason: "names no size".into(),
        });
    };
    if let Some(idle) = request
        .keep_f32
        .iter()
        .find(|pattern| !kept_f32.iter().any(|name| pattern.matches(name)))
    {
        return Err(ConvertError::Request {
            flag: "--keep-f32",
            reason: format!(
                "`{}` names no operation with an fp16 result; `corer inspect` lists the operations of a package",
                idle.text()
            ),
        });
    }
    let mut metadata = metadata(request, &source, (&batch, &tokens), imported.task);
    let mut notes = imported.notes;
    shapes.describe(&mut metadata.user_defined, &mut notes);
    let model = describe::model(functions, &shapes, classifier.as_ref(), metadata)?;
    Ok(Conversion {
        model,
        source,
        task: imported.task,
        passes,
        left_plain: passes::left_plain(&imported.graph),
        kept_f32,
        unused: imported.unused,
        notes,
    })
}

fn output_dtype(request: &Request, dtype: DataType) -> Result<DataType, ConvertError> {
    let refuse = |flag, reason: &str| {
        Err(ConvertError::Request {
            flag,
            reason: reason.into(),
        })
    };
    if request.target.opset() < corer_mil::Opset::CoreMl6 {
        return refuse("--target", "ios16 or newer is needed (fp16 inputs and outputs)");
    }
    match request.output_dtype {
        None => Ok(dtype),
        Some(wanted @ (DataType::Fp16 | DataType::Fp32)) => Ok(wanted),
        Some(_) => refuse("--output-dtype", "must be fp16 or fp32"),
    }
}

fn classifier(
    request: &Request,
    imported: &frontend::Imported,
    batch: &Sizes,
) -> Result<Option<Classifier>, ConvertError> {
    if !request.classifier {
        return Ok(None);
    }
    let refuse = |reason: String| {
        Err(ConvertError::Request {
            flag: "--classifier",
            reason,
        })
    };
    if imported.task != Task::SequenceClassification {
        return refuse(format!(
            "needs a sequence classification head, this is {}",
            imported.task.name()
        ));
    }
    if imported.labels.is_empty() {
        return refuse("needs class names, and config.json has no id2label".into());
    }
    if *batch != Sizes::from(1) {
        return refuse("takes one input at a time (--batch-size 1)".into());
    }
    Ok(Some(Classifier {
        label: "classLabel".into(),
        classes: imported.labels.clone(),
    }))
}

fn metadata(request: &Request, source: &Source, sizes: (&Sizes, &Sizes), task: Task) -> Metadata {
    let (mut model, mut author, mut license) = (String::new(), None, None);
    match &source.model {
        SourceModel::Checkpoint(checkpoint) => {
            let name = checkpoint.config.get("_name_or_path");
            model = name
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned();
            if model.is_empty() {
                let family = frontend::checkpoint::Family::of_config(&checkpoint.config);
                model.push_str(family.map_or("BERT", frontend::checkpoint::Family::name));
            }
            author = checkpoint.author();
            license = checkpoint.license();
        }
        SourceModel::Script(_) | SourceModel::Export(_) => {
            let name = source.path.file_stem().unwrap_or_default();
            model.push_str(&name.to_string_lossy());
        }
    }
    if model.is_empty() {
        model.push_str("BERT");
    }
    Metadata {
        author: author.unwrap_or_default(),
        license: license.unwrap_or_default(),
        short_description: format!("{model} for {}", task.name()),
        version: VERSION.into(),
        user_defined: BTreeMap::from([
            ("corer.version".to_owned(), VERSION.to_owned()),
            ("corer.flags".to_owned(), request.flags(sizes, task)),
            ("corer.task".to_owned(), task.name().to_owned()),
        ]),
    }
}
