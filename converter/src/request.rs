//! What a conversion is asked to do.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use corer_mil::{DataType, Target};

use crate::frontend::aten::ScalarType;
use crate::lower::Pattern;
use crate::shapes::Sizes;

/// One conversion.
#[derive(Clone, Debug)]
pub struct Request {
    /// Checkpoint directory, traced or exported model.
    pub source: PathBuf,
    /// What the model is for; [`Task::Auto`] asks the source.
    pub task: Task,
    /// Tokens per input; `None` for those an exported model was exported with, else 128.
    pub sequence_length: Option<Sizes>,
    /// Inputs per prediction; `None` for those an exported model was exported with, else 1.
    pub batch_size: Option<Sizes>,
    /// How several sizes are given.
    pub buckets: Buckets,
    /// Oldest system the package must run on.
    pub target: Target,
    /// How activations lie in memory.
    pub layout: Layout,
    /// How attention is written in the `ane` layout.
    pub attention: AttentionForm,
    /// Arithmetic and weight precision.
    pub precision: Precision,
    /// Operations of an fp16 package that compute in f32 all the same, by name.
    pub keep_f32: Vec<Pattern>,
    /// Element type of the outputs; the precision's own when `None`.
    pub output_dtype: Option<DataType>,
    /// Clamp weights beyond the fp16 range instead of refusing them.
    pub saturate: bool,
    /// Return the label and its probabilities instead of logits.
    pub classifier: bool,
    /// Whether the package takes `token_type_ids`; otherwise they are all zero.
    pub token_types: bool,
    /// Inputs of a trace that are not (batch, tokens) integers.
    pub inputs: Vec<InputSpec>,
    /// Names of a program's outputs, in order; its own or made-up ones when there are none.
    pub output_names: Vec<String>,
}

impl Request {
    /// The default conversion of a checkpoint: fp16, `ane` layout, one input of 128 tokens, iOS 16.
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            task: Task::Auto,
            sequence_length: None,
            batch_size: None,
            buckets: Buckets::Auto,
            target: Target::Ios16,
            layout: Layout::Ane,
            attention: AttentionForm::Auto,
            precision: Precision::Fp16,
            keep_f32: Vec::new(),
            output_dtype: None,
            saturate: false,
            classifier: false,
            token_types: true,
            inputs: Vec::new(),
            output_names: Vec::new(),
        }
    }

    /// The flags that shape the result, as they are recorded in the package, with what the source had to say to them:
    /// rows and tokens per row, task.
    pub fn flags(&self, (batch, tokens): (&Sizes, &Sizes), task: Task) -> String {
        let mut flags = format!(
            "--task {} --sequence-length {} --batch-size {} --target {} --layout {} --attention {} --precision {}",
            task.name(),
            tokens,
            batch,
            self.target,
            self.layout.name(),
            self.attention.name(),
            self.precision.name(),
        );
        for pattern in &self.keep_f32 {
            flags.push_str(&format!(" --keep-f32 {}", pattern.text()));
        }
        if let Some(dtype) = self.output_dtype {
            flags.push_str(&format!(" --output-dtype {dtype}"));
        }
        if self.buckets != Buckets::Auto {
            flags.push_str(&format!(" --buckets {}", self.buckets.name()));
        }
        for input in &self.inputs {
            flags.push_str(&format!(" --input {input}"));
        }
        for name in &self.output_names {
            flags.push_str(&format!(" --output-name {name}"));
        }
        for (set, flag) in [
            (self.saturate, " --saturate"),
            (self.classifier, " --classifier"),
            (!self.token_types, " --no-token-types"),
        ] {
            if set {
                flags.push_str(flag);
            }
        }
        flags
    }
}

/// Declares a flag's values once: variants, spellings, parsing.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The spelling on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.name()).collect();
                    format!("`{text}` is not one of {}", names.join(", "))
                })
            }
        }
    };
}

choices! {
    /// What the model is for; decides the head that is read and the outputs that are made.
    Task {
        /// Whatever the checkpoint says it is.
        Auto = "auto",
        /// `last_hidden_state` and `pooler_output`.
        FeatureExtraction = "feature-extraction",
        /// One row of `logits` per input.
        SequenceClassification = "sequence-classification",
        /// One row of `logits` per token.
        TokenClassification = "token-classification",
        /// `start_logits` and `end_logits`.
        QuestionAnswering = "question-answering",
        /// `logits` over the vocabulary per token.
        FillMask = "fill-mask",
        /// `sentence_embedding`, pooled as the directory's modules say.
        SentenceEmbedding = "sentence-embedding",
        /// The outputs a traced or exported model has of its own.
        Custom = "custom",
    }
}

choices! {
    /// How activations lie in memory.
    Layout {
        /// (B, C, 1, S), 1×1 convolutions: what the Neural Engine prefers (rules L1, L2).
        Ane = "ane",
        /// (B, S, C), `linear` and `matmul`: what coremltools users expect.
        Standard = "standard",
    }
}

choices! {
    /// How attention is written in the `ane` layout.
    AttentionForm {
        /// Packed while the scores of all heads fit the 2 MiB operand limit, split above (rule A8).
        Auto = "auto",
        /// All heads in one einsum, one mask add, one softmax.
        Packed = "packed",
        /// One einsum per head, scores concatenated for mask and softmax (rule A6).
        Split = "split",
    }
}

choices! {
    /// How a package takes several sizes.
    Buckets {
        /// Functions from iOS 18 on (rule S13), enumerated shapes before.
        Auto = "auto",
        /// One function per size, all over one copy of the weights.
        Functions = "functions",
        /// One function with enumerated shapes (rules S11, S12).
        Enumerated = "enumerated",
    }
}

choices! {
    /// Arithmetic and weight precision.
    Precision {
        /// Everything fp16 after the lookups (rule D1).
        Fp16 = "fp16",
        /// Everything fp32; never runs on the Neural Engine.
        Fp32 = "fp32",
    }
}

impl Precision {
    /// The element type of weights and activations.
    pub const fn dtype(self) -> DataType {
        match self {
            Self::Fp16 => DataType::Fp16,
            Self::Fp32 => DataType::Fp32,
        }
    }
}

/// An input of a trace as `--input` declares it: `NAME=DTYPE:SIZE,SIZE`, where `B` is the batch and `S` the tokens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InputSpec {
    /// Name of the argument.
    pub name: String,
    /// Element type.
    pub dtype: ScalarType,
    /// Sizes.
    pub sizes: Vec<InputSize>,
}

/// A size of a declared input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputSize {
    /// Inputs per prediction.
    Batch,
    /// Tokens per input.
    Tokens,
    /// Always this many.
    Fixed(u64),
}

impl InputSpec {
    /// Its shape for one batch size and length.
    pub fn shape(&self, batch: u64, tokens: u64) -> Vec<u64> {
        let size = |size: &InputSize| match size {
            InputSize::Batch => batch,
            InputSize::Tokens => tokens,
            InputSize::Fixed(size) => *size,
        };
        self.sizes.iter().map(size).collect()
    }
}

impl FromStr for InputSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not NAME=DTYPE:SIZES, as in bias=float32:B,S,4");
        let (name, rest) = text.split_once('=').ok_or_else(refuse)?;
        let (dtype, sizes) = rest.split_once(':').ok_or_else(refuse)?;
        let known = ScalarType::from_name(dtype).filter(|dtype| dtype.is_float() || dtype.is_integer());
        let dtype = known.ok_or_else(|| {
            format!("`{dtype}` is not an element type an input can have: float32, float16, int32, int64")
        })?;
        let size = |text: &str| match text.trim() {
            "B" => Ok(InputSize::Batch),
            "S" => Ok(InputSize::Tokens),
            text => match text.parse() {
                Ok(size) if size > 0 => Ok(InputSize::Fixed(size)),
                _ => Err(format!("`{text}` is not a size: a number, B or S")),
            },
        };
        let sizes = sizes.split(',').map(size).collect::<Result<Vec<_>, _>>()?;
        match name.is_empty() || sizes.len() > 5 {
            true => Err(refuse()),
            false => Ok(Self {
                name: name.to_owned(),
                dtype,
                sizes,
            }),
        }
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:", self.name, self.dtype)?;
        for (index, size) in self.sizes.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match size {
                InputSize::Batch => write!(f, "{comma}B")?,
                InputSize::Tokens => write!(f, "{comma}S")?,
                InputSize::Fixed(size) => write!(f, "{comma}{size}")?,
            }
        }
        Ok(())
    }
}
