//! What a sentence-transformers directory does after the transformer: `modules.json` and its modules.
//!
//! Names, defaults and order follow the package's `Pooling`, `Dense` and `Normalize` classes, in the spelling of
//! version 5 (`pooling_mode_mean_tokens: true`) and of version 6 (`pooling_mode: "mean"`).

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;
use super::folder;
use super::json::{self, Settings};
use super::tensor_set::TensorSlice;

/// Module classes that are converted.
const SUPPORTED: &str = "Transformer, Pooling, Dense, Normalize, Dropout";

/// Names the transformer's own settings have had, by model family; the first is used for all today.
const TRANSFORMER_SETTINGS: [&str; 4] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// How a sentence vector is made from token vectors.
#[derive(Clone, Debug)]
pub struct SentenceModules {
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// What follows the pooling, in order.
    pub steps: Vec<SentenceStep>,
    /// Longest input in tokens, from `sentence_bert_config.json`.
    pub max_seq_length: Option<u64>,
}

/// Pooling over the tokens of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pooling {
    /// Channels of a token vector.
    pub dimension: u64,
    /// Modes in the order their results are concatenated; never empty.
    pub modes: Vec<PoolingMode>,
}

/// One way to pool tokens. A token counts when its attention mask is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PoolingMode {
    /// The first token.
    Cls,
    /// The maximum over the tokens that count.
    Max,
    /// The mean over the tokens that count.
    Mean,
    /// The sum over the tokens that count, divided by the square root of their number.
    MeanSqrtLength,
    /// The mean weighted by position (1 for the first token, 2 for the second …).
    WeightedMean,
    /// The last token that counts.
    LastToken,
}

impl PoolingMode {
    /// Every mode in the order the package concatenates them, with the flag of version 5.
    const FLAGS: [(&'static str, Self); 6] = [
        ("pooling_mode_cls_token", Self::Cls),
        ("pooling_mode_max_tokens", Self::Max),
        ("pooling_mode_mean_tokens", Self::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", Self::MeanSqrtLength),
        ("pooling_mode_weightedmean_tokens", Self::WeightedMean),
        ("pooling_mode_lasttoken", Self::LastToken),
    ];

    /// The name version 6 gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLength => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }
}

/// One step after the pooling.
#[derive(Clone, Debug)]
pub enum SentenceStep {
    /// A dense layer.
    Dense(DenseModule),
    /// Division by the Euclidean length.
    Normalize,
}

/// A dense layer with its activation: `activation(x · weightᵀ + bias)`.
#[derive(Clone, Debug)]
pub struct DenseModule {
    /// Folder of the module, relative to the root.
    pub folder: String,
    /// Channels in.
    pub in_features: u64,
    /// Channels out.
    pub out_features: u64,
    /// What follows.
    pub activation: DenseActivation,
    /// Shape [out, in].
    pub weight: TensorSlice,
    /// Shape [out].
    pub bias: Option<TensorSlice>,
}

/// Activations of dense modules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

/// One entry of `modules.json`.
#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

/// `modules.json`, read, its modules not yet.
pub(super) struct ModuleList {
    file: Arc<SourceFile>,
    entries: Vec<ModuleEntry>,
}

/// The modules after the transformer, and the files they were read from.
pub(super) struct OpenedModules {
    pub(super) modules: SentenceModules,
    /// Folder and weight file of each module that has weights.
    pub(super) weights: Vec<Arc<SourceFile>>,
    pub(super) configuration: Vec<Arc<SourceFile>>,
}

impl ModuleList {
    /// Reads `modules.json` and checks that its modules are those a sentence model is made of.
    pub(super) fn read(file: Arc<SourceFile>) -> Result<Self, SourceError> {
        let list = Self {
            entries: json::read(&file)?,
            file,
        };
        for (index, entry) in list.entries.iter().enumerate() {
            let wanted = match index {
                0 => &["Transformer"][..],
                1 => &["Pooling"],
                _ => &["Dense", "Normalize", "Dropout"],
            };
            let class = list.class(index)?;
            if !wanted.contains(&class) {
                let reason = format!(
                    "module `{}` is not supported here, {} is; the modules converted are {SUPPORTED}",
                    shortened(&entry.class),
                    wanted.join(" or ")
                );
                return Err(list.unsupported(index, "type", reason));
            }
            let plain = entry.path.is_empty() || folder::below(Path::new(""), &entry.path).is_some();
            if !plain {
                let place = Place::Key(format!("[{index}].path"));
                let reason = format!("`{}` leads out of the directory", shortened(&entry.path));
                return Err(SourceError::malformed(list.file.path(), place, reason));
            }
        }
        if list.entries.len() < 2 {
            let reason = "a Transformer and a Pooling module are needed";
            return Err(SourceError::unsupported(list.file.path(), Place::Whole, reason));
        }
        Ok(list)
    }

    /// Folder of the transformer, relative to the root; empty for the root itself.
    pub(super) fn transformer(&self) -> &str {
        self.entries.first().map_or("", |entry| &entry.path)
    }

    /// Last part of a module's class name, if it is one of sentence-transformers' own.
    fn class(&self, index: usize) -> Result<&str, SourceError> {
        let class = &self.entries[index].class;
        match class
            .strip_prefix("sentence_transformers.")
            .and_then(|rest| rest.rsplit('.').next())
        {
            Some(name) => Ok(name),
            None => {
                let reason = format!(
                    "module `{}` is the model's own code, which is never run; the modules converted are {SUPPORTED}",
                    shortened(class)
                );
                Err(self.unsupported(index, "type", reason))
            }
        }
    }

    fn unsupported(&self, index: usize, key: &str, reason: String) -> SourceError {
        SourceError::unsupported(self.file.path(), Place::Key(format!("[{index}].{key}")), reason)
    }

    /// Reads every module after the transformer, which gives `width` channels (unless its configuration is silent).
    pub(super) fn open(self, root: &Path, width: Option<u64>) -> Result<OpenedModules, SourceError> {
        let transformer = root.join(self.transformer());
        let mut configuration = vec![self.file.clone()];
        let mut weights = Vec::new();
        let mut max_seq_length = None;
        for name in TRANSFORMER_SETTINGS {
            if let Some(file) = folder::open_optional(&transformer.join(name))? {
                configuration.push(file.clone());
                max_seq_length = Settings::read(file)?.number("max_seq_length")?;
                break;
            }
        }
        let settings = Settings::read(SourceFile::open(
            &root.join(&self.entries[1].path).join("config.json"),
        )?)?;
        let pooling = Pooling::read(&settings)?;
        if let Some(width) = width.filter(|width| *width != pooling.dimension) {
            let rule = format!("must be the transformer's hidden_size {width}");
            return Err(settings.malformed(
                "word_embedding_dimension",
                &rule,
                &Value::from(pooling.dimension),
            ));
        }
        configuration.push(settings.file);
        let mut channels = pooling.dimension * pooling.modes.len() as u64;
        let mut steps = Vec::new();
        for (index, entry) in self.entries.iter().enumerate().skip(2) {
            let path = root.join(&entry.path);
            match self.class(index)? {
                "Dense" => {
                    let settings = Settings::read(SourceFile::open(&path.join("config.json"))?)?;
                    let (dense, files) = DenseModule::read(&settings, &path, &entry.path)?;
                    if dense.in_features != channels {
                        let value = Value::from(dense.in_features);
                        let rule = format!("must be the {channels} channels the module before it gives");
                        return Err(settings.malformed("in_features", &rule, &value));
                    }
                    channels = dense.out_features;
                    configuration.push(settings.file);
                    weights.extend(files);
                    steps.push(SentenceStep::Dense(dense));
                }
                "Normalize" => {
                    // Only version 6 writes one, and only to normalise something else than the sentence.
                    if let Some(file) = folder::open_optional(&path.join("config.json"))?
                        && path != root
                    {
                        let settings = Settings::read(file)?;
                        on_sentences(&settings)?;
                        configuration.push(settings.file);
                    }
                    steps.push(SentenceStep::Normalize);
                }
                // Dropout does nothing outside training.
                _ => {}
            }
        }
        let modules = SentenceModules {
            pooling,
            steps,
            max_seq_length,
        };
        Ok(OpenedModules {
            modules,
            weights,
            configuration,
        })
    }
}

impl Pooling {
    fn read(settings: &Settings) -> Result<Self, SourceError> {
        let dimension = settings.required_number(&["word_embedding_dimension", "embedding_dimension"])?;
        let modes = match settings.get("pooling_mode") {
            Some(value) => Self::named_modes(settings, value)?,
            None => Self::flagged_modes(settings)?,
        };
        if !settings.flag("include_prompt", true)? {
            let reason = "leaving a prompt's tokens out of the pooling is not supported";
            return Err(settings.unsupported("include_prompt", reason));
        }
        Ok(Self { dimension, modes })
    }

    /// Version 5: a flag per mode.
    fn flagged_modes(settings: &Settings) -> Result<Vec<PoolingMode>, SourceError> {
        let mut modes = Vec::new();
        for (flag, mode) in PoolingMode::FLAGS {
            if settings.flag(flag, false)? {
                modes.push(mode);
            }
        }
        if let Some(unknown) = settings
            .enabled("pooling_mode_")
            .find(|key| !PoolingMode::FLAGS.iter().any(|(flag, _)| flag == key))
        {
            return Err(settings.unsupported(unknown, "is a pooling mode corer does not know"));
        }
        if modes.is_empty() {
            modes.push(PoolingMode::Mean);
        }
        Ok(modes)
    }

    /// Version 6: a name, or several in order.
    fn named_modes(settings: &Settings, value: &Value) -> Result<Vec<PoolingMode>, SourceError> {
        let names = match value {
            Value::Array(names) => &names[..],
            name => std::slice::from_ref(name),
        };
        let named = |name: &Value| {
            let text = name.as_str();
            let known = PoolingMode::FLAGS
                .iter()
                .find(|(_, mode)| Some(mode.name()) == text);
            known.map(|(_, mode)| *mode).ok_or_else(|| {
                let known: Vec<_> = PoolingMode::FLAGS.iter().map(|(_, mode)| mode.name()).collect();
                let reason = format!(
                    "{} is not one of {}",
                    shortened(&name.to_string()),
                    known.join(", ")
                );
                settings.unsupported("pooling_mode", reason)
            })
        };
        if names.is_empty() || names.len() > PoolingMode::FLAGS.len() {
            return Err(settings.malformed("pooling_mode", "must name one to six modes", value));
        }
        names.iter().map(named).collect()
    }
}

impl DenseModule {
    /// The module in `path`, and the files its weights come from.
    fn read(
        settings: &Settings,
        path: &Path,
        folder: &str,
    ) -> Result<(Self, Vec<Arc<SourceFile>>), SourceError> {
        on_sentences(settings)?;
        if settings.flag("use_residual", false)? {
            return Err(settings.unsupported(
                "use_residual",
                "a residual around a dense module is not supported",
            ));
        }
        let in_features = settings.required_number(&["in_features"])?;
        let out_features = settings.required_number(&["out_features"])?;
        let name = settings.text("activation_function", "torch.nn.modules.activation.Tanh")?;
        let activation = DenseActivation::from_class(name).ok_or_else(|| {
            let reason = format!(
                "`{}` is not supported; Identity, Tanh, ReLU, GELU, Sigmoid and SiLU of torch.nn are",
                shortened(name)
            );
            settings.unsupported("activation_function", reason)
        })?;
        let opened = folder::open(path)?;
        let take = |name: &str, shape: &[u64]| {
            let fail = |reason: String| {
                let file = opened.files.first().map_or(path, |file| file.path());
                SourceError::malformed(file, Place::Tensor(name.into()), reason)
            };
            let slice = opened
                .tensors
                .get(name)
                .ok_or_else(|| fail("is missing".into()))?;
            if slice.shape() != shape {
                let reason = format!("has shape {:?}, config.json makes it {shape:?}", slice.shape());
                return Err(fail(reason));
            }
            Ok(slice.clone())
        };
        let weight = take("linear.weight", &[out_features, in_features])?;
        let bias = match settings.flag("bias", true)? {
            true => Some(take("linear.bias", &[out_features])?),
            false => None,
        };
        let module = Self {
            folder: folder.into(),
            in_features,
            out_features,
            activation,
            weight,
            bias,
        };
        Ok((module, opened.files))
    }
}

impl DenseActivation {
    /// The activation of a `torch.nn` class.
    fn from_class(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("torch.nn.")?.rsplit('.').next()? {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "ReLU" => Self::Relu,
            "GELU" => Self::Gelu,
            "Sigmoid" => Self::Sigmoid,
            "SiLU" => Self::Silu,
            _ => return None,
        })
    }
}

/// Refuses modules that work on something else than the sentence vector.
fn on_sentences(settings: &Settings) -> Result<(), SourceError> {
    for key in ["module_input_name", "module_output_name"] {
        let name = settings.text(key, "sentence_embedding")?;
        if name != "sentence_embedding" {
            let reason = format!(
                "`{}` is not supported, only `sentence_embedding`",
                shortened(name)
            );
            return Err(settings.unsupported(key, reason));
        }
    }
    Ok(())
}
