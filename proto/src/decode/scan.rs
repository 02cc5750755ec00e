//! Walks an encoded model before it is decoded.
//!
//! Decoding allocates a structure of some hundred bytes for a message that may take two on disk. So the messages are
//! counted first, their nesting is bounded, lengths are checked against the file, and a model of another kind is
//! told by its field number without decoding it.

use crate::error::ReadError;
use crate::limits::MODEL_MESSAGES;

/// prost's own limit, which can't be asked for.
const DEPTH: u32 = 100;

/// `Model`'s field number of the ML Program.
const ML_PROGRAM: u64 = 502;

/// Kinds of model by field number in `Model.proto`.
const MODEL_KINDS: &[(u64, &str)] = &[
    (200, "pipelineClassifier"),
    (201, "pipelineRegressor"),
    (202, "pipeline"),
    (300, "glmRegressor"),
    (301, "supportVectorRegressor"),
    (302, "treeEnsembleRegressor"),
    (303, "neuralNetworkRegressor"),
    (304, "bayesianProbitRegressor"),
    (400, "glmClassifier"),
    (401, "supportVectorClassifier"),
    (402, "treeEnsembleClassifier"),
    (403, "neuralNetworkClassifier"),
    (404, "kNearestNeighborsClassifier"),
    (500, "neuralNetwork"),
    (501, "itemSimilarityRecommender"),
    (555, "customModel"),
    (556, "linkedModel"),
    (560, "classConfidenceThresholding"),
    (600, "oneHotEncoder"),
    (601, "imputer"),
    (602, "featureVectorizer"),
    (603, "dictVectorizer"),
    (604, "scaler"),
    (606, "categoricalMapping"),
    (607, "normalizer"),
    (609, "arrayFeatureExtractor"),
    (610, "nonMaximumSuppression"),
    (900, "identity"),
    (2000, "textClassifier"),
    (2001, "wordTagger"),
    (2002, "visionFeaturePrint"),
    (2003, "soundAnalysisPreprocessing"),
    (2004, "gazetteer"),
    (2005, "wordEmbedding"),
    (2006, "audioFeaturePrint"),
    (3000, "serializedModel"),
];

/// A message type, or several whose relevant fields agree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Description,
    FunctionDescription,
    Feature,
    FeatureType,
    Array,
    Image,
    StateFeature,
    Shapes,
    Program,
    FunctionEntry,
    Function,
    BlockEntry,
    Block,
    Operation,
    ArgumentEntry,
    Argument,
    Binding,
    ValueEntry,
    Value,
    Named,
    Type,
    Tensor,
    List,
    Wrapper,
    Immediate,
    TensorValue,
    Strings,
    Values,
    Pairs,
    Pair,
}

/// The type of a field that is a message holding further ones; everything else is counted and skipped.
const fn child(kind: Kind, field: u64) -> Option<Kind> {
    Some(match (kind, field) {
        (Kind::Model, 2) => Kind::Description,
        (Kind::Model, ML_PROGRAM) => Kind::Program,
        (Kind::Description, 1 | 10 | 13 | 50) | (Kind::FunctionDescription, 2 | 3 | 6) => Kind::Feature,
        (Kind::Description, 20) => Kind::FunctionDescription,
        (Kind::Feature, 3) => Kind::FeatureType,
        (Kind::FeatureType, 4) => Kind::Image,
        (Kind::FeatureType, 5) | (Kind::StateFeature, 1) => Kind::Array,
        (Kind::FeatureType, 8) => Kind::StateFeature,
        (Kind::Array, 21 | 31) | (Kind::Image, 21) => Kind::Shapes,
        (Kind::Program, 2) => Kind::FunctionEntry,
        (Kind::FunctionEntry, 2) => Kind::Function,
        (Kind::Function, 3) => Kind::BlockEntry,
        (Kind::BlockEntry, 2) | (Kind::Operation, 4) => Kind::Block,
        (Kind::Block, 3) => Kind::Operation,
        (Kind::Function | Kind::Block, 1) | (Kind::Operation, 3) => Kind::Named,
        (Kind::Operation, 2) => Kind::ArgumentEntry,
        (Kind::ArgumentEntry, 2) => Kind::Argument,
        (Kind::Argument, 1) => Kind::Binding,
        (Kind::Program | Kind::Function | Kind::Block | Kind::Tensor, 4) | (Kind::Operation, 5) => {
            Kind::ValueEntry
        }
        (Kind::Binding | Kind::ValueEntry, 2) | (Kind::Values, 1) | (Kind::Pair, 1 | 2) => Kind::Value,
        (Kind::Named | Kind::Value, 2) | (Kind::List, 1) | (Kind::Wrapper, 1 | 2) => Kind::Type,
        (Kind::Type, 1) => Kind::Tensor,
        (Kind::Type, 2) => Kind::List,
        (Kind::Type, 3..=5) => Kind::Wrapper,
        (Kind::Value, 3) => Kind::Immediate,
        (Kind::Immediate, 1) => Kind::TensorValue,
        (Kind::Immediate, 2 | 3) => Kind::Values,
        (Kind::Immediate, 4) => Kind::Pairs,
        (Kind::TensorValue, 4) => Kind::Strings,
        (Kind::Pairs, 1) => Kind::Pair,
        _ => return None,
    })
}

/// Checks the encoded model in `bytes`; `file` is what errors call it.
pub(super) fn scan(file: &str, bytes: &[u8]) -> Result<(), ReadError> {
    let mut scanner = Scanner {
        file,
        bytes,
        at: 0,
        messages: 0,
    };
    scanner.message(Kind::Model, bytes.len(), 0)
}

struct Scanner<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    messages: u64,
}

impl Scanner<'_> {
    fn fault<T>(&self, offset: usize, reason: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError::Protobuf {
            file: self.file.to_owned(),
            offset: offset as u64,
            reason: reason.into(),
        })
    }

    fn message(&mut self, kind: Kind, end: usize, depth: u32) -> Result<(), ReadError> {
        if depth > DEPTH {
            return self.fault(self.at, format!("messages nested deeper than {DEPTH}"));
        }
        while self.at < end {
            let start = self.at;
            let key = self.varint(end)?;
            let field = key >> 3;
            if field == 0 {
                return self.fault(start, "field number 0");
            }
            if kind == Kind::Model
                && let Some((_, name)) = MODEL_KINDS.iter().find(|(number, _)| *number == field)
            {
                return Err(ReadError::ModelKind {
                    file: self.file.to_owned(),
                    kind: (*name).to_owned(),
                });
            }
            match key & 7 {
                0 => {
                    self.varint(end)?;
                }
                1 => self.skip(8, end, start)?,
                5 => self.skip(4, end, start)?,
                2 => {
                    let len = self.varint(end)?;
                    self.messages += 1;
                    if self.messages > MODEL_MESSAGES {
                        return self.fault(start, format!("more than {MODEL_MESSAGES} messages and strings"));
                    }
                    match child(kind, field) {
                        Some(child) => {
                            let Some(inner) = self.end_of(len, end) else {
                                return self.overrun(len, start);
                            };
                            self.message(child, inner, depth + 1)?;
                        }
                        None => self.skip(len, end, start)?,
                    }
                }
                wire => return self.fault(start, format!("field {field} has wire type {wire}")),
            }
        }
        Ok(())
    }

    fn end_of(&self, len: u64, end: usize) -> Option<usize> {
        usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len))
            .filter(|stop| *stop <= end)
    }

    fn skip(&mut self, len: u64, end: usize, start: usize) -> Result<(), ReadError> {
        match self.end_of(len, end) {
            Some(stop) => {
                self.at = stop;
                Ok(())
            }
            None => self.overrun(len, start),
        }
    }

    fn overrun<T>(&self, len: u64, start: usize) -> Result<T, ReadError> {
        self.fault(
            start,
            format!("a field of {len} bytes reaches beyond what holds it; is the file truncated?"),
        )
    }

    fn varint(&mut self, end: usize) -> Result<u64, ReadError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(byte) = self.bytes[..end].get(self.at) else {
                return self.fault(start, "a number is cut short; is the file truncated?");
            };
            self.at += 1;
            if shift == 63 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.fault(start, "a number is longer than 64 bits")
    }
}
