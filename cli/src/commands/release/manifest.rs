//! The release manifest: what is released, in which variants, how it is judged and where it goes.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use corer_converter::shapes::Sizes;
use corer_converter::{Buckets, Layout, Precision, Request, Task};
use corer_mil::Target;
use corer_publisher::reference::check_tag;
use corer_publisher::{Location, Reference};
use corer_quantizer::Scheme;

use super::super::gate::Asked;
use super::super::toml_reader::{Mistake, Section, Source, suggestion};

const KEYS: &[&str] = &[
    "name",
    "source",
    "output",
    "task",
    "target",
    "layout",
    "sequence-length",
    "batch-size",
    "buckets",
    "classifier",
    "token-types",
    "variants",
    "verify",
    "gate",
    "publish",
];
const VERIFY_KEYS: &[&str] = &["texts", "reference", "golden"];
const PUBLISH_KEYS: &[&str] = &["to", "default", "failing", "sign-key"];
/// Those a misspelled one is likely to be.
const COMMON_VARIANTS: &[&str] = &[
    "fp16",
    "fp32",
    "int8",
    "int4-block32",
    "lut8",
    "lut6",
    "lut4",
    "sparse50",
];
const TARGETS: &[&str] = &["ios16", "ios17", "ios18", "ios26"];

/// A release manifest, its paths joined to the directory it lies in.
#[derive(Debug)]
pub(super) struct Manifest {
    /// What the packages' names begin with.
    pub(super) name: String,
    /// Where packages, reports and the cache go.
    pub(super) output: PathBuf,
    /// The conversion all variants share, but for the precision.
    pub(super) request: Request,
    /// In the order given.
    pub(super) variants: Vec<Variant>,
    /// Texts to judge on.
    pub(super) texts: Option<PathBuf>,
    /// What to judge against.
    pub(super) reference: Judge,
    /// Where to publish.
    pub(super) to: Reference,
    /// Which variant the plain tag points to.
    pub(super) default: Default,
    /// What a variant that fails means.
    pub(super) failing: Failing,
    /// The file with the key that signs.
    pub(super) sign_key: Option<PathBuf>,
}

/// One package of a release.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    /// As spelled in the manifest.
    pub(super) name: String,
    /// Ends the package's name and the tag, which can't hold all that a scheme's name can.
    pub(super) label: String,
    /// Of its arithmetic.
    pub(super) precision: Precision,
    /// How its weights are compressed, if they are.
    pub(super) scheme: Option<Scheme>,
    /// What is asked of it.
    pub(super) gate: Asked,
}

/// What a release is judged against.
#[derive(Clone, Debug)]
pub(super) enum Judge {
    /// A checkpoint directory, trace or export.
    Source(PathBuf),
    /// A recording of PyTorch's outputs.
    Recording(PathBuf),
}

/// Which variant the plain tag points to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Default {
    /// The first in the list that is published.
    First,
    /// The published one with the fewest bytes.
    Smallest,
    /// This one.
    Variant(String),
}

/// What a variant that fails its gate means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failing {
    /// Nothing is published.
    Stop,
    /// The others are published.
    LeaveOut,
}

impl Manifest {
    /// Reads a manifest from its text.
    ///
    /// # Errors
    /// The first mistake in it, with its place.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Mistake> {
        let source = Source { path, text };
        let document = source.parse()?;
        let root = Section::new(source, &document, "", KEYS)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let model = below(directory, &root.required("source")?);
        let name = root.required("name")?;
        if let Err(reason) = check_name(&name) {
            root.parsed("name", &[], |_| Err::<(), _>(reason))?;
        }
        let variants = variants(source, &document, &root)?;
        let empty = toml::de::DeTable::new();
        let verify = Section::new(
            source,
            root.table("verify")?.unwrap_or(&empty),
            "verify",
            VERIFY_KEYS,
        )?;
        let file = |section: &Section<'_, '_>, key: &str| {
            section.parsed(key, &[], |text| Ok(below(directory, text)))
        };
        let reference = match (file(&verify, "reference")?, file(&verify, "golden")?) {
            (_, Some(recording)) => Judge::Recording(recording),
            (Some(source), None) => Judge::Source(source),
            (None, None) => Judge::Source(model.clone()),
        };
        let publish = root.table("publish")?.unwrap_or(&empty);
        let publish = Section::new(source, publish, "publish", PUBLISH_KEYS)?;
        publish.required("to")?;
        let to = publish.parsed("to", &[], |text| destination(text, directory, &variants))?;
        let names: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
        let default = publish.parsed(
            "default",
            &[&names[..], &["smallest"]].concat(),
            |text| match text {
                "smallest" => Ok(Default::Smallest),
                name if names.contains(&name) => Ok(Default::Variant(name.to_owned())),
                other => Err(format!("`{other}` is none of the variants")),
            },
        )?;
        let failing = publish.parsed("failing", &["stop", "leave-out"], |text| match text {
            "stop" => Ok(Failing::Stop),
            "leave-out" => Ok(Failing::LeaveOut),
            other => Err(format!("`{other}` is neither `stop` nor `leave-out`")),
        })?;
        let output = root.parsed("output", &[], |text| Ok(below(directory, text)))?;
        let Some(to) = to else {
            // `required` has seen it.
            return Err(source.mistake(0..0, "`to` is missing in [publish]"));
        };
        Ok(Self {
            request: request(&root, model)?,
            output: output.unwrap_or_else(|| directory.join(format!("{name}-release"))),
            texts: file(&verify, "texts")?,
            reference,
            to,
            default: default.unwrap_or(Default::First),
            failing: failing.unwrap_or(Failing::Stop),
            sign_key: file(&publish, "sign-key")?,
            name,
            variants,
        })
    }
}

fn request(root: &Section<'_, '_>, model: PathBuf) -> Result<Request, Mistake> {
    fn named<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
        text.parse()
    }
    let mut request = Request::new(model);
    let tasks: Vec<_> = Task::ALL.iter().map(|task| task.name()).collect();
    if let Some(task) = root.parsed("task", &tasks, named)? {
        request.task = task;
    }
    let target = |text: &str| match TARGETS.contains(&text) {
        true => text
            .parse::<Target>()
            .map_err(|()| format!("`{text}` is no target")),
        false => Err(format!("`{text}` is no target")),
    };
    if let Some(target) = root.parsed("target", TARGETS, target)? {
        request.target = target;
    }
    let layouts: Vec<_> = Layout::ALL.iter().map(|layout| layout.name()).collect();
    if let Some(layout) = root.parsed("layout", &layouts, named)? {
        request.layout = layout;
    }
    let buckets: Vec<_> = Buckets::ALL.iter().map(|buckets| buckets.name()).collect();
    if let Some(buckets) = root.parsed("buckets", &buckets, named)? {
        request.buckets = buckets;
    }
    request.sequence_length = root.sizes("sequence-length", |text| text.parse::<Sizes>())?;
    request.batch_size = root.sizes("batch-size", |text| text.parse::<Sizes>())?;
    request.classifier = root.flag("classifier")?.unwrap_or(false);
    request.token_types = root.flag("token-types")?.unwrap_or(true);
    Ok(request)
}

/// A package's name must be one file's, and readable.
fn check_name(name: &str) -> Result<(), String> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.chars().all(word) && !name.starts_with('.') {
        return Ok(());
    }
    Err("takes letters, digits, `-`, `_` and `.`".to_owned())
}

fn variants(
    source: Source<'_>,
    document: &toml::de::DeTable<'_>,
    root: &Section<'_, '_>,
) -> Result<Vec<Variant>, Mistake> {
    let given = root.texts("variants")?;
    let given = given.unwrap_or_else(|| vec![("fp16".to_owned(), 0..0)]);
    let names: Vec<_> = given.iter().map(|(name, _)| name.as_str()).collect();
    let mut variants: Vec<Variant> = Vec::new();
    for (name, span) in &given {
        if variants.iter().any(|other| other.name == *name) {
            return Err(source.mistake(span.clone(), format!("variant `{name}` is there twice")));
        }
        let (precision, scheme) = match (name.parse::<Precision>(), name.parse::<Scheme>()) {
            (Ok(precision), _) => (precision, None),
            (Err(_), Ok(scheme)) => (Precision::Fp16, Some(scheme)),
            (Err(_), Err(error)) => {
                let message = format!("`{}` is no variant: {}", name.escape_debug(), error.reason);
                let mut mistake = source.mistake(span.clone(), message);
                mistake.hint = Some(suggestion(name, COMMON_VARIANTS));
                return Err(mistake);
            }
        };
        variants.push(Variant {
            name: name.clone(),
            label: name.replace(['+', ':'], "_"),
            precision,
            scheme,
            gate: Asked::of(source, document, &names, Some(name))?,
        });
    }
    if variants.is_empty() {
        return Err(source.mistake(0..0, "`variants` names none"));
    }
    Ok(variants)
}

/// A place to publish to, below the manifest's directory unless absolute.
fn destination(text: &str, directory: &Path, variants: &[Variant]) -> Result<Reference, String> {
    let mut to = super::super::publish::reference(text)?;
    let tag = to.tag().map_err(|error| error.to_string())?.to_owned();
    for variant in variants {
        check_tag(&variant_tag(&tag, &variant.label))?;
    }
    if let Location::Layout(place) = &mut to.location {
        *place = below(directory, &place);
    }
    Ok(to)
}

/// The tag of a variant's own.
pub(super) fn variant_tag(tag: &str, label: &str) -> String {
    format!("{tag}-{label}")
}

/// A path of the manifest, from where this process stands: `a/b/../../c` as `c`, where that is the same place.
fn below(directory: &Path, path: impl AsRef<Path>) -> PathBuf {
    let joined = directory.join(path);
    let parts: Vec<_> = joined.components().collect();
    let Some(last) = parts
        .iter()
        .rposition(|part| matches!(part, Component::ParentDir))
    else {
        return joined;
    };
    let (up, rest) = parts.split_at(last + 1);
    let mut short = PathBuf::new();
    for part in up {
        match part {
            Component::ParentDir if matches!(short.components().next_back(), Some(Component::Normal(_))) => {
                short.pop();
            }
            part => short.push(part),
        }
    }
    // Behind a symbolic link `..` is somewhere else.
    let here = |path: &Path| {
        if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        }
        .canonicalize()
    };
    match (here(&up.iter().collect::<PathBuf>()), here(&short)) {
        (Ok(long), Ok(found)) if long == found => short.join(rest.iter().collect::<PathBuf>()),
        _ => joined,
    }
}
