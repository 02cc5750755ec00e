//! Requests to one repository: signing in when asked to, trying again when the registry stumbles.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Method, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use super::credentials::Credentials;
use crate::error::{Fault, PublishError};
use crate::progress::Progress;

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;
/// How long to wait before the second attempt; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that a registry may have us wait before another attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How much of an error's explanation is read.
const EXPLANATION_BYTES: u64 = 16 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum HttpError {
    /// The registry could not be reached, or the connection broke.
    Transport(String),
    /// The registry said no, and perhaps when to ask again.
    Status {
        status: u16,
        said: String,
        wait: Option<Duration>,
    },
}

impl HttpError {
    /// Whether trying again may help: broken connections, 5xx and 429, never another 4xx.
    pub(super) const fn fault(&self) -> Fault {
        match self {
            Self::Transport(_) => Fault::Passing(None),
            Self::Status { status: 404, .. } => Fault::Missing,
            // What is not implemented will not be in a second.
            Self::Status { status: 501, .. } => Fault::Refused,
            Self::Status {
                status: 429 | 500..,
                wait,
                ..
            } => Fault::Passing(*wait),
            Self::Status { .. } => Fault::Refused,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(reason) => f.write_str(reason),
            Self::Status { status, said, .. } => {
                let meaning = match status {
                    401 => {
                        "not signed in, or wrong credentials (docker login, or CORER_REGISTRY_USERNAME and _PASSWORD)"
                    }
                    403 => "these credentials may not do that",
                    404 => "there is none",
                    429 => "too many requests",
                    500.. => "the registry failed",
                    _ => "refused",
                };
                write!(f, "{meaning} (HTTP {status})")?;
                if said.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {said}")
                }
            }
        }
    }
}

/// A request without a large body.
pub(super) struct Request {
    method: Method,
    path: String,
    accept: String,
    content_type: String,
    /// Where in the body to begin.
    from: u64,
    body: Vec<u8>,
}

impl Request {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            accept: String::new(),
            content_type: String::new(),
            from: 0,
            body: Vec::new(),
        }
    }

    pub(super) fn head(path: &str) -> Self {
        Self {
            accept: [crate::oci::MANIFEST, crate::oci::INDEX].join(", "),
            ..Self::new(Method::HEAD, path)
        }
    }

    pub(super) fn get(path: &str, accept: &[&str]) -> Self {
        Self {
            accept: accept.join(", "),
            ..Self::new(Method::GET, path)
        }
    }

    /// Asks for the rest of a body only.
    pub(super) fn from(self, byte: u64) -> Self {
        Self { from: byte, ..self }
    }

    pub(super) fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn put(path: &str, content_type: &str, body: &[u8]) -> Self {
        Self {
            content_type: content_type.to_owned(),
            body: body.to_owned(),
            ..Self::new(Method::PUT, path)
        }
    }
}

/// What a registry answered.
pub(super) struct Answer {
    response: Response<Body>,
    base: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }

    /// The digest the registry gives for what it holds, if it gives one.
    pub(super) fn digest(&self) -> Option<&str> {
        self.header("docker-content-digest")
    }

    /// The subject of a manifest just sent, from a registry that lists referrers.
    pub(super) fn subject(&self) -> Option<&str> {
        self.header("oci-subject")
    }

    /// Where to go on, as a whole address.
    pub(super) fn location(&self) -> Option<String> {
        let location = self.header("location")?;
        Some(if location.starts_with('/') {
            format!("{}{location}", self.base)
        } else {
            location.to_owned()
        })
    }

    pub(super) fn body(self) -> impl Read {
        self.response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader()
    }

    /// The answer if it has one of these statuses, what the registry said otherwise.
    pub(super) fn expect(self, statuses: &[u16]) -> Result<Self, HttpError> {
        let status = self.status();
        if statuses.contains(&status) {
            return Ok(self);
        }
        let wait = self.header("retry-after").and_then(|text| text.parse().ok());
        let wait = wait.map(Duration::from_secs);
        let mut text = Vec::new();
        let _ = self.body().take(EXPLANATION_BYTES).read_to_end(&mut text);
        Err(HttpError::Status {
            status,
            said: explanation(&text),
            wait,
        })
    }
}

/// The code and message of the distribution specification's error document.
fn explanation(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &document["errors"][0];
    let parts: Vec<_> = [&first["code"], &first["message"]]
        .into_iter()
        .filter_map(Value::as_str)
        .collect();
    parts
        .join(": ")
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

/// A repository's client.
pub(super) struct Client {
    agent: Agent,
    /// `https://host`
    base: String,
    repository: String,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The authorization is a secret.
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        host: &str,
        repository: &str,
        plain_http: bool,
        credentials: Option<Credentials>,
    ) -> Self {
        let tls = TlsConfig::builder()
            // The system's, so that a company's own authority counts.
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let plain = plain_http || is_loopback(host);
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(!plain)
            .http_status_as_error(false)
            .user_agent(concat!("corer/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(120)))
            .timeout_per_write(Some(Duration::from_secs(120)))
            .build();
        Self {
            agent: config.into(),
            base: format!("{}://{host}", if plain { "http" } else { "https" }),
            repository: repository.to_owned(),
            credentials,
            authorization: Mutex::new(None),
        }
    }

    /// Sends a request, signing in if asked to, again if the registry stumbles.
    pub(super) fn send(&self, request: &Request) -> Result<Answer, HttpError> {
        self.signed_in(|| again(HttpError::fault, || self.attempt(request)))
    }

    /// Sends a request, signing in if asked to; for those who begin from further up when the registry stumbles.
    pub(super) fn send_once(&self, request: &Request) -> Result<Answer, HttpError> {
        self.signed_in(|| self.attempt(request))
    }

    /// Sends, signs in if asked to, and sends again.
    fn signed_in(&self, send: impl Fn() -> Result<Answer, HttpError>) -> Result<Answer, HttpError> {
        let answer = send()?;
        if answer.status() != 401 || !self.sign_in(answer.response.headers())? {
            return Ok(answer);
        }
        send()
    }

    /// Sends a request. 5xx and 429 are errors, what else the registry says is an answer.
    fn attempt(&self, request: &Request) -> Result<Answer, HttpError> {
        let url = format!("{}/v2/{}/{}", self.base, self.repository, request.path);
        let mut builder = ureq::http::Request::builder()
            .method(request.method.clone())
            .uri(&url);
        if !request.accept.is_empty() {
            builder = builder.header("accept", &request.accept);
        }
        if !request.content_type.is_empty() {
            builder = builder.header("content-type", &request.content_type);
        }
        if request.from > 0 {
            builder = builder.header("range", format!("bytes={}-", request.from));
        }
        if let Some(value) = self.authorization() {
            builder = builder.header("authorization", value);
        }
        let response = match request.method {
            Method::POST | Method::PUT => self
                .agent
                .run(builder.body(request.body.as_slice()).map_err(uri)?),
            _ => self.agent.run(builder.body(()).map_err(uri)?),
        };
        let answer = self.answer(response)?;
        if matches!(answer.status(), 429 | 500..) {
            return answer.expect(&[]);
        }
        Ok(answer)
    }

    /// Sends a large body to an address the registry gave. Not tried again: the address is for one attempt.
    pub(super) fn put(
        &self,
        url: &str,
        content_type: &str,
        body: Box<dyn Read + Send + '_>,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Answer, HttpError> {
        let mut builder = ureq::http::Request::builder()
            .method(Method::PUT)
            .uri(url)
            .header("content-type", content_type)
            .header("content-length", size);
        // The registry's own address gets the authorization, another one (a storage's) has it in its query.
        if let Some(value) = self.authorization()
            && url
                .strip_prefix(&self.base)
                .is_some_and(|rest| rest.starts_with('/'))
        {
            builder = builder.header("authorization", value);
        }
        let mut counted = Counted { body, progress };
        let request = builder.body(SendBody::from_reader(&mut counted)).map_err(uri)?;
        let response = self.agent.run(request);
        self.answer(response)
    }

    fn answer(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Answer, HttpError> {
        response
            .map(|response| Answer {
                response,
                base: self.base.clone(),
            })
            .map_err(|error| HttpError::Transport(format!("{} can't be reached: {error}", self.base)))
    }

    fn authorization(&self) -> Option<String> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows a challenge; says whether there now is an authorization that was not there before.
    fn sign_in(&self, headers: &HeaderMap) -> Result<bool, HttpError> {
        let challenge = headers
            .get("www-authenticate")
            .and_then(|value| value.to_str().ok());
        let Some((scheme, parameters)) = challenge.and_then(|text| text.split_once(' ')) else {
            return Ok(false);
        };
        let value = if scheme.eq_ignore_ascii_case("basic") {
            self.credentials.as_ref().map(Credentials::basic)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            self.token(parameters)?
        } else {
            None
        };
        let mut held = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = value.is_some() && *held != value;
        *held = value;
        Ok(is_new)
    }

    /// Asks the token service that a Bearer challenge names.
    fn token(&self, parameters: &str) -> Result<Option<String>, HttpError> {
        let Some(realm) = parameter(parameters, "realm") else {
            return Ok(None);
        };
        // Credentials never go where anyone can read them.
        let is_safe = realm.starts_with("https://") || self.base.starts_with("http://");
        if !is_safe {
            return Err(HttpError::Transport(format!(
                "{} sends sign-ins to an address without TLS",
                self.base
            )));
        }
        let send = || {
            let mut request = self.agent.get(realm);
            for key in ["service", "scope"] {
                if let Some(value) = parameter(parameters, key) {
                    request = request.query(key, value);
                }
            }
            if parameter(parameters, "scope").is_none() {
                request = request.query("scope", format!("repository:{}:pull,push", self.repository));
            }
            if let Some(credentials) = &self.credentials {
                request = request.header("authorization", credentials.basic());
            }
            self.answer(request.call())?.expect(&[200])
        };
        let answer = again(HttpError::fault, send)?;
        let mut bytes = Vec::new();
        let read = answer.body().take(1 << 20).read_to_end(&mut bytes);
        read.map_err(|error| HttpError::Transport(error.to_string()))?;
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = document["token"]
            .as_str()
            .or_else(|| document["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }
}

fn uri(error: ureq::http::Error) -> HttpError {
    HttpError::Transport(error.to_string())
}

/// A parameter of a challenge: `key="value"`.
fn parameter<'a>(parameters: &'a str, key: &str) -> Option<&'a str> {
    let start = parameters.find(&format!("{key}=\""))? + key.len() + 2;
    parameters[start..].split('"').next()
}

/// Whether a host is this machine, so that nobody listens on the way.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Tries until it works, the fault is none that passes, it is to wait too long, or it was tried often enough.
fn again<T, E>(fault: impl Fn(&E) -> Fault, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match fault(&error) {
            Fault::Passing(wait) if wait.is_none_or(|wait| wait <= LONGEST_WAIT) => {
                std::thread::sleep(wait.unwrap_or(pause));
            }
            _ => return Err(error),
        }
        pause *= 2;
    }
    attempt()
}

/// As above, for whole uploads.
pub(super) fn retried<T>(attempt: impl FnMut() -> Result<T, PublishError>) -> Result<T, PublishError> {
    let fault = |error: &PublishError| match error {
        PublishError::Registry { fault, .. } => *fault,
        _ => Fault::Refused,
    };
    again(fault, attempt)
}

/// A body that tells how much of it was read.
struct Counted<'a> {
    body: Box<dyn Read + Send + 'a>,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::{HttpError, again, explanation, is_loopback, parameter};

    #[test]
    fn only_this_machine_goes_without_tls() {
        for host in [
            "127.0.0.1:5000",
            "localhost",
            "localhost:80",
            "[::1]:5000",
            "127.8.9.1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com:443",
            "10.0.0.1",
            "127.0.0.1.example.com",
            "[2001:db8::1]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_passes_is_tried_again_and_a_refusal_never() {
        let attempts = |status: u16, wait: Option<u64>| {
            let count = Cell::new(0);
            let result = again(HttpError::fault, || {
                count.set(count.get() + 1);
                Err::<(), _>(HttpError::Status {
                    status,
                    said: String::new(),
                    wait: wait.map(Duration::from_secs),
                })
            });
            assert!(result.is_err());
            count.get()
        };
        assert_eq!(
            [400, 401, 403, 404, 501].map(|status| attempts(status, None)),
            [1, 1, 1, 1, 1]
        );
        assert_eq!(attempts(503, None), 4);
        assert_eq!(attempts(429, Some(0)), 4);
        assert_eq!(attempts(429, Some(3600)), 1, "nobody waits for an hour");
    }

    #[test]
    fn challenges_and_explanations() {
        let challenge = "realm=\"https://a.example/token\",service=\"r\",scope=\"repository:x:pull,push\"";
        assert_eq!(parameter(challenge, "realm"), Some("https://a.example/token"));
        assert_eq!(parameter(challenge, "scope"), Some("repository:x:pull,push"));
        assert_eq!(parameter(challenge, "error"), None);
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"}]}"#;
        assert_eq!(explanation(body), "DENIED: no[31m");
        assert_eq!(explanation(b"<html>"), "");
    }
}
