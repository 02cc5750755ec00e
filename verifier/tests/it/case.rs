//! A verification from paths: what the command line does.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use corer_proto::Package;
use corer_verifier::{
    CandleReference, GoldenReference, Inputs, NoProgress, Progress, Reference, VerifyError, VerifyReport,
    VerifyRequest,
};

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) package: PathBuf,
    pub(crate) reference: Against,
    request: VerifyRequest,
}

#[derive(Clone)]
pub(crate) enum Against {
    Checkpoint(PathBuf),
    Recording(PathBuf),
}

impl Case {
    pub(crate) fn new(package: impl Into<PathBuf>, reference: Against) -> Self {
        let inputs = match reference {
            Against::Checkpoint(_) => Inputs::Texts {
                file: None,
                tokenizer: None,
            },
            Against::Recording(_) => Inputs::Recorded,
        };
        Self {
            package: package.into(),
            reference,
            request: VerifyRequest::new(inputs),
        }
    }

    pub(crate) fn verify(&self) -> Result<VerifyReport, VerifyError> {
        self.watched(&NoProgress)
    }

    pub(crate) fn watched(&self, progress: &dyn Progress) -> Result<VerifyReport, VerifyError> {
        let package = Package::open(&self.package)?;
        let mut reference: Box<dyn Reference> = match &self.reference {
            Against::Checkpoint(directory) => Box::new(CandleReference::open(directory, None)?),
            Against::Recording(file) => Box::new(GoldenReference::open(file)?),
        };
        corer_verifier::verify(&package, &mut *reference, &self.request, progress)
    }
}

impl Deref for Case {
    type Target = VerifyRequest;

    fn deref(&self) -> &VerifyRequest {
        &self.request
    }
}

impl DerefMut for Case {
    fn deref_mut(&mut self) -> &mut VerifyRequest {
        &mut self.request
    }
}
