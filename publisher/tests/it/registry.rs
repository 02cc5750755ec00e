//! A registry over HTTP, and everything that goes wrong with one: nothing is lost, nothing half is tagged.

use std::fs;
use std::path::Path;
use std::thread;

use corer_publisher::trust::{Attachment, Policy, Requirement, SigningKey, VerifyingKey};
use corer_publisher::{
    Bundle, Fault, NoProgress, PublishError, Published, Registry, Store, Version, promote, publish, pull,
    restore,
};

use crate::harness::{ONE_FUNCTION, Scratch, assemble, bundle, tree};
use crate::server::{Server, Trouble};

const BOTH: [Requirement; 2] = [Requirement::Signature, Requirement::Parity];

fn tag(name: &str) -> Version {
    Version::Tag(name.to_owned())
}

fn registry(server: &Server) -> Registry {
    Registry::new(&server.host(), "r", false).expect("a registry")
}

fn keys() -> (SigningKey, [VerifyingKey; 1]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let key = SigningKey::read(&directory.join("sec1.pem")).expect("a key");
    let public = VerifyingKey::read(&directory.join("public.pem")).expect("a key");
    (key, [public])
}

fn send(server: &Server, bundle: &Bundle) -> Result<Published, PublishError> {
    let attachments = Attachment::sign(bundle, &keys().0, "urn:test");
    publish(bundle, &attachments, &registry(server), &["1.0"], &NoProgress)
}

/// Pulls what must be signed and judged.
fn fetch(server: &Server, scratch: &Scratch, to: &str) -> Result<(), PublishError> {
    let (_, keys) = keys();
    let policy = Policy {
        keys: &keys,
        required: &BOTH,
    };
    pull(
        &registry(server),
        &tag("1.0"),
        &scratch.path(to),
        &policy,
        &NoProgress,
    )
    .map(drop)
}

/// The path of the largest blob, the weights.
fn weights(bundle: &Bundle) -> String {
    let largest = bundle.layers.iter().max_by_key(|(layer, _)| layer.size);
    format!("blobs/{}", largest.expect("layers").0.digest)
}

fn assert_nothing_left(scratch: &Scratch) {
    for entry in fs::read_dir(scratch.path("")).expect("scratch") {
        let name = entry.expect("an entry").file_name();
        assert!(
            ["X.mlpackage", "report.json"].contains(&&*name.to_string_lossy()),
            "{name:?} is left"
        );
    }
}

#[test]
fn out_and_back_with_and_without_the_referrers_api() {
    for server in [Server::start(), Server::start().with_referrers()] {
        let scratch = Scratch::new();
        let bundle = bundle(&scratch);
        let sent = send(&server, &bundle).expect("published");
        assert_eq!((sent.attached, sent.tags_moved.len()), (3, 1));
        server.state().check_tags();
        fetch(&server, &scratch, "out").expect("pulled");
        assert_eq!(
            tree(&scratch.path("out/X.mlpackage")),
            tree(&scratch.path("X.mlpackage"))
        );
        // Nothing is sent again.
        server.state().log.clear();
        let again = send(&server, &bundle).expect("published");
        assert_eq!(
            (again.blobs_sent, again.attached, again.tags_moved.len()),
            (0, 0, 0)
        );
        assert_eq!(server.count("PUT", "") + server.count("POST", ""), 0);
    }
}

/// At each kind of request, each refusal: told as it is, asked as often as makes sense, and nothing tagged.
#[test]
fn refusals_are_told_and_nothing_is_tagged() {
    let requests = [
        ("HEAD", "blobs/"),
        ("POST", "blobs/uploads"),
        ("PUT", "uploads"),
        ("PUT", "manifests/"),
    ];
    let refusals = [
        (401, "wrong credentials", 1),
        (403, "may not do that", 1),
        (429, "too many requests", 4),
        (500, "the registry failed", 4),
    ];
    // All at once: it is waiting that takes time.
    thread::scope(|scope| {
        for (status, said, times) in refusals {
            for (method, path) in requests {
                scope.spawn(move || refused(method, path, status, said, times));
            }
        }
    });
}

fn refused(method: &'static str, path: &str, status: u16, said: &str, times: usize) {
    let headers = if status == 429 { "retry-after: 0\r\n" } else { "" };
    let scratch = Scratch::new();
    let server = Server::start();
    let bundle = bundle(&scratch);
    server.plan(method, path, usize::MAX, Trouble::Status(status, headers));
    let error = send(&server, &bundle).expect_err("refused").to_string();
    let case = format!("{method} {path}: {status}");
    assert!(
        error.contains(said) && error.contains(&status.to_string()),
        "{case}: {error}"
    );
    assert_eq!(server.count(method, path), times, "{case}");
    assert_eq!(server.state().tags(), Vec::<String>::new(), "{case}");
    // Once the registry is well, the rest is sent, and no more than that.
    server.calm();
    let held = server.state().blobs.len();
    let rest = send(&server, &bundle).expect("published");
    assert_eq!(rest.blobs_sent + held, 8 + 1 + 3, "{case}");
    server.state().check_tags();
    fetch(&server, &scratch, "out").expect("pulled");
}

#[test]
fn what_passes_is_waited_for() {
    for (method, path) in [
        ("POST", "blobs/uploads"),
        ("PUT", "uploads"),
        ("PUT", "manifests/1.0"),
    ] {
        let scratch = Scratch::new();
        let server = Server::start();
        let bundle = bundle(&scratch);
        server.plan(method, path, 1, Trouble::Status(503, ""));
        server.plan(method, path, 1, Trouble::Status(429, "retry-after: 0\r\n"));
        send(&server, &bundle).expect("published");
        server.state().check_tags();
    }
    let scratch = Scratch::new();
    let server = Server::start();
    server.plan("POST", "", 1, Trouble::Status(429, "retry-after: 3600\r\n"));
    let error = send(&server, &bundle(&scratch)).expect_err("too long");
    assert!(error.to_string().contains("too many requests"), "{error}");
}

#[test]
fn a_connection_that_breaks_while_sending() {
    let scratch = Scratch::new();
    let server = Server::start();
    let bundle = bundle(&scratch);
    // Once: sent again in the same run.
    server.plan("PUT", "uploads", 1, Trouble::BreakReading(10));
    send(&server, &bundle).expect("published");
    server.state().check_tags();
    // For good, at one of the blobs: the next run sends what is missing.
    let server = Server::start();
    server.plan("PUT", "manifests/", usize::MAX, Trouble::BreakReading(10));
    let error = send(&server, &bundle).expect_err("broken");
    assert!(
        matches!(
            error,
            PublishError::Registry {
                fault: Fault::Passing(None),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(server.state().tags(), Vec::<String>::new());
    server.calm();
    assert_eq!(send(&server, &bundle).expect("published").blobs_sent, 0);
    server.state().check_tags();
}

#[test]
fn a_download_goes_on_where_it_broke() {
    for server in [Server::start(), Server::start().without_ranges()] {
        let scratch = Scratch::new();
        let bundle = bundle(&scratch);
        send(&server, &bundle).expect("published");
        server.plan("GET", &weights(&bundle), 2, Trouble::BreakWriting(100));
        fetch(&server, &scratch, "out").expect("pulled");
        assert_eq!(
            tree(&scratch.path("out/X.mlpackage")),
            tree(&scratch.path("X.mlpackage"))
        );
        fs::remove_dir_all(scratch.path("out")).expect("removed");
        server.plan("GET", &weights(&bundle), usize::MAX, Trouble::BreakWriting(100));
        let error = fetch(&server, &scratch, "out").expect_err("broken");
        assert!(matches!(error, PublishError::Registry { .. }), "{error}");
        assert_nothing_left(&scratch);
    }
}

#[test]
fn a_tampered_layer_manifest_or_statement_is_refused_and_nothing_is_left() {
    let scratch = Scratch::new();
    let server = Server::start();
    let bundle = bundle(&scratch);
    send(&server, &bundle).expect("published");
    let blobs: Vec<_> = server.state().blobs.keys().cloned().collect();
    for digest in blobs {
        server.plan("GET", &format!("blobs/{digest}"), 1, Trouble::Flip);
        match fetch(&server, &scratch, "out") {
            Err(PublishError::Artifact { .. } | PublishError::Untrusted { .. }) => {}
            // What is attached and not required: the provenance.
            Ok(()) => fs::remove_dir_all(scratch.path("out")).expect("removed"),
            Err(other) => panic!("{digest}: {other}"),
        }
        server.calm();
        assert_nothing_left(&scratch);
    }
    // Another artifact behind the tag has nothing attached to it.
    let (kind, bytes) = server.state().manifests["1.0"].clone();
    let changed = String::from_utf8(bytes)
        .expect("text")
        .replace("\"passed\"", "\"passed \"");
    server
        .state()
        .manifests
        .insert("1.0".into(), (kind, changed.into_bytes()));
    let error = fetch(&server, &scratch, "out").expect_err("another artifact");
    assert!(
        error.to_string().contains("signature: none is attached"),
        "{error}"
    );
    assert_nothing_left(&scratch);
}

#[test]
fn what_the_registry_hides_is_missing() {
    for server in [Server::start(), Server::start().with_referrers()] {
        let scratch = Scratch::new();
        let bundle = bundle(&scratch);
        send(&server, &bundle).expect("published");
        let fallback = corer_publisher::oci::referrers_tag(&bundle.manifest.digest);
        for path in [format!("manifests/{fallback}"), "referrers/".to_owned()] {
            server.plan("GET", &path, usize::MAX, Trouble::Status(404, ""));
        }
        let error = fetch(&server, &scratch, "out").expect_err("hidden");
        assert!(matches!(error, PublishError::Untrusted { .. }), "{error}");
        assert_nothing_left(&scratch);
    }
}

/// A registry that fails at the referrers API: without that API the tag has the list, with it nobody knows.
#[test]
fn what_breaks_while_it_is_listed_is_an_error() {
    let scratch = Scratch::new();
    let bundle = bundle(&scratch);
    let server = Server::start();
    server.plan("GET", "referrers/", usize::MAX, Trouble::Status(501, ""));
    send(&server, &bundle).expect("published");
    fetch(&server, &scratch, "out").expect("pulled");
    fs::remove_dir_all(scratch.path("out")).expect("removed");
    let server = Server::start().with_referrers();
    send(&server, &bundle).expect("published");
    server.plan("GET", "referrers/", usize::MAX, Trouble::Status(500, ""));
    let error = fetch(&server, &scratch, "out").expect_err("broken");
    assert!(matches!(error, PublishError::Registry { .. }), "{error}");
    assert_nothing_left(&scratch);
}

/// Several releases at once under one tag, all with statements to list.
#[test]
fn a_race_for_a_tag_has_one_winner_and_loses_no_statement() {
    let server = Server::start();
    let scratches: Vec<_> = (0..4).map(|_| Scratch::new()).collect();
    let bundles: Vec<_> = scratches
        .iter()
        .enumerate()
        .map(|(index, scratch)| {
            let package = scratch.package(ONE_FUNCTION, "X.mlpackage");
            let report = scratch.report(&package, "report.json", |report| {
                report["corer"] = format!("0.1.{}", index / 2).into();
            });
            assemble(&[package], &[report], false).expect("a bundle")
        })
        .collect();
    let results: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = bundles
            .iter()
            .map(|bundle| scope.spawn(|| send(&server, bundle)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("no panic"))
            .collect()
    });
    assert!(results.iter().any(Result::is_ok), "{results:?}");
    for result in results.iter().filter_map(|result| result.as_ref().err()) {
        // The tag showed another release's artifact when it was read back.
        assert!(matches!(result, PublishError::Artifact { .. }), "{result}");
    }
    server.state().check_tags();
    fetch(&server, &scratches[0], "out").expect("pulled");
    // Either of the two artifacts has all its statements, whoever wrote the list last.
    for bundle in [&bundles[0], &bundles[2]] {
        send(&server, bundle).expect("published");
        fs::remove_dir_all(scratches[0].path("out")).expect("removed");
        fetch(&server, &scratches[0], "out").expect("pulled");
    }
}

#[test]
fn credentials() {
    let server = Server::start().with_authorization("Basic bm90OnRoZXNl");
    let scratch = Scratch::new();
    let error = send(&server, &bundle(&scratch))
        .expect_err("none are given")
        .to_string();
    assert!(error.contains("not signed in, or wrong credentials"), "{error}");
    assert_eq!(server.count("", ""), 1, "asked once");
}

#[test]
fn a_tag_moves_and_goes_back_in_a_registry() {
    for server in [Server::start(), Server::start().with_referrers()] {
        let scratch = Scratch::new();
        let bundle = bundle(&scratch);
        send(&server, &bundle).expect("published");
        let store = registry(&server);
        let (key, keys) = keys();
        let policy = Policy {
            keys: &keys,
            required: &BOTH,
        };
        let moved = promote(
            &store,
            &tag("1.0"),
            "production",
            &policy,
            Some(&key),
            &NoProgress,
        )
        .expect("moved");
        assert!(moved.moved && moved.previous.is_none());
        let other = Scratch::new();
        let package = other.package(ONE_FUNCTION, "X.mlpackage");
        let report = other.report(&package, "report.json", |report| report["corer"] = "0.2.0".into());
        let second = assemble(&[package], &[report], false).expect("a bundle");
        send(&server, &second).expect("published");
        let moved = promote(
            &store,
            &tag("1.0"),
            "production",
            &policy,
            Some(&key),
            &NoProgress,
        )
        .expect("moved");
        assert_eq!(moved.previous, Some(bundle.manifest.digest.clone()));
        let back = restore(&store, "production", &policy, Some(&key), &NoProgress).expect("moved");
        assert_eq!(back.artifact.digest, bundle.manifest.digest);
        let (found, _) = store.manifest(&tag("production")).expect("a tag");
        assert_eq!(found.digest, bundle.manifest.digest);
        server.state().check_tags();
    }
}
