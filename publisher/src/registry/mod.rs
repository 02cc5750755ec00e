//! An OCI registry over HTTP (distribution specification 1.1), as a [`Store`].
//!
//! The client is small because little is needed: is a blob there, take it in one request, take a manifest, give them
//! back. `oci-client` does the same over reqwest and tokio with 178 crates to ureq's 25.

mod client;
mod credentials;
mod download;

use std::io::Read;

use client::{Answer, Client, HttpError, Request};
use download::Download;

use crate::digest::Digest;
use crate::error::{ArtifactError, PublishError};
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Index, referrers_tag};
use crate::progress::{NoProgress, Progress};
use crate::reference::Version;
use crate::store::{Content, Store};

/// How often a list of referrers is written when others write it, too.
const LIST_ATTEMPTS: u32 = 4;

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
        let credentials = credentials::find(host).map_err(|reason| PublishError::refused(place, reason))?;
        Ok(Self {
            client: Client::new(host, repository, plain_http, credentials),
            host: host.to_owned(),
            repository: repository.to_owned(),
        })
    }

    fn refuse(&self, what: &str, reason: impl Into<String>) -> PublishError {
        PublishError::refused(format!("{}: {what}", self.place()), reason)
    }

    /// The error that a failed request stands for.
    fn failed(&self, what: &str, error: &HttpError) -> PublishError {
        PublishError::Registry {
            place: format!("{}: {what}", self.place()),
            reason: error.to_string(),
            fault: error.fault(),
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
            .send_once(&Request::post("blobs/uploads/"))
            .and_then(|answer| answer.expect(&[202]))
            .map_err(|error| self.failed(&what, &error))?;
        let place = began
            .location()
            .ok_or_else(|| self.refuse(&what, "the registry names no place to send it to"))?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let to = format!("{place}{separator}digest={}", blob.digest);
        let body = content.open()?;
        self.client
            .put(&to, "application/octet-stream", body, blob.size, progress)
            .and_then(|answer| answer.expect(&[201]))
            .map_err(|error| self.failed(&what, &error))?;
        Ok(())
    }

    fn put_manifest(&self, manifest: &Descriptor, bytes: &[u8], name: &str) -> Result<Answer, PublishError> {
        let request = Request::put(&format!("manifests/{name}"), &manifest.media_type, bytes);
        self.client
            .send(&request)
            .and_then(|answer| answer.expect(&[201]))
            .map_err(|error| self.failed(&format!("manifest {name}"), &error))
    }

    /// Makes sure that a manifest is there as it was sent.
    fn read_back(&self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), PublishError> {
        let (_, found) = self.manifest(&Version::Digest(manifest.digest.clone()))?;
        if found == bytes {
            return Ok(());
        }
        Err(self.refuse(
            &format!("manifest {}", manifest.digest),
            "does not read back as it was sent",
        ))
    }

    /// Whether a manifest is listed among what is attached to another.
    fn lists(&self, subject: &Digest, manifest: &Descriptor) -> Result<bool, PublishError> {
        let list = match self.asked_for_referrers(subject) {
            Ok(Some(list)) => list,
            _ => self.tagged_referrers(subject)?,
        };
        Ok(list.manifests.iter().any(|other| other.digest == manifest.digest))
    }

    /// What the registry's referrers API lists; `None` from one that has none.
    fn asked_for_referrers(&self, subject: &Digest) -> Result<Option<Index>, PublishError> {
        let what = format!("referrers of {subject}");
        let answer = self
            .client
            .send(&Request::get(&format!("referrers/{subject}"), &[oci::INDEX]))
            .map_err(|error| self.failed(&what, &error))?;
        if answer.status() != 200 || answer.content_type() != Some(oci::INDEX) {
            return Ok(None);
        }
        self.index(answer, &what).map(Some)
    }

    /// What the tag lists that stands in for the API.
    fn tagged_referrers(&self, subject: &Digest) -> Result<Index, PublishError> {
        let tag = referrers_tag(subject);
        let answer = self
            .client
            .send(&Request::get(&format!("manifests/{tag}"), &[oci::INDEX]))
            .and_then(|answer| answer.expect(&[200, 404]))
            .map_err(|error| self.failed(&tag, &error))?;
        match answer.status() {
            404 => Ok(Index::default()),
            _ => self.index(answer, &tag),
        }
    }

    fn index(&self, answer: Answer, what: &str) -> Result<Index, PublishError> {
        let bytes = self.document(answer, what)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| PublishError::malformed(format!("{}: {what}", self.place()), error.to_string()))
    }

    /// The body of an answer that is a document.
    fn document(&self, answer: Answer, what: &str) -> Result<Vec<u8>, PublishError> {
        let mut bytes = Vec::new();
        let mut body = answer.body().take(DOCUMENT_BYTES + 1);
        body.read_to_end(&mut bytes)
            .map_err(|error| self.failed(what, &HttpError::Transport(error.to_string())))?;
        if bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(PublishError::malformed(
                format!("{}: {what}", self.place()),
                format!("has more than {DOCUMENT_BYTES} bytes"),
            ));
        }
        Ok(bytes)
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
            .map_err(|error| self.failed(&what, &error))?;
        let is_there = answer.status() == 200;
        if is_there {
            if answer.length().is_some_and(|length| length != blob.size) {
                return Err(self.refuse(&what, "the registry holds another length of it"));
            }
            if answer
                .digest()
                .is_some_and(|digest| digest != blob.digest.as_str())
            {
                return Err(self.refuse(&what, "the registry holds something else under its digest"));
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
            .map_err(|error| self.failed(&format!("{version}"), &error))?;
        if before.status() == 200 && self.manifest(&version)?.0.digest == manifest.digest {
            return Ok(false);
        }
        // By its digest first, so that the tag never shows what does not read back.
        self.put_manifest(manifest, bytes, manifest.digest.as_str())?;
        self.read_back(manifest, bytes)?;
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
            .map_err(|error| self.failed(&format!("artifact {version}"), &error))?;
        let media_type = answer.content_type().unwrap_or(oci::MANIFEST).to_owned();
        let bytes = self.document(answer, &format!("artifact {version}"))?;
        let place = format!("{}{version}", self.place());
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

    fn attach(&self, manifest: &Descriptor, bytes: &[u8], subject: &Digest) -> Result<bool, PublishError> {
        if self.lists(subject, manifest)? {
            return Ok(false);
        }
        let answer = self.put_manifest(manifest, bytes, manifest.digest.as_str())?;
        // A registry that keeps the list by itself says so.
        let is_kept = answer.subject().is_some_and(|found| found == subject.as_str());
        self.read_back(manifest, bytes)?;
        if is_kept {
            return Ok(true);
        }
        // Another client may write the list at the same time, and nothing but looking again tells.
        for _ in 0..LIST_ATTEMPTS {
            let mut list = self.tagged_referrers(subject)?;
            if !list.refer(manifest) {
                return Ok(true);
            }
            let list = oci::json(&list);
            self.put_manifest(&Descriptor::of(oci::INDEX, &list), &list, &referrers_tag(subject))?;
        }
        match self.lists(subject, manifest)? {
            true => Ok(true),
            false => Err(self.refuse(
                &referrers_tag(subject),
                "what was attached is not listed; others keep writing the list",
            )),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, PublishError> {
        let asked = self.asked_for_referrers(subject);
        if let Ok(Some(list)) = asked {
            return Ok(list.manifests);
        }
        // Some registries fail at an API they don't have. The tag then has the list; without one it is not known.
        let tagged = self.tagged_referrers(subject)?;
        match asked {
            Err(error) if tagged.manifests.is_empty() => Err(error),
            _ => Ok(tagged.manifests),
        }
    }

    fn read(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, PublishError> {
        let (size, digest) = (blob.size, blob.digest.clone());
        let begin = move |from: u64| {
            let request = Request::get(&format!("blobs/{digest}"), &[]).from(from);
            let answer = self
                .client
                .send(&request)
                .and_then(|answer| answer.expect(&[200, 206]))
                .map_err(|error| self.failed(&format!("blob {digest}"), &error))?;
            Ok(answer)
        };
        let first = begin(0)?;
        Ok(Box::new(Download::new(first.body(), size, begin)))
    }
}
