//! What is published: packages, their reports, a model card, a bill of materials, and the SHA-256 of every file.
//!
//! ```text
//! README.md              the model card
//! SHA256SUMS             of all other files, for `sha256sum -c`
//! bom.cdx.json           the bill of materials, CycloneDX
//! X.mlpackage/…          a package, file by file
//! X.report.json          the report that judged it
//! ```
//!
//! The manifest's digest stands for all of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use corer_proto::Package;
use corer_proto::digest::FileDigester;
use sha2::{Digest as _, Sha256};

use crate::blob::{self, CopyError};
use crate::bom;
use crate::card;
use crate::digest::Digest;
use crate::error::PublishError;
use crate::oci::{
    self, Capabilities, DOC_LAYER, Descriptor, MANIFEST, MODEL_ARTIFACT, MODEL_CONFIG, Manifest, ModelConfig,
    ModelDescriptor, ModelFormat, ModelFs, WEIGHT_CONFIG_LAYER, WEIGHT_LAYER,
};
use crate::progress::Progress;
use crate::report::StoredReport;
use crate::store::Content;

/// The model card's name.
pub(crate) const CARD: &str = "README.md";
/// The checksums' name.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// How a package's name ends.
pub(crate) const PACKAGE_SUFFIX: &str = ".mlpackage";
/// How a report's name ends.
pub(crate) const REPORT_SUFFIX: &str = ".report.json";
/// Directories inside a package beyond this depth are refused, as the package digest does.
const DEPTH: usize = 16;

/// What is to be bundled.
#[derive(Clone, Copy)]
pub struct BundleRequest<'a> {
    /// The packages, each a `.mlpackage` directory with a name of its own.
    pub packages: &'a [PathBuf],
    /// Reports (or directories with a `report.json`), in any order; a report belongs to the package whose digest it
    /// gives.
    pub reports: &'a [PathBuf],
    /// The version to record.
    pub version: &'a str,
    /// Bundle packages that did not pass, or that no report judges, and say so in the artifact.
    pub force_unverified: bool,
    /// Leave the texts packages were judged on in their reports.
    pub include_texts: bool,
    /// Told about bytes hashed.
    pub progress: &'a dyn Progress,
}

/// A bundle: blobs, and the manifest that names them.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundle {
    /// What it was made from.
    pub packages: Vec<Bundled>,
    /// The configuration.
    pub config: (Descriptor, Content),
    /// The files, in the manifest's order.
    pub layers: Vec<(Descriptor, Content)>,
    /// The manifest's descriptor.
    pub manifest: Descriptor,
    /// The manifest.
    pub manifest_bytes: Vec<u8>,
}

/// One package of a bundle.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundled {
    /// Its directory's name.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its digest ([`corer_proto::package_digest`]).
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What it is.
    pub(crate) model: ModelFacts,
    /// The report that judged these bytes, if one did.
    pub report: Option<StoredReport>,
    /// Why it counts as unverified, if it does.
    pub objection: Option<String>,
}

/// What the card and the configuration say of a model.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ModelFacts {
    pub(crate) specification_version: i32,
    pub(crate) description: corer_proto::Description,
}

/// A file of a package, hashed both ways while it was read once.
struct Hashed {
    path: String,
    source: PathBuf,
    descriptor: Descriptor,
    in_package: [u8; 32],
}

impl Bundle {
    /// Reads and hashes the packages, holds the reports against them, and writes card and manifest.
    ///
    /// # Errors
    /// When a package or report can't be read, or a package is not verified and that was not forced.
    pub fn assemble(request: &BundleRequest<'_>) -> Result<Self, PublishError> {
        let mut reports = Vec::with_capacity(request.reports.len());
        for path in request.reports {
            reports.push(StoredReport::read(path)?);
        }
        let mut packages = Vec::with_capacity(request.packages.len());
        let mut layers = Vec::new();
        for path in request.packages {
            let name = package_name(path)?;
            if packages.iter().any(|other: &Bundled| other.name == name) {
                return Err(PublishError::Bundle {
                    path: path.clone(),
                    reason: format!("another package is called {name}, too"),
                });
            }
            let (package, files) = read_package(path, name, &reports, request.progress)?;
            if let Some(reason) = &package.objection
                && !request.force_unverified
            {
                return Err(PublishError::Unverified {
                    package: path.clone(),
                    reason: reason.clone(),
                });
            }
            if let Some(report) = &package.report {
                let stem = package.name.trim_end_matches(PACKAGE_SUFFIX);
                layers.push(document(
                    &format!("{stem}{REPORT_SUFFIX}"),
                    report.public(request.include_texts),
                ));
            }
            layers.extend(
                files
                    .into_iter()
                    .map(|file| (layer(file.descriptor, &file.path), Content::File(file.source))),
            );
            packages.push(package);
        }
        if packages.is_empty() {
            return Err(PublishError::Bundle {
                path: PathBuf::new(),
                reason: "there is no package to publish".into(),
            });
        }
        layers.push(document(
            CARD,
            card::write(&packages, request.version).into_bytes(),
        ));
        layers.sort_by(|a, b| path_of(&a.0).cmp(path_of(&b.0)));
        let listed: Vec<_> = layers.iter().map(|(layer, _)| layer).collect();
        let bom = oci::json(&bom::write(&packages, &listed, request.version));
        layers.push(document(bom::BOM, bom));
        layers.sort_by(|a, b| path_of(&a.0).cmp(path_of(&b.0)));
        let sums = document(SUMS, sums(&layers).into_bytes());
        layers.push(sums);
        layers.sort_by(|a, b| path_of(&a.0).cmp(path_of(&b.0)));
        Ok(Self::of(packages, layers, request.version))
    }

    fn of(packages: Vec<Bundled>, layers: Vec<(Descriptor, Content)>, version: &str) -> Self {
        let config = oci::json(&config(&packages, &layers, version));
        let config = (Descriptor::of(MODEL_CONFIG, &config), Content::Bytes(config));
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(MODEL_ARTIFACT.to_owned()),
            config: config.0.clone(),
            layers: layers.iter().map(|(layer, _)| layer.clone()).collect(),
            subject: None,
            annotations: annotations(&packages, version),
        };
        let manifest_bytes = oci::json(&manifest);
        let mut descriptor = Descriptor::of(MANIFEST, &manifest_bytes);
        descriptor.artifact_type = manifest.artifact_type;
        Self {
            packages,
            config,
            layers,
            manifest: descriptor,
            manifest_bytes,
        }
    }

    /// Bytes of all blobs, the manifest aside.
    pub fn bytes(&self) -> u64 {
        self.config.0.size + self.layers.iter().map(|(layer, _)| layer.size).sum::<u64>()
    }
}

/// The path a layer is to be unpacked to.
pub(crate) fn path_of(layer: &Descriptor) -> &str {
    layer.annotations.get(oci::FILE_PATH).map_or("", String::as_str)
}

fn package_name(path: &Path) -> Result<String, PublishError> {
    let refuse = |reason: &str| PublishError::Bundle {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| refuse("its name is not UTF-8 text"))?;
    if name.len() <= PACKAGE_SUFFIX.len() || !name.ends_with(PACKAGE_SUFFIX) {
        return Err(refuse("a package's name must end in .mlpackage"));
    }
    if name.contains(|c: char| c.is_control() || c == '\\') {
        return Err(refuse(
            "its name has a character that a path in an artifact can't have",
        ));
    }
    Ok(name.to_owned())
}

fn read_package(
    path: &Path,
    name: String,
    reports: &[StoredReport],
    progress: &dyn Progress,
) -> Result<(Bundled, Vec<Hashed>), PublishError> {
    let package = Package::open(path)?;
    let files = hash_files(path, &name, progress)?;
    let prefix = name.len() + 1;
    let in_package: BTreeMap<_, _> = files
        .iter()
        .map(|file| (file.path[prefix..].to_owned(), file.in_package))
        .collect();
    let digest = corer_proto::digest::from_files(&in_package);
    let report = reports
        .iter()
        .find(|report| report.report.package.digest == digest);
    let objection = match (report, reports) {
        (Some(report), _) => report.report.objection(&functions(&package)),
        (None, []) => {
            Some("there is no report on it; run `corer verify --report DIR` and give --report DIR".into())
        }
        (None, [only]) => Some(format!(
            "{} judges the package with digest {}, this one has {digest}",
            only.path.display(),
            shortened(&only.report.package.digest),
        )),
        (None, _) => Some(format!("none of the reports judges its digest, {digest}")),
    };
    let bundled = Bundled {
        name,
        path: path.to_owned(),
        digest,
        bytes: files.iter().map(|file| file.descriptor.size).sum(),
        model: ModelFacts {
            specification_version: package.model.specification_version,
            description: package.model.description,
        },
        report: report.cloned(),
        objection,
    };
    Ok((bundled, files))
}

/// A digest someone else wrote: not longer than one.
fn shortened(digest: &str) -> String {
    digest.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The functions a verification must have judged.
pub(crate) fn functions(package: &Package) -> Vec<String> {
    let described = &package.model.description.functions;
    if described.is_empty() {
        return vec!["main".to_owned()];
    }
    described.iter().map(|function| function.name.clone()).collect()
}

/// Lists a package's files in order and hashes each, for the registry and for the package digest, in one reading.
fn hash_files(root: &Path, name: &str, progress: &dyn Progress) -> Result<Vec<Hashed>, PublishError> {
    let mut found = Vec::new();
    gather(root, name, 0, &mut found)?;
    found.sort();
    let total = found
        .iter()
        .map(|(_, source)| fs::metadata(source).map_or(0, |file| file.len()))
        .sum();
    progress.start("hashing", total);
    let hashed = found
        .into_iter()
        .map(|(path, source)| hash_file(path, source, progress))
        .collect();
    progress.finish();
    hashed
}

/// Lists the files below a directory, each with its path there (after `prefix`, if there is one).
pub(crate) fn gather(
    directory: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), PublishError> {
    let refuse = |path: &Path, reason: &str| PublishError::Bundle {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if depth > DEPTH {
        return Err(refuse(directory, "directories are nested too deep"));
    }
    let io = || PublishError::io(directory, "can't be read");
    for entry in fs::read_dir(directory).map_err(io())? {
        let entry = entry.map_err(io())?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| refuse(&path, "its name is not UTF-8 text"))?;
        if name.contains(|c: char| c.is_control() || c == '\\') {
            return Err(refuse(
                &path,
                "its name has a character that a path in an artifact can't have",
            ));
        }
        let kind = entry.file_type().map_err(io())?;
        let relative = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        if kind.is_dir() {
            gather(&path, &relative, depth + 1, found)?;
        } else if kind.is_file() {
            found.push((relative, path));
        } else {
            return Err(refuse(&path, "is neither a regular file nor a directory"));
        }
    }
    Ok(())
}

fn hash_file(path: String, source: PathBuf, progress: &dyn Progress) -> Result<Hashed, PublishError> {
    let mut file = File::open(&source).map_err(PublishError::io(&source, "can't be read"))?;
    let (mut plain, mut in_package) = (Sha256::new(), FileDigester::new());
    let size = blob::pieces(&mut file, |piece| {
        plain.update(piece);
        in_package.update(piece);
        progress.advance(piece.len() as u64);
        Ok(())
    });
    let size = size.map_err(|error| match error {
        CopyError::Read(error) | CopyError::Write(error) => PublishError::io(&source, "can't be read")(error),
        CopyError::Mismatch(_) => PublishError::Changed { path: source.clone() },
    })?;
    if size == 0 {
        return Err(PublishError::Bundle {
            path: source,
            reason: "is empty, and registries don't keep empty files".into(),
        });
    }
    let media_type = if path.contains("/weights/") {
        WEIGHT_LAYER
    } else {
        WEIGHT_CONFIG_LAYER
    };
    Ok(Hashed {
        path,
        descriptor: Descriptor::new(media_type, Digest::finish(plain), size),
        in_package: in_package.finish(),
        source,
    })
}

fn layer(mut descriptor: Descriptor, path: &str) -> Descriptor {
    for key in [oci::FILE_PATH, oci::TITLE] {
        descriptor.annotations.insert(key.to_owned(), path.to_owned());
    }
    descriptor
}

fn document(path: &str, bytes: Vec<u8>) -> (Descriptor, Content) {
    (
        layer(Descriptor::of(DOC_LAYER, &bytes), path),
        Content::Bytes(bytes),
    )
}

/// The lines `sha256sum` prints.
fn sums(layers: &[(Descriptor, Content)]) -> String {
    layers
        .iter()
        .map(|(layer, _)| format!("{}  {}\n", layer.digest.hex(), path_of(layer)))
        .collect()
}

fn annotations(packages: &[Bundled], version: &str) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut say = |key: &str, value: String| {
        if !value.is_empty() {
            annotations.insert(key.to_owned(), value);
        }
    };
    let metadata = &packages[0].model.description.metadata;
    say(oci::TITLE, title(packages));
    say(oci::VERSION, version.to_owned());
    say(oci::DESCRIPTION, metadata.short_description.clone());
    say(oci::LICENSES, metadata.license.clone());
    say(oci::CORER_VERSION, env!("CARGO_PKG_VERSION").to_owned());
    for package in packages {
        say(
            &format!("{}{}", oci::PACKAGE_DIGEST, package.name),
            package.digest.clone(),
        );
    }
    let objections: Vec<_> = packages
        .iter()
        .filter_map(|package| Some(format!("{}: {}", package.name, package.objection.as_ref()?)))
        .collect();
    say(
        oci::VERDICT,
        if objections.is_empty() {
            "passed"
        } else {
            "unverified"
        }
        .to_owned(),
    );
    say(oci::UNVERIFIED, objections.join("; "));
    annotations
}

/// The packages' names without their ending.
pub(crate) fn title(packages: &[Bundled]) -> String {
    let names: Vec<_> = packages
        .iter()
        .map(|package| package.name.trim_end_matches(PACKAGE_SUFFIX))
        .collect();
    names.join(", ")
}

fn config(packages: &[Bundled], layers: &[(Descriptor, Content)], version: &str) -> ModelConfig {
    let metadata = &packages[0].model.description.metadata;
    let given = |text: &String| {
        if text.is_empty() {
            vec![]
        } else {
            vec![text.clone()]
        }
    };
    let mut precisions: Vec<_> = packages.iter().filter_map(Bundled::precision).collect();
    precisions.dedup();
    let mut schemes: Vec<_> = packages
        .iter()
        .filter_map(|package| package.metadata("corer.weights"))
        .collect();
    schemes.dedup();
    let output = match packages[0].metadata("corer.task").unwrap_or_default() {
        "sentence-embedding" | "feature-extraction" => "embedding",
        "fill-mask" => "text",
        _ => "other",
    };
    ModelConfig {
        descriptor: ModelDescriptor {
            name: title(packages),
            version: Some(version.to_owned()).filter(|version| !version.is_empty()),
            description: metadata.short_description.clone(),
            authors: given(&metadata.author),
            licenses: given(&metadata.license),
        },
        config: ModelFormat {
            architecture: "transformer",
            format: "coreml",
            precision: Some(precisions.join(", ")).filter(|text| !text.is_empty()),
            quantization: Some(schemes.join(", ")).filter(|text| !text.is_empty()),
            capabilities: Capabilities {
                input_types: vec!["text"],
                output_types: vec![output],
            },
        },
        modelfs: ModelFs {
            kind: "layers",
            diff_ids: layers.iter().map(|(layer, _)| layer.digest.clone()).collect(),
        },
    }
}

impl Bundled {
    /// What the verifier found its values to be held in.
    pub(crate) fn precision(&self) -> Option<&str> {
        let report = self.report.as_ref()?;
        Some(&report.report.buckets.first()?.precision)
    }

    /// One of the entries its writer left.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        let entries = &self.model.description.metadata.user_defined;
        entries.get(key).map(String::as_str)
    }
}
