//! Who to be for a registry: from the environment, or from where docker keeps it.
//!
//! Nothing of it is printed, logged or put into an error.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A name and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    name: String,
    secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials { .. }")
    }
}

impl Credentials {
    /// The value of a Basic `Authorization` header.
    pub(super) fn basic(&self) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", self.name, self.secret))
        )
    }
}

/// Credentials for a host, if any are kept.
pub(super) fn find(host: &str) -> Result<Option<Credentials>, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(name), Some(secret)) = (
        variable("CORER_REGISTRY_USERNAME"),
        variable("CORER_REGISTRY_PASSWORD"),
    ) {
        return Ok(Some(Credentials { name, secret }));
    }
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else {
        return Ok(None);
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let config: Value =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    from_config(&config, host).map_err(|reason| format!("{}: {reason}", path.display()))
}

fn from_config(config: &Value, host: &str) -> Result<Option<Credentials>, String> {
    let helper = config["credHelpers"][host].as_str();
    if let Some(helper) = helper {
        return from_helper(helper, host);
    }
    let keys = [
        host.to_owned(),
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("http://{host}"),
    ];
    if let Some(entry) = keys.iter().find_map(|key| config["auths"].get(key)) {
        let text = |key: &str| {
            entry[key]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        if let (Some(name), Some(secret)) = (text("username"), text("password")) {
            return Ok(Some(Credentials { name, secret }));
        }
        if let Some(auth) = text("auth") {
            let decoded = STANDARD
                .decode(auth)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or_else(|| format!("`auth` of {host} is not base64 of NAME:SECRET"))?;
            let (name, secret) = decoded
                .split_once(':')
                .ok_or_else(|| format!("`auth` of {host} is not base64 of NAME:SECRET"))?;
            return Ok(Some(Credentials {
                name: name.to_owned(),
                secret: secret.trim_end_matches('\0').to_owned(),
            }));
        }
    }
    match config["credsStore"].as_str() {
        Some(helper) => from_helper(helper, host),
        None => Ok(None),
    }
}

/// Asks one of docker's credential helpers.
fn from_helper(helper: &str, host: &str) -> Result<Option<Credentials>, String> {
    if !helper
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        return Err("the name of its credential helper is none".into());
    }
    let program = format!("docker-credential-{helper}");
    let fail = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(host.as_bytes()).map_err(fail)?;
    }
    let output = child.wait_with_output().map_err(fail)?;
    if !output.status.success() {
        // It says so when it keeps nothing for this host.
        return Ok(None);
    }
    let answer: Value =
        serde_json::from_slice(&output.stdout).map_err(|_| format!("{program} gives no JSON"))?;
    match (answer["Username"].as_str(), answer["Secret"].as_str()) {
        (Some(name), Some(secret)) => Ok(Some(Credentials {
            name: name.to_owned(),
            secret: secret.to_owned(),
        })),
        _ => Err(format!("{program} gives neither Username nor Secret")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::from_config;

    #[test]
    fn what_docker_login_writes() {
        // RFC 7617's own example.
        let config = json!({ "auths": { "r.example:5000": { "auth": "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" } } });
        let found = from_config(&config, "r.example:5000")
            .expect("read")
            .expect("found");
        assert_eq!(found.basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(from_config(&config, "r.example").expect("read"), None);
        assert_eq!(format!("{found:?}"), "Credentials { .. }");
    }

    #[test]
    fn what_is_malformed_is_said_without_the_secret() {
        for auth in ["%%%", "b3BlbiBzZXNhbWU="] {
            let config = json!({ "auths": { "r": { "auth": auth } } });
            let error = from_config(&config, "r").expect_err("malformed");
            assert!(!error.contains(auth) && !error.contains("sesame"), "{error}");
        }
        let config = json!({ "credsStore": "../../bin/sh" });
        assert!(from_config(&config, "r").is_err());
    }
}
