//! An OCI registry over HTTP (distribution specification 1.1), as a [`Store`].
//!
//! The client is small because little is needed: is a blob there, take it in one request, take a manifest, give them
//! back. `oci-client` does the same over reqwest and tokio with 178 crates to ureq's 25.

mod client;
mod credentials;

use std::io::Read;

use client::{Client, Request};

use crate::error::{ArtifactError, PublishError};
use crate::oci::{self, DOCUMENT_BYTES, Descriptor};
use crate::progress::{NoProgress, Progress};
use crate::reference::Version;
use crate::store::{Content, Store};

/// A repository in a registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    host: String,
    repository: String,
}

impl Registry {
    /// A repository in a registry. Credentials are looked for in `CORER_REGISTRY_USERNAME` and
    /// `CORER_REGISTRY_PASSWORD`, then where docker keeps them. Without TLS only when the host is this machine, or with
    /// `plain_http`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the credentials that are there can't be read.
    pub fn new(host: &str, repository: &str, plain_http: bool) -> Result<Self, PublishError> {
        let place = format!("oci://{host}/{repository}");
        let credentials =
            credentials::find(host).map_err(|reason| PublishError::Registry { place, reason })?;
        Ok(Self {
            client: Client::new(host, repository, plain_http, credentials),
            host: host.to_owned(),
            repository: repository.to_owned(),
        })
    }

    fn refuse(&self, what: &str, reason: impl Into<String>) -> PublishError {
        PublishError::Registry {
            place: format!("{}: {what}", self.place()),
            reason: reason.into(),
        }
    }

    /// Sends a blob in one request, after asking for a place to send it to.
    fn upload(
        &self,
        blob: &Descriptor,
        content: &Content,
        progress: &dyn Progress,
    ) -> Result<(), PublishError> {
        let what = format!("blob {}", blob.digest);
        let began = self
            .client
            .send(&Request::post("blobs/uploads/"))
            .and_then(|answer| answer.expect(&[202]))
            .map_err(|error| self.refuse(&what, error.to_string()))?;
        let place = began
            .location()
            .ok_or_else(|| self.refuse(&what, "the registry names no place to send it to"))?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let to = format!("{place}{separator}digest={}", blob.digest);
        let body = content.open()?;
        self.client
            .put(&to, "application/octet-stream", body, blob.size, progress)
            .and_then(|answer| answer.expect(&[201]))
            .map_err(|error| self.refuse(&what, error.to_string()))?;
        Ok(())
    }

    fn put_manifest(&self, manifest: &Descriptor, bytes: &[u8], name: &str) -> Result<(), PublishError> {
        let request = Request::put(&format!("manifests/{name}"), &manifest.media_type, bytes);
        self.client
            .send(&request)
            .and_then(|answer| answer.expect(&[201]))
            .map_err(|error| self.refuse(&format!("manifest {name}"), error.to_string()))?;
        Ok(())
    }
}

impl Store for Registry {
    fn place(&self) -> String {
        format!("oci://{}/{}", self.host, self.repository)
    }

    fn holds(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool, PublishError> {
        let what = format!("blob {}", blob.digest);
        let answer = self
            .client
            .send(&Request::head(&format!("blobs/{}", blob.digest)))
            .and_then(|answer| answer.expect(&[200, 404]))
            .map_err(|error| self.refuse(&what, error.to_string()))?;
        let is_there = answer.status() == 200;
        if is_there {
            if answer.length().is_some_and(|length| length != blob.size) {
                return Err(self.refuse(&what, "the registry holds another length of it"));
            }
            progress.advance(blob.size);
        }
        Ok(is_there)
    }

    fn put(&self, blob: &Descriptor, content: &Content, progress: &dyn Progress) -> Result<(), PublishError> {
        client::retried(|| self.upload(blob, content, progress))?;
        match self.holds(blob, &NoProgress)? {
            true => Ok(()),
            false => Err(self.refuse(&format!("blob {}", blob.digest), "was accepted and is not there")),
        }
    }

    fn tag(&self, manifest: &Descriptor, bytes: &[u8], tag: &str) -> Result<bool, PublishError> {
        let version = Version::Tag(tag.to_owned());
        let before = self
            .client
            .send(&Request::head(&format!("manifests/{tag}")))
            .and_then(|answer| answer.expect(&[200, 404]))
            .map_err(|error| self.refuse(&format!("{version}"), error.to_string()))?;
        if before.status() == 200 && self.manifest(&version)?.0.digest == manifest.digest {
            return Ok(false);
        }
        // By its digest first, so that the tag never shows what does not read back.
        self.put_manifest(manifest, bytes, manifest.digest.as_str())?;
        let (_, found) = self.manifest(&Version::Digest(manifest.digest.clone()))?;
        if found != bytes {
            return Err(self.refuse(
                &format!("manifest {}", manifest.digest),
                "does not read back as it was sent",
            ));
        }
        self.put_manifest(manifest, bytes, tag)?;
        Ok(true)
    }

    fn manifest(&self, version: &Version) -> Result<(Descriptor, Vec<u8>), PublishError> {
        let name = match version {
            Version::Tag(tag) => tag.as_str(),
            Version::Digest(digest) => digest.as_str(),
        };
        let answer = self
            .client
            .send(&Request::get(
                &format!("manifests/{name}"),
                &[oci::MANIFEST, oci::INDEX],
            ))
            .and_then(|answer| answer.expect(&[200]))
            .map_err(|error| self.refuse(&format!("artifact {version}"), error.to_string()))?;
        let media_type = answer.content_type().unwrap_or(oci::MANIFEST).to_owned();
        let mut bytes = Vec::new();
        let mut body = answer.body().take(DOCUMENT_BYTES + 1);
        body.read_to_end(&mut bytes)
            .map_err(|error| self.refuse(&format!("artifact {version}"), error.to_string()))?;
        let place = format!("{}{version}", self.place());
        if bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(PublishError::malformed(
                place,
                format!("its manifest has more than {DOCUMENT_BYTES} bytes"),
            ));
        }
        let found = Descriptor::of(&media_type, &bytes);
        match version {
            Version::Digest(digest) if *digest != found.digest => Err(PublishError::Artifact {
                place,
                source: ArtifactError::Mismatch {
                    expected: digest.to_string(),
                    bytes: bytes.len() as u64,
                    found: found.digest.to_string(),
                },
            }),
            _ => Ok((found, bytes)),
        }
    }

    fn read(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, PublishError> {
        let answer = self
            .client
            .send(&Request::get(&format!("blobs/{}", blob.digest), &[]))
            .and_then(|answer| answer.expect(&[200]))
            .map_err(|error| self.refuse(&format!("blob {}", blob.digest), error.to_string()))?;
        Ok(Box::new(answer.body()))
    }
}
