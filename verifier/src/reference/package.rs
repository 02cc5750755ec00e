//! Another package, executed on this CPU: what a compressed one was before, or one by another converter.

use std::collections::BTreeMap;
use std::path::Path;

use corer_proto::Package;
use corer_runtime::Arithmetic;

use super::{Feed, Intake, Reference};
use crate::buckets::buckets;
use crate::error::{ReferenceError, VerifyError};
use crate::inputs::{Batch, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::interface::{Form, Produced, Subject, shown};
use crate::report::ReferenceReport;
use crate::tensor::Tensor;

/// A package that is taken to be right, executed as written. It answers for the sizes it takes itself.
pub struct PackageReference {
    package: Package,
    digest: String,
    threads: Option<usize>,
    /// The function that takes the size asked for last, compiled.
    subject: Option<Subject>,
}

impl PackageReference {
    /// Opens a package, to be executed with so many threads; with all cores when `None`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(path: &Path, threads: Option<usize>) -> Result<Self, VerifyError> {
        let package = Package::open(path)?;
        Ok(Self {
            digest: package.digest()?,
            package,
            threads,
            subject: None,
        })
    }

    fn engine_error(&self, error: VerifyError) -> ReferenceError {
        ReferenceError::Engine {
            path: self.package.path.clone(),
            source: Box::new(error),
        }
    }

    fn size(&self, reason: String) -> ReferenceError {
        ReferenceError::Size {
            path: self.package.path.clone(),
            reason,
        }
    }
}

impl Reference for PackageReference {
    fn describe(&self) -> ReferenceReport {
        ReferenceReport {
            kind: "another package".into(),
            path: shown(&self.package.path),
            task: None,
            files: Vec::new(),
            notes: BTreeMap::from([("digest".into(), self.digest.clone())]),
        }
    }

    fn intake(&self) -> Intake {
        let bound = |input: &str| Some((input.to_owned(), self.subject.as_ref()?.bound(input)?));
        Intake {
            bounds: [INPUT_IDS, TOKEN_TYPE_IDS]
                .into_iter()
                .filter_map(bound)
                .collect(),
            ..Intake::default()
        }
    }

    fn prepare(&mut self, feed: &Feed) -> Result<(), ReferenceError> {
        let length = u64::try_from(feed.length).ok();
        let all = buckets(&self.package, None, length).map_err(|error| self.engine_error(error))?;
        let same = all
            .iter()
            .find(|bucket| (bucket.batch, bucket.length) == (feed.batch, feed.length));
        let Some(bucket) = same else {
            let sizes: Vec<_> = all
                .iter()
                .map(|bucket| format!("{} × {}", bucket.batch, bucket.length))
                .collect();
            return Err(self.size(format!(
                "takes {} tokens, not {} × {}",
                sizes.join(", "),
                feed.batch,
                feed.length
            )));
        };
        let subject = match self.subject.take() {
            Some(mut same) if same.function == bucket.function => same.resize(bucket).map(|()| same),
            _ => Subject::compile(&self.package, bucket, Arithmetic::AsWritten, self.threads),
        };
        let subject = subject.map_err(|error| self.engine_error(error))?;
        if subject.outputs.iter().any(|(_, form)| *form != Form::Array) {
            return Err(self.size(
                "is a classifier, whose labels and probabilities don't serve as a reference; give its source"
                    .into(),
            ));
        }
        self.subject = Some(subject);
        Ok(())
    }

    fn task_outputs(&self) -> Vec<String> {
        let outputs = self.subject.iter().flat_map(|subject| &subject.outputs);
        outputs.map(|(name, _)| name.clone()).collect()
    }

    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        let subject = self
            .subject
            .as_ref()
            .ok_or_else(|| self.size("was given rows before a size".into()))?;
        let produced = subject.outputs(batch).map_err(|error| self.engine_error(error))?;
        let named = subject.outputs.iter().zip(produced);
        let arrays = named.filter_map(|((name, _), produced)| match produced {
            Produced::Array(tensor) => Some((name.clone(), tensor)),
            Produced::Labels(_) => None,
        });
        Ok(arrays.collect())
    }
}
