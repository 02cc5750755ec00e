//! A small registry over HTTP that has every trouble a registry can have, when it is told to.
//!
//! Enough of the distribution specification for one client: uploads in one request, manifests, tags, ranges, and, if so
//! asked, the referrers API and credentials.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use corer_publisher::Digest;
use serde_json::{Value, json};

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// An answer, with headers each ended by `\r\n`.
    Status(u16, &'static str),
    /// The connection breaks after so many bytes of the request's body.
    BreakReading(usize),
    /// The connection breaks after so many bytes of the answer's body.
    BreakWriting(usize),
    /// The answer's body has one bit changed.
    Flip,
}

/// A trouble, and which requests meet it.
#[derive(Clone, Debug)]
struct Planned {
    method: &'static str,
    path: String,
    left: usize,
    trouble: Trouble,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// By digest and by tag: media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// Every request: method, path without query.
    pub(crate) log: Vec<String>,
    planned: Vec<Planned>,
    referrers: bool,
    ranges: bool,
    /// The `authorization` it takes, if it asks for one.
    authorization: Option<String>,
}

/// A running registry; it stops taking requests with the process.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            ranges: true,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // A client that goes away is the client's business.
                    let _ = serve(&stream, &shared);
                });
            }
        });
        Self { address, state }
    }

    /// With the referrers API.
    pub(crate) fn with_referrers(self) -> Self {
        self.state().referrers = true;
        self
    }

    /// Without partial answers.
    pub(crate) fn without_ranges(self) -> Self {
        self.state().ranges = false;
        self
    }

    /// Taking this `authorization` only.
    pub(crate) fn with_authorization(self, value: &str) -> Self {
        self.state().authorization = Some(value.to_owned());
        self
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next `times` requests with a method and a part of a path meet a trouble.
    pub(crate) fn plan(&self, method: &'static str, path: &str, times: usize, trouble: Trouble) {
        self.state().planned.push(Planned {
            method,
            path: path.to_owned(),
            left: times,
            trouble,
        });
    }

    /// No trouble from here on.
    pub(crate) fn calm(&self) {
        self.state().planned.clear();
    }

    /// How many requests there were with a method and a part of a path.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        let is_one = |line: &&String| line.starts_with(method) && line.contains(path);
        state.log.iter().filter(is_one).count()
    }
}

impl State {
    /// The tags there are, but for those that list referrers.
    pub(crate) fn tags(&self) -> Vec<String> {
        let is_tag = |name: &&String| !name.starts_with("sha256");
        self.manifests.keys().filter(is_tag).cloned().collect()
    }

    /// Makes sure that whatever a tag shows is there and is what its digests say.
    pub(crate) fn check_tags(&self) {
        for tag in self.tags() {
            let (_, bytes) = &self.manifests[&tag];
            let digest = Digest::of(bytes).to_string();
            assert_eq!(self.manifests[&digest].1, *bytes, "{tag}");
            let manifest: Value = serde_json::from_slice(bytes).expect("a manifest");
            let layers = manifest["layers"].as_array().expect("layers");
            for blob in layers.iter().chain([&manifest["config"]]) {
                let digest = blob["digest"].as_str().expect("a digest");
                let held = self
                    .blobs
                    .get(digest)
                    .unwrap_or_else(|| panic!("{tag} lacks {digest}"));
                assert_eq!(Digest::of(held).as_str(), digest, "{tag}");
            }
        }
    }

    fn trouble(&mut self, method: &str, path: &str) -> Option<Trouble> {
        let planned = self
            .planned
            .iter_mut()
            .find(|planned| planned.left > 0 && planned.method == method && path.contains(&planned.path))?;
        planned.left -= 1;
        Some(planned.trouble.clone())
    }

    /// The manifests whose subject is `digest`.
    fn referrers_of(&self, digest: &str) -> Vec<Value> {
        let by_digest = self
            .manifests
            .iter()
            .filter(|(name, _)| name.starts_with("sha256:"));
        by_digest
            .filter_map(|(name, (kind, bytes))| {
                let manifest: Value = serde_json::from_slice(bytes).ok()?;
                (manifest["subject"]["digest"] == digest).then(|| {
                    json!({
                        "mediaType": kind, "digest": name, "size": bytes.len(),
                        "artifactType": manifest["artifactType"], "annotations": manifest["annotations"],
                    })
                })
            })
            .collect()
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

fn answer(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status,
        headers: headers.into(),
        body: body.into(),
    }
}

/// Takes requests from one connection until it ends or breaks.
fn serve(stream: &TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let trouble = {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.log.push(format!("{method} {path}"));
            state.trouble(&method, path)
        };
        let length: usize = headers
            .get("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if let Some(Trouble::BreakReading(after)) = trouble {
            let mut some = vec![0; after.min(length)];
            reader.read_exact(&mut some)?;
            // Closing with bytes unread resets the connection.
            return stream.shutdown(std::net::Shutdown::Both);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut answer = match trouble {
            Some(Trouble::Status(status, headers)) => answer(status, headers, ""),
            _ => {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                respond(&mut state, &method, path, query, &headers, body)
            }
        };
        let length = answer.body.len();
        if method == "HEAD" {
            answer.body.clear();
        }
        if let Some(Trouble::Flip) = trouble {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {length}\r\n{}\r\n",
            answer.status, answer.headers
        );
        let mut writer = stream;
        writer.write_all(head.as_bytes())?;
        if let Some(Trouble::BreakWriting(after)) = trouble {
            writer.write_all(&answer.body[..after.min(answer.body.len())])?;
            return stream.shutdown(std::net::Shutdown::Both);
        }
        writer.write_all(&answer.body)?;
    }
}

fn respond(
    state: &mut State,
    method: &str,
    path: &str,
    query: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> Answer {
    if let Some(wanted) = &state.authorization
        && headers.get("authorization") != Some(wanted)
    {
        return answer(401, "www-authenticate: Basic realm=\"r\"\r\n", "");
    }
    let none = || {
        answer(
            404,
            "",
            r#"{"errors":[{"code":"UNKNOWN","message":"no such thing"}]}"#,
        )
    };
    let Some((_, rest)) = path.split_once("/r/") else {
        return none();
    };
    let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
    match (method, kind) {
        ("POST", "blobs") => answer(202, "location: /v2/r/uploads/1\r\n", ""),
        ("PUT", "uploads") => {
            let digest = query
                .strip_prefix("digest=")
                .unwrap_or_default()
                .replace("%3A", ":");
            if Digest::of(&body).as_str() != digest {
                return answer(400, "", r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            state.blobs.insert(digest, body);
            answer(201, "", "")
        }
        ("HEAD" | "GET", "blobs") => match state.blobs.get(name) {
            None => none(),
            Some(blob) => match headers
                .get("range")
                .and_then(|range| range.strip_prefix("bytes="))
            {
                Some(range) if state.ranges => {
                    let from: usize = range.trim_end_matches('-').parse().unwrap_or(0);
                    answer(206, "", &blob[from.min(blob.len())..])
                }
                _ => answer(200, "", blob.clone()),
            },
        },
        ("PUT", "manifests") => {
            let media_type = headers.get("content-type").cloned().unwrap_or_default();
            let digest = Digest::of(&body).to_string();
            let document: Value = serde_json::from_slice(&body).unwrap_or_default();
            let subject = document["subject"]["digest"].as_str();
            let said = match subject {
                Some(subject) if state.referrers => format!("oci-subject: {subject}\r\n"),
                _ => String::new(),
            };
            state.manifests.insert(digest, (media_type.clone(), body.clone()));
            state.manifests.insert(name.to_owned(), (media_type, body));
            answer(201, said, "")
        }
        ("HEAD" | "GET", "manifests") => match state.manifests.get(name) {
            None => none(),
            Some((media_type, bytes)) => {
                answer(200, format!("content-type: {media_type}\r\n"), bytes.clone())
            }
        },
        ("GET", "referrers") if state.referrers => {
            let list = json!({
                "schemaVersion": 2, "mediaType": corer_publisher::oci::INDEX, "manifests": state.referrers_of(name),
            });
            answer(
                200,
                format!("content-type: {}\r\n", corer_publisher::oci::INDEX),
                list.to_string(),
            )
        }
        _ => none(),
    }
}
