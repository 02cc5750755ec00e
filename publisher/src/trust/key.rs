//! P-256 keys in PEM files, as `openssl ecparam -name prime256v1 -genkey` and `openssl genpkey` write them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use p256::SecretKey;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey as EcdsaKey, VerifyingKey as EcdsaPublicKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey, LineEnding};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::error::PublishError;

/// Largest key file read, in bytes.
const MOST_BYTES: u64 = 64 << 10;

/// What makes a key this module reads.
const MAKE_ONE: &str = "`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` makes one";

/// A key that signs. Its `Debug` form shows the public half only.
pub struct SigningKey {
    key: EcdsaKey,
    public: VerifyingKey,
}

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: EcdsaPublicKey,
    hint: String,
}

impl SigningKey {
    /// Reads a private key from a PEM file, SEC 1 (`EC PRIVATE KEY`) or PKCS #8 (`PRIVATE KEY`).
    ///
    /// # Errors
    /// When it can't be read, is encrypted, or holds no P-256 private key.
    pub fn read(path: &Path) -> Result<Self, PublishError> {
        let place = path.display().to_string();
        Self::parse(&read(path)?, &place)
    }

    /// Reads a private key from PEM text; `place` says in errors where it came from.
    ///
    /// # Errors
    /// As [`SigningKey::read`].
    pub fn parse(pem: &str, place: &str) -> Result<Self, PublishError> {
        let refuse = |reason: &str| refusal(place, reason);
        let no_key = || refuse(&format!("holds no private key of the curve P-256; {MAKE_ONE}"));
        // `openssl pkcs8` and the older form of `openssl ec`.
        if block(pem, "ENCRYPTED PRIVATE KEY").is_some() || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(refuse(
                "is encrypted, which is not supported; `openssl pkey -in KEY -out PLAIN` decrypts it, into a place \
                 only the pipeline can read",
            ));
        }
        let secret = if let Some(block) = block(pem, "EC PRIVATE KEY") {
            SecretKey::from_sec1_pem(block).map_err(|_| no_key())?
        } else if let Some(block) = block(pem, "PRIVATE KEY") {
            SecretKey::from_pkcs8_pem(block).map_err(|_| no_key())?
        } else if block(pem, "PUBLIC KEY").is_some() {
            return Err(refuse("is a public key; signing takes the private one"));
        } else {
            return Err(no_key());
        };
        let key = EcdsaKey::from(secret);
        let public = VerifyingKey::new(*key.verifying_key());
        Ok(Self { key, public })
    }

    /// The key its signatures are checked with.
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs with ECDSA and SHA-256; gives the signature in DER. Equal messages have equal signatures (RFC 6979).
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.key.sign(message);
        signature.as_bytes().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl VerifyingKey {
    fn new(key: EcdsaPublicKey) -> Self {
        // Encoding a point of the curve does not fail.
        let pem = key.to_public_key_pem(LineEnding::LF).unwrap_or_default();
        let hint = Digest::of(pem.as_bytes()).hex().to_owned();
        Self { key, hint }
    }

    /// Reads a public key from a PEM file (`PUBLIC KEY`).
    ///
    /// # Errors
    /// When it can't be read or holds no P-256 public key.
    pub fn read(path: &Path) -> Result<Self, PublishError> {
        let place = path.display().to_string();
        Self::parse(&read(path)?, &place)
    }

    /// Reads a public key from PEM text; `place` says in errors where it came from.
    ///
    /// # Errors
    /// When it holds no P-256 public key.
    pub fn parse(pem: &str, place: &str) -> Result<Self, PublishError> {
        let Some(block) = block(pem, "PUBLIC KEY") else {
            let reason = if pem.contains("PRIVATE KEY-----") {
                "is a private key; checking takes the public one: `openssl pkey -in KEY -pubout`"
            } else {
                "holds no public key in PEM form (BEGIN PUBLIC KEY)"
            };
            return Err(refusal(place, reason));
        };
        let key = EcdsaPublicKey::from_public_key_pem(block)
            .map_err(|_| refusal(place, "holds no public key of the curve P-256 (prime256v1)"))?;
        Ok(Self::new(key))
    }

    /// SHA-256 of the key's PEM form, as 64 hexadecimal digits: what signatures name it by.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The key in PEM form.
    pub fn pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// Whether a signature in DER is this key's on a message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature)
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.hint).finish()
    }
}

fn refusal(place: &str, reason: &str) -> PublishError {
    PublishError::Key {
        place: place.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A key file's text, wiped when dropped.
fn read(path: &Path) -> Result<Zeroizing<String>, PublishError> {
    let place = path.display().to_string();
    // Room for all of it, so that no piece stays behind in memory that was given back.
    let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES as usize + 1));
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| refusal(&place, &error.to_string()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(refusal(&place, "is larger than a key ever is"));
    }
    Ok(text)
}

/// The PEM block with a label; others, such as the curve's parameters, may stand before it.
fn block<'a>(pem: &'a str, label: &str) -> Option<&'a str> {
    let end = format!("-----END {label}-----");
    let start = pem.find(&format!("-----BEGIN {label}-----"))?;
    let length = pem[start..].find(&end)? + end.len();
    Some(&pem[start..start + length])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{SigningKey, VerifyingKey};

    /// Made by OpenSSL 3.0 for these tests: `openssl ecparam -name prime256v1 -genkey`, with its parameters.
    pub(crate) const SEC1: &str = include_str!("../../tests/keys/sec1.pem");
    /// The same key: `openssl pkcs8 -topk8 -nocrypt`.
    const PKCS8: &str = include_str!("../../tests/keys/pkcs8.pem");
    /// The same key's public half: `openssl ec -pubout`.
    pub(crate) const PUBLIC: &str = include_str!("../../tests/keys/public.pem");
    /// Another key's public half.
    pub(crate) const OTHER_PUBLIC: &str = include_str!("../../tests/keys/other-public.pem");

    #[test]
    fn both_forms_of_a_private_key_are_one_key() {
        let public = VerifyingKey::parse(PUBLIC, "public.pem").expect("a public key");
        assert_eq!(public.pem(), PUBLIC);
        for pem in [SEC1, PKCS8, &PKCS8.replace('\n', "\r\n")] {
            let key = SigningKey::parse(pem, "key.pem").expect("a private key");
            assert_eq!(*key.verifying_key(), public);
            assert!(!format!("{key:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn what_is_signed_is_verified_and_nothing_else() {
        let key = SigningKey::parse(SEC1, "key.pem").expect("a private key");
        let signature = key.sign(b"message");
        assert_eq!(signature, key.sign(b"message"), "equal bytes, equal signature");
        assert!(key.verifying_key().verifies(b"message", &signature));
        assert!(!key.verifying_key().verifies(b"massage", &signature));
        let other = VerifyingKey::parse(OTHER_PUBLIC, "other.pem").expect("a public key");
        assert!(!other.verifies(b"message", &signature));
        for length in 0..signature.len() {
            assert!(!key.verifying_key().verifies(b"message", &signature[..length]));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let secret = PKCS8.lines().nth(1).expect("base64");
        for (pem, reason) in [
            (include_str!("../../tests/keys/encrypted.pem"), "is encrypted"),
            (
                include_str!("../../tests/keys/encrypted-sec1.pem"),
                "is encrypted",
            ),
            (include_str!("../../tests/keys/p384.pem"), "of the curve P-256"),
            (PUBLIC, "is a public key"),
            ("", "holds no private key"),
            (&PKCS8[..100], "holds no private key"),
            (&PKCS8.replace(&secret[..8], "AAAAAAAA"), "holds no private key"),
        ] {
            let error = SigningKey::parse(pem, "key.pem").expect_err(reason).to_string();
            assert!(
                error.contains(reason) && error.starts_with("key.pem: "),
                "{error}"
            );
            assert!(!error.contains(&secret[..16]), "{error}");
        }
        for (pem, reason) in [
            (SEC1, "is a private key"),
            ("", "holds no public key in PEM"),
            (
                include_str!("../../tests/keys/p384-public.pem"),
                "of the curve P-256",
            ),
        ] {
            let error = VerifyingKey::parse(pem, "key.pem").expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
