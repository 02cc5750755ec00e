//! What a sentence-transformers directory does with token vectors, written from its format: `modules.json` lists
//! modules in order, each with a `config.json` of its own.

use std::path::{Component, Path, PathBuf};

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Activation, Linear, Module};
use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::config::JsonFile;
use crate::error::ReferenceError;
use crate::report::FileDigest;

/// The floor `torch.nn.functional.normalize` puts under a norm.
const NORM_FLOOR: f64 = 1e-12;
/// What `Pooling` writes over masked tokens before it takes the maximum.
const BELOW_ALL: f64 = -1e9;
/// The floor `Pooling` puts under the number of tokens.
const COUNT_FLOOR: f64 = 1e-9;

/// The modules after the transformer.
pub(super) struct SentenceModules {
    steps: Vec<Step>,
    files: Vec<FileDigest>,
}

enum Step {
    /// Modes in the order in which their results are concatenated.
    Pooling(Vec<PoolingMode>),
    Dense {
        linear: Linear,
        activation: DenseActivation,
    },
    Normalize,
}

#[derive(Clone, Copy)]
enum PoolingMode {
    Cls,
    Max,
    Mean,
    MeanSqrtLength,
}

#[derive(Clone, Copy)]
enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

/// One entry of `modules.json`.
struct Entry {
    kind: String,
    directory: PathBuf,
}

/// Where the Hugging Face checkpoint of `directory` lies: the directory itself unless `modules.json` says otherwise.
pub(super) fn transformer_directory(directory: &Path) -> std::result::Result<PathBuf, ReferenceError> {
    Ok(match entries(directory)?.into_iter().next() {
        Some(entry) => entry.directory,
        None => directory.into(),
    })
}

impl SentenceModules {
    /// Reads the modules of `directory`; `None` when it has no `modules.json`.
    pub(super) fn open(directory: &Path, hidden: usize) -> std::result::Result<Option<Self>, ReferenceError> {
        let entries = entries(directory)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let (mut steps, mut files, mut width) = (Vec::new(), Vec::new(), hidden);
        for entry in &entries[1..] {
            let config = entry.directory.join("config.json");
            match entry.kind.as_str() {
                "Pooling" if steps.is_empty() => {
                    let modes = pooling(&JsonFile::read(&config)?)?;
                    width = hidden * modes.len();
                    steps.push(Step::Pooling(modes));
                }
                "Dense" if !steps.is_empty() => {
                    let checkpoint = Checkpoint::open(&entry.directory)?;
                    let (step, out) = dense(&JsonFile::read(&config)?, &checkpoint, width)?;
                    width = out;
                    files.extend(checkpoint.digests(directory)?);
                    steps.push(step);
                }
                "Normalize" if !steps.is_empty() => steps.push(Step::Normalize),
                // Does nothing outside training.
                "Dropout" => {}
                other => return Err(unknown(directory, other)),
            }
        }
        if steps.is_empty() {
            return Err(unknown(directory, "nothing after Transformer"));
        }
        Ok(Some(Self { steps, files }))
    }

    pub(super) fn files(&self) -> &[FileDigest] {
        &self.files
    }

    /// Sentence vectors (n, D) from token vectors (n, S, H) and a mask (n, S) of zeros and ones.
    pub(super) fn forward(&self, hidden: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mut vector = hidden.clone();
        for step in &self.steps {
            vector = match step {
                Step::Pooling(modes) => {
                    let parts: Result<Vec<Tensor>> =
                        modes.iter().map(|mode| pool(*mode, hidden, mask)).collect();
                    Tensor::cat(&parts?, 1)?
                }
                Step::Dense { linear, activation } => activation.forward(&linear.forward(&vector)?)?,
                Step::Normalize => {
                    let norm = vector.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(NORM_FLOOR)?;
                    vector.broadcast_div(&norm)?
                }
            };
        }
        Ok(vector)
    }
}

fn pool(mode: PoolingMode, hidden: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let weight = mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?;
    let total = || hidden.broadcast_mul(&weight)?.sum(1);
    let count = || weight.sum(1)?.maximum(COUNT_FLOOR);
    match mode {
        PoolingMode::Cls => hidden.narrow(1, 0, 1)?.squeeze(1),
        PoolingMode::Mean => total()?.broadcast_div(&count()?),
        PoolingMode::MeanSqrtLength => total()?.broadcast_div(&count()?.sqrt()?),
        PoolingMode::Max => {
            let kept = weight.ne(0f64)?.broadcast_as(hidden.shape())?;
            #[allow(clippy::cast_possible_truncation)] // exact in f32
            let below = Tensor::full(BELOW_ALL as f32, hidden.shape(), &Device::Cpu)?;
            kept.where_cond(hidden, &below)?.max(1)
        }
    }
}

impl Module for DenseActivation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Tanh => x.tanh(),
            Self::Relu => x.relu(),
            Self::Gelu => Activation::Gelu.forward(x),
            Self::Sigmoid => Activation::Sigmoid.forward(x),
            Self::Silu => x.silu(),
        }
    }
}

fn entries(directory: &Path) -> std::result::Result<Vec<Entry>, ReferenceError> {
    let path = directory.join("modules.json");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let file = JsonFile::read(&path)?;
    let wrong = |reason: &str| file.fail("modules", reason.into());
    let mut modules: Vec<&Value> = file
        .value
        .as_array()
        .ok_or_else(|| wrong("is no list"))?
        .iter()
        .collect();
    modules.sort_by_key(|module| module["idx"].as_u64());
    let entries = modules.into_iter().map(|module| {
        let kind = module["type"]
            .as_str()
            .ok_or_else(|| wrong("a module has no type"))?;
        let place = Path::new(module["path"].as_str().unwrap_or_default());
        if !place
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(wrong("a module's path leads out of the directory"));
        }
        let kind = kind.rsplit('.').next().unwrap_or(kind).to_owned();
        // Joining an empty path would leave a trailing slash in every message.
        let directory = if place.as_os_str().is_empty() {
            directory.into()
        } else {
            directory.join(place)
        };
        Ok(Entry { kind, directory })
    });
    let entries: Vec<Entry> = entries.collect::<std::result::Result<_, _>>()?;
    match entries.first() {
        Some(first) if first.kind == "Transformer" => Ok(entries),
        _ => Err(wrong("does not begin with a Transformer")),
    }
}

fn unknown(directory: &Path, module: &str) -> ReferenceError {
    ReferenceError::Config {
        path: directory.join("modules.json"),
        key: "type".into(),
        reason: format!(
            "{module} is not known here or stands in the wrong place; known are Transformer, Pooling, Dense, \
             Normalize, Dropout in such an order. Verify token vectors with --task feature-extraction instead"
        ),
    }
}

/// The modes asked for, in the order in which `Pooling.forward` concatenates them.
fn pooling(config: &JsonFile) -> std::result::Result<Vec<PoolingMode>, ReferenceError> {
    const MODES: [(&str, PoolingMode); 4] = [
        ("pooling_mode_cls_token", PoolingMode::Cls),
        ("pooling_mode_max_tokens", PoolingMode::Max),
        ("pooling_mode_mean_tokens", PoolingMode::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", PoolingMode::MeanSqrtLength),
    ];
    let asked = |key: &str| config.value[key].as_bool() == Some(true);
    for key in ["pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"] {
        if asked(key) {
            return Err(config.fail(
                key,
                "is not known here; known are cls, max, mean, mean_sqrt_len".into(),
            ));
        }
    }
    let modes: Vec<PoolingMode> = MODES
        .iter()
        .filter(|(key, _)| asked(key))
        .map(|(_, mode)| *mode)
        .collect();
    if modes.is_empty() {
        Err(config.fail("pooling_mode_*", "none is asked for".into()))
    } else {
        Ok(modes)
    }
}

/// The layer and its width.
fn dense(
    config: &JsonFile,
    checkpoint: &Checkpoint,
    width: usize,
) -> std::result::Result<(Step, usize), ReferenceError> {
    let name = config.value["activation_function"]
        .as_str()
        .unwrap_or("torch.nn.modules.activation.Tanh");
    let activation = match name.rsplit('.').next().unwrap_or(name) {
        "Identity" => DenseActivation::Identity,
        "Tanh" => DenseActivation::Tanh,
        "ReLU" => DenseActivation::Relu,
        "GELU" => DenseActivation::Gelu,
        "Sigmoid" => DenseActivation::Sigmoid,
        "SiLU" => DenseActivation::Silu,
        other => return Err(config.fail("activation_function", format!("{other} is not known here"))),
    };
    let out = config.size("out_features", 0)?;
    let tensor = |name: &str, shape: &[usize]| {
        let stored = checkpoint
            .get(name)
            .ok_or_else(|| ReferenceError::MissingTensors {
                path: checkpoint.directory.clone(),
                names: vec![name.into()],
            })?;
        if stored.shape != shape {
            return Err(stored.wrong(format!("has shape {:?}, expected {shape:?}", stored.shape)));
        }
        Tensor::from_vec(stored.to_f32()?, shape, &Device::Cpu).map_err(|source| ReferenceError::Candle {
            step: format!("tensor {name}"),
            source,
        })
    };
    let weight = tensor("linear.weight", &[out, width])?;
    let bias = match config.value["bias"].as_bool() {
        Some(false) => None,
        _ => Some(tensor("linear.bias", &[out])?),
    };
    Ok((
        Step::Dense {
            linear: Linear::new(weight, bias),
            activation,
        },
        out,
    ))
}
