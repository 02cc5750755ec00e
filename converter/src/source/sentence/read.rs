//! Reading `modules.json` and the modules it lists.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{DenseActivation, DenseModule, Pooling, PoolingMode, SentenceModules, SentenceStep};
use crate::source::error::{Place, SourceError, shortened};
use crate::source::file::SourceFile;
use crate::source::folder;
use crate::source::json::{self, Settings};

/// Module classes that are converted.
const SUPPORTED: &str = "Transformer, Pooling, Dense, Normalize, Dropout";

/// Names the transformer's own settings have had, by model family; the first is used for all today.
const TRANSFORMER_SETTINGS: [&str; 4] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// One entry of `modules.json`.
#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

/// `modules.json`, read, its modules not yet.
pub(in crate::source) struct ModuleList {
    file: Arc<SourceFile>,
    entries: Vec<ModuleEntry>,
}

/// The modules after the transformer, and the files they were read from.
pub(in crate::source) struct OpenedModules {
    pub(in crate::source) modules: SentenceModules,
    /// Folder and weight file of each module that has weights.
    pub(in crate::source) weights: Vec<Arc<SourceFile>>,
    pub(in crate::source) configuration: Vec<Arc<SourceFile>>,
}

impl ModuleList {
    /// Reads `modules.json` and checks that its modules are those a sentence model is made of.
    pub(in crate::source) fn read(file: Arc<SourceFile>) -> Result<Self, SourceError> {
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
    pub(in crate::source) fn transformer(&self) -> &str {
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
    pub(in crate::source) fn open(
        self,
        root: &Path,
        width: Option<u64>,
    ) -> Result<OpenedModules, SourceError> {
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
