//! Publishing and pulling when credentials are wrong, the disk is full, or the process is killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Scratch;
use crate::publish::succeeds;
use crate::server::Server;
use crate::trust::{signed, with_keys};

fn publish(server: &Server) -> Vec<String> {
    let to = format!("oci://{}/r:1.0", server.host());
    let arguments = [
        "publish",
        "Out.mlpackage",
        "--report",
        "report",
        "--sign-key",
        "key.pem",
        "--to",
    ];
    arguments
        .iter()
        .map(|argument| (*argument).to_owned())
        .chain([to])
        .collect()
}

fn pull(server: &Server, to: &str) -> Vec<String> {
    let from = format!("oci://{}/r:1.0", server.host());
    let arguments = [
        "pull",
        "--require",
        "signature,parity",
        "--key",
        "public.pem",
        "-o",
        to,
    ];
    arguments
        .iter()
        .map(|argument| (*argument).to_owned())
        .chain([from])
        .collect()
}

/// A command that finds no credentials but those it is given.
fn command(scratch: &Scratch, arguments: &[String]) -> Command {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut command = scratch.command(&arguments);
    command.env("DOCKER_CONFIG", scratch.path().join("no-docker"));
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn credentials_right_wrong_and_none() {
    let scratch = with_keys();
    // `user:right`
    let server = Server::start().with_authorization("Basic dXNlcjpyaWdodA==");
    let run = |secret: Option<&str>| {
        let mut command = command(&scratch, &publish(&server));
        if let Some(secret) = secret {
            command
                .env("CORER_REGISTRY_USERNAME", "user")
                .env("CORER_REGISTRY_PASSWORD", secret);
        }
        command.output().expect("the binary starts")
    };
    for secret in [None, Some("wr0ng-secret")] {
        let output = run(secret);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(6), "{stderr}");
        assert!(
            stderr.contains("wrong credentials") && !stderr.contains("wr0ng"),
            "{stderr}"
        );
        assert_eq!(server.state().tags(), Vec::<String>::new());
    }
    let output = run(Some("right"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.state().check_tags();
}

/// `ulimit -f` stands in for a disk that is full: writing fails once a file has so many blocks.
#[test]
fn a_disk_that_is_full() {
    let scratch = signed();
    let limited = |arguments: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 64; exec \"$0\" {arguments}");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_corer")])
            .current_dir(scratch.path())
            .output()
            .expect("sh starts");
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("can't be written") && stderr.contains("File too large"),
            "{stderr}"
        );
    };
    limited("pull oci-layout:models:1.0 -o pulled");
    assert_eq!(names(scratch.path(), "pulled"), Vec::<String>::new());
    limited("publish Out.mlpackage --report report --to oci-layout:full:1.0");
    assert!(!scratch.path().join("full/index.json").exists());
    assert_eq!(
        names(&scratch.path().join("full/blobs/sha256"), "unfinished"),
        Vec::<String>::new()
    );
    // With room again, it is as if nothing had been.
    succeeds(
        &scratch,
        &[
            "publish",
            "Out.mlpackage",
            "--report",
            "report",
            "--to",
            "oci-layout:full:1.0",
        ],
    );
    succeeds(&scratch, &["pull", "oci-layout:full:1.0", "-o", "pulled"]);
}

/// The entries of a directory whose names hold a text.
fn names(directory: &Path, part: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(part))
        .collect()
}

/// Kills with SIGKILL at moments all over a run's length; gives how many runs ended before.
fn killed_all_over(
    rounds: u32,
    whole: Duration,
    mut start: impl FnMut(u32) -> Command,
    mut check: impl FnMut(u32),
) -> u32 {
    let mut ended = 0;
    for round in 0..rounds {
        let mut child = start(round)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(whole * round / rounds);
        let _ = child.kill();
        ended += u32::from(child.wait().expect("it ends").success());
        check(round);
    }
    ended
}

#[test]
fn killed_while_publishing_to_a_registry_no_tag_shows_what_is_not_there() {
    let scratch = with_keys();
    let began = Instant::now();
    let output = command(&scratch, &publish(&Server::start()))
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let whole = began.elapsed();
    // A registry of its own for each round, so that there is always something to send.
    let mut server = Server::start();
    let servers: Vec<_> = (0..24).map(|_| Server::start()).collect();
    let ended = killed_all_over(
        24,
        whole,
        |round| command(&scratch, &publish(&servers[round as usize])),
        |round| {
            server = servers[round as usize].clone();
            server.state().check_tags();
            let is_tagged = !server.state().tags().is_empty();
            let output = command(&scratch, &pull(&server, &format!("pulled-{round}")))
                .output()
                .expect("the binary starts");
            // What is tagged is whole, signed and judged; what is not is not there.
            let code = if is_tagged { 0 } else { 6 };
            assert_eq!(
                output.status.code(),
                Some(code),
                "round {round}: {}",
                stderr(&output)
            );
        },
    );
    assert!(ended < 24, "some must have been killed");
    // The last one is completed by running again.
    let output = command(&scratch, &publish(&server))
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.state().check_tags();
}

#[test]
fn killed_while_pulling_there_is_all_of_it_or_nothing() {
    let scratch = signed();
    let arguments = [
        "pull",
        "oci-layout:models:1.0",
        "-o",
        "pulled",
        "--key",
        "public.pem",
    ]
    .map(str::to_owned);
    let began = Instant::now();
    let output = command(&scratch, &arguments).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let whole = began.elapsed();
    fs::remove_dir_all(scratch.path().join("pulled")).expect("removed");
    let sums = || {
        let output = Command::new("sha256sum")
            .args(["--quiet", "-c", "SHA256SUMS"])
            .current_dir(scratch.path().join("pulled"))
            .output()
            .expect("sha256sum starts");
        assert!(output.status.success(), "{}", stderr(&output));
    };
    killed_all_over(
        24,
        whole,
        |_| command(&scratch, &arguments),
        |_| {
            if scratch.path().join("pulled").exists() {
                sums();
                fs::remove_dir_all(scratch.path().join("pulled")).expect("removed");
            }
        },
    );
    let output = command(&scratch, &arguments).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    sums();
    assert_eq!(
        names(scratch.path(), ".pulled"),
        Vec::<String>::new(),
        "what was killed is cleared away"
    );
}
