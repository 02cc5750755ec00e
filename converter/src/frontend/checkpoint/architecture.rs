//! Which architectures are read: the classes a `config.json` may name, family by family.

use serde_json::Value;

use super::config::Config;
use crate::error::ConvertError;
use crate::request::Task;

/// A family of checkpoints: one way of naming and using parameters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // their names say it all
pub enum Family {
    Bert,
    DistilBert,
    Roberta,
    XlmRoberta,
    Camembert,
    MpNet,
    Electra,
    Albert,
    DebertaV2,
    ModernBert,
    NomicBert,
}

/// What a class puts on the encoder.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What follows the family's prefix in the class name.
    pub suffix: &'static str,
    /// The task it is for.
    pub task: Task,
}

/// One family and the classes it comes in.
#[derive(Clone, Copy, Debug)]
pub struct FamilyRow {
    /// Which.
    pub family: Family,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// How its class names start.
    pub prefix: &'static str,
    /// Its heads.
    pub heads: &'static [Head],
}

impl FamilyRow {
    /// Its class names, the encoder's first.
    pub fn classes(&self) -> impl Iterator<Item = String> {
        self.heads
            .iter()
            .map(|head| format!("{}{}", self.prefix, head.suffix))
    }
}

const fn head(suffix: &'static str, task: Task) -> Head {
    Head { suffix, task }
}

const MODEL: Head = head("Model", Task::FeatureExtraction);
const SEQUENCE: Head = head("ForSequenceClassification", Task::SequenceClassification);
const TOKENS: Head = head("ForTokenClassification", Task::TokenClassification);
const ANSWERS: Head = head("ForQuestionAnswering", Task::QuestionAnswering);
const MASKED: Head = head("ForMaskedLM", Task::FillMask);

const ALL: &[Head] = &[MODEL, SEQUENCE, TOKENS, ANSWERS, MASKED];

/// Masked language models that were trained with a second head, which is left out.
const WITH_PRE_TRAINING: &[Head] = &[
    MODEL,
    SEQUENCE,
    TOKENS,
    ANSWERS,
    MASKED,
    head("ForPreTraining", Task::FillMask),
];

/// ELECTRA's discriminators, as they are published; what they discriminate is of no use to anybody.
const WITH_DISCRIMINATOR: &[Head] = &[
    MODEL,
    SEQUENCE,
    TOKENS,
    ANSWERS,
    MASKED,
    head("ForPreTraining", Task::FeatureExtraction),
];

const WITHOUT_ANSWERS: &[Head] = &[MODEL, SEQUENCE, TOKENS, MASKED];

const fn row(
    family: Family,
    model_type: &'static str,
    name: &'static str,
    prefix: &'static str,
    heads: &'static [Head],
) -> FamilyRow {
    FamilyRow {
        family,
        model_type,
        name,
        prefix,
        heads,
    }
}

/// Everything the checkpoint frontend reads.
pub const FAMILIES: &[FamilyRow] = &[
    row(Family::Bert, "bert", "BERT", "Bert", WITH_PRE_TRAINING),
    row(Family::DistilBert, "distilbert", "DistilBERT", "DistilBert", ALL),
    row(Family::Roberta, "roberta", "RoBERTa", "Roberta", ALL),
    row(
        Family::XlmRoberta,
        "xlm-roberta",
        "XLM-RoBERTa",
        "XLMRoberta",
        ALL,
    ),
    row(Family::Camembert, "camembert", "CamemBERT", "Camembert", ALL),
    row(Family::MpNet, "mpnet", "MPNet", "MPNet", ALL),
    row(
        Family::Electra,
        "electra",
        "ELECTRA",
        "Electra",
        WITH_DISCRIMINATOR,
    ),
    row(Family::Albert, "albert", "ALBERT", "Albert", WITH_PRE_TRAINING),
    row(
        Family::DebertaV2,
        "deberta-v2",
        "DeBERTa-v2, -v3",
        "DebertaV2",
        ALL,
    ),
    row(
        Family::ModernBert,
        "modernbert",
        "ModernBERT",
        "ModernBert",
        WITHOUT_ANSWERS,
    ),
    row(
        Family::NomicBert,
        "nomic_bert",
        "NomicBERT",
        "NomicBert",
        WITHOUT_ANSWERS,
    ),
];

impl Family {
    /// Its row.
    pub fn row(self) -> &'static FamilyRow {
        FAMILIES
            .iter()
            .find(|row| row.family == self)
            .unwrap_or(&FAMILIES[0])
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The family a configuration's `model_type` names.
    pub fn of_config(config: &Value) -> Option<Self> {
        let model_type = config.get("model_type")?.as_str()?;
        let row = FAMILIES.iter().find(|row| row.model_type == model_type)?;
        Some(row.family)
    }

    /// Whether a head of this task is read. An encoder without a head gives vectors whatever it was trained for.
    pub(super) fn has(self, task: Task) -> bool {
        matches!(
            task,
            Task::Auto | Task::FeatureExtraction | Task::SentenceEmbedding
        ) || self.row().heads.iter().any(|head| head.task == task)
    }

    /// Names of the tasks it has heads for.
    pub(super) fn tasks(self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.row().heads.iter().map(|head| head.task.name()).collect();
        names.dedup();
        names
    }
}

/// What a configuration says the checkpoint is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architecture {
    pub(super) family: Family,
    /// What it was trained for.
    pub(super) task: Task,
}

impl Architecture {
    /// The first class among `architectures` that is known and agrees with `model_type`; with no class named, as
    /// older sentence models and DeBERTa have it, the family's encoder.
    pub(super) fn of(config: &Config<'_>) -> Result<Self, ConvertError> {
        let named: Vec<&str> = config
            .get("architectures")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let model_type = config.get("model_type").and_then(Value::as_str);
        let rows = FAMILIES
            .iter()
            .filter(|row| model_type.is_none_or(|model_type| model_type == row.model_type));
        let known = named.iter().find_map(|name| {
            rows.clone().find_map(|row| {
                let suffix = name.strip_prefix(row.prefix)?;
                let head = row.heads.iter().find(|head| head.suffix == suffix)?;
                Some(Self {
                    family: row.family,
                    task: head.task,
                })
            })
        });
        let bare = rows
            .clone()
            .next()
            .filter(|_| named.is_empty() && model_type.is_some())
            .map(|row| Self {
                family: row.family,
                task: Task::FeatureExtraction,
            });
        known.or(bare).ok_or_else(|| {
            let model_type = model_type.unwrap_or("none");
            ConvertError::Architecture {
                file: config.file().into(),
                found: if named.is_empty() {
                    format!("model_type `{model_type}`")
                } else {
                    format!("{} (model_type `{model_type}`)", named.join(", "))
                },
                supported: match rows.clone().next().filter(|_| model_type != "none") {
                    Some(row) => row.classes().collect(),
                    None => FAMILIES
                        .iter()
                        .flat_map(|row| row.classes().next())
                        .chain(["and their heads (docs/SUPPORT.md)".to_owned()])
                        .collect(),
                },
            }
        })
    }
}
