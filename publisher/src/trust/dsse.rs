//! Signed envelopes (DSSE 1.0) in sigstore bundles (v0.3), as a key signs them: no certificate, no transparency log.
//!
//! What is signed is the *pre-authentication encoding*: `DSSEv1`, and type and payload each preceded by its length, with
//! one space between all of them (`secure-systems-lab/dsse`, `protocol.md`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::{SigningKey, VerifyingKey};
use super::statement::shown;

/// Media type of a bundle.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The payload's type: in-toto.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A bundle, as much of it as keys need.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<PublicKey>,
    #[serde(default)]
    tlog_entries: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct PublicKey {
    #[serde(default)]
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// What a bundle says, and who signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened<'k> {
    /// The payload, which is the signer's.
    pub payload: Vec<u8>,
    /// The key that it was checked with.
    pub key: &'k VerifyingKey,
}

/// Signs an in-toto statement. The bundle's bytes depend on nothing but the payload and the key.
///
/// # Panics
/// Never: the bundle consists of strings, which have a JSON form.
pub fn seal(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let bundle = Bundle {
        media_type: BUNDLE.to_owned(),
        verification_material: Material {
            public_key: Some(PublicKey {
                hint: key.verifying_key().hint().to_owned(),
            }),
            tlog_entries: Vec::new(),
        },
        dsse_envelope: Envelope {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                sig: STANDARD.encode(key.sign(&encoding(payload))),
                keyid: String::new(),
            }],
        },
    };
    serde_json::to_vec(&bundle).expect("strings have a JSON form")
}

/// Gives the payload of a bundle that one of the keys signed.
///
/// # Errors
/// Why it counts for nothing: it is no bundle, or none of the keys signed it.
pub fn open<'k>(bundle: &[u8], keys: &'k [VerifyingKey]) -> Result<Opened<'k>, String> {
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| format!("is no sigstore bundle: {error}"))?;
    if bundle.media_type != BUNDLE {
        return Err(format!(
            "is a {}, not a sigstore bundle in form v0.3",
            shown(&bundle.media_type)
        ));
    }
    let envelope = &bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!(
            "carries a {}, not an in-toto statement",
            shown(&envelope.payload_type)
        ));
    }
    let [signature] = &envelope.signatures[..] else {
        return Err(format!(
            "has {} signatures instead of one",
            envelope.signatures.len()
        ));
    };
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| "its payload or signature is no base64".to_owned())
    };
    let (payload, signature) = (decode(&envelope.payload)?, decode(&signature.sig)?);
    let message = encoding(&payload);
    if let Some(key) = keys.iter().find(|key| key.verifies(&message, &signature)) {
        return Ok(Opened { payload, key });
    }
    let hint = bundle.verification_material.public_key.map(|key| key.hint);
    Err(match hint.as_deref() {
        None => "is not signed by a key (corer checks keys, not certificates)".to_owned(),
        Some(hint) if keys.iter().any(|key| key.hint() == hint) => {
            "does not verify: it was changed after it was signed".to_owned()
        }
        Some("") => "is not signed by the given key".to_owned(),
        Some(hint) => format!("is signed by another key, {}", shown(hint)),
    })
}

/// Gives the payload of a bundle, whoever signed it: nothing in it may be believed.
pub(crate) fn payload(bundle: &[u8]) -> Result<Vec<u8>, String> {
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| format!("is no sigstore bundle: {error}"))?;
    let payload = STANDARD.decode(&bundle.dsse_envelope.payload);
    payload.map_err(|_| "its payload is no base64".to_owned())
}

/// The bytes that are signed for a payload.
fn encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::{encoding, open, seal};
    use crate::trust::key::tests::{OTHER_PUBLIC, PUBLIC, SEC1};
    use crate::trust::key::{SigningKey, VerifyingKey};

    fn sealed() -> (Vec<u8>, [VerifyingKey; 1]) {
        let key = SigningKey::parse(SEC1, "key.pem").expect("a private key");
        let public = VerifyingKey::parse(PUBLIC, "public.pem").expect("a public key");
        (seal(b"{\"a\":1}", &key), [public])
    }

    #[test]
    fn what_is_signed() {
        let said = "DSSEv1 28 application/vnd.in-toto+json 7 {\"a\":1}";
        assert_eq!(encoding(b"{\"a\":1}"), said.as_bytes());
    }

    #[test]
    fn what_was_sealed_opens_with_its_key() {
        let (bundle, keys) = sealed();
        let opened = open(&bundle, &keys).expect("its key");
        assert_eq!(
            (opened.payload.as_slice(), opened.key),
            (&b"{\"a\":1}"[..], &keys[0])
        );
        let other = [VerifyingKey::parse(OTHER_PUBLIC, "other.pem").expect("a public key")];
        let error = open(&bundle, &other).expect_err("another key");
        assert!(error.contains("another key"), "{error}");
        let both = [other[0].clone(), keys[0].clone()];
        assert_eq!(open(&bundle, &both).expect("one of them").key, &keys[0]);
        open(&bundle, &[]).expect_err("no key");
    }

    /// No byte of a bundle can be changed so that another payload opens.
    #[test]
    fn no_byte_can_be_changed() {
        let (bundle, keys) = sealed();
        for at in 0..bundle.len() {
            let mut changed = bundle.clone();
            changed[at] ^= 1;
            if let Ok(opened) = open(&changed, &keys) {
                assert_eq!(opened.payload, b"{\"a\":1}", "byte {at}");
            }
            assert!(open(&bundle[..at], &keys).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn other_bundles_are_refused_with_a_reason() {
        let (bundle, keys) = sealed();
        let text = String::from_utf8(bundle).expect("text");
        for (from, to, reason) in [
            ("bundle.v0.3", "bundle.v0.9", "not a sigstore bundle in form v0.3"),
            ("in-toto+json", "other+json", "not an in-toto statement"),
            ("\"publicKey\"", "\"certificate\"", "does not verify"),
            (
                "\"signatures\":[{",
                "\"signatures\":[],\"x\":[{",
                "has 0 signatures",
            ),
            ("\"payload\":\"", "\"payload\":\"%", "no base64"),
            ("{\"mediaType\"", "{\"type\"", "no sigstore bundle"),
        ] {
            let changed = text.replace(from, to);
            match open(changed.as_bytes(), &keys) {
                // Who a bundle says signed it is a hint; who signed it is what counts.
                Ok(opened) => assert_eq!((from, opened.key), ("\"publicKey\"", &keys[0])),
                Err(error) => assert!(error.contains(reason), "{from}: {error}"),
            }
        }
    }
}
