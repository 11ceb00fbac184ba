//! Names of the kinds of keys and signatures, so that a message can name a kind that is not supported.
//!
//! TLS uses ring, which signs with RSA keys of 2048, 3072 and 4096 bits, P-256, P-384 and Ed25519. It verifies signatures of these
//! keys with SHA-2, except those of P-256 and P-384 with SHA-512.

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Reader as _, SliceReader, Tagged as _};

/// The kinds of private keys that are supported, for messages.
pub const SUPPORTED: &str = "RSA of 2048, 3072 or 4096 bits, P-256, P-384 and Ed25519 are";
const SUPPORTED_KEYS: &[&str] = &["RSA, 2048 bits", "RSA, 3072 bits", "RSA, 4096 bits", "P-256", "P-384", "Ed25519"];

/// Why a private key cannot be used.
pub fn complaint(key: &PrivateKeyDer<'_>) -> String {
    let kind = private_key(key);
    if SUPPORTED_KEYS.contains(&&*kind) {
        return format!("holds a damaged key ({kind})");
    }
    format!("holds a key of a kind that is not supported: {kind} ({SUPPORTED})")
}

const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC_CURVE: &str = "1.2.840.10045.2.1";

/// Object identifiers of keys, curves and signatures, and their names.
const NAMES: &[(&str, &str)] = &[
    (RSA, "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
];

/// The name of an algorithm. `id` is the content of a DER `AlgorithmIdentifier`.
pub fn algorithm(id: &[u8]) -> String {
    let read = || {
        let mut reader = SliceReader::new(id)?;
        let kind = reader.decode::<ObjectIdentifier>()?;
        if kind.to_string() != ELLIPTIC_CURVE {
            return Ok(name(kind));
        }
        // A key can contain the parameters of its curve instead of the name.
        let curve = reader.decode::<ObjectIdentifier>();
        Ok(curve.map_or_else(|_| "elliptic curve with explicit parameters".to_owned(), name))
    };
    read().unwrap_or_else(|_: x509_cert::der::Error| "unknown".to_owned())
}

fn name(id: ObjectIdentifier) -> String {
    let id = id.to_string();
    let known = NAMES.iter().find(|(known, _)| *known == id);
    known.map_or_else(|| format!("algorithm {id}"), |(_, name)| (*name).to_owned())
}

/// The kind of a private key, such as `RSA, 1024 bits`.
fn private_key(key: &PrivateKeyDer<'_>) -> String {
    let parts = Vec::<AnyRef<'_>>::from_der(key.secret_der()).unwrap_or_default();
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der(), 1),
        PrivateKeyDer::Pkcs8(_) => {
            let id = parts.get(1).map_or(&[][..], |part| part.value());
            match algorithm(id) {
                name if name == "RSA" => rsa(parts.get(2).map_or(&[][..], |part| part.value()), 1),
                name => name,
            }
        }
        // SEC1: the curve is tagged with 0.
        _ => {
            let curve = parts.iter().find(|part| part.tag().is_context_specific());
            let curve = curve.and_then(|part| ObjectIdentifier::from_der(part.value()).ok());
            curve.map_or_else(|| "elliptic curve".to_owned(), name)
        }
    }
}

/// The kind of an RSA key. `modulus` is the index of the modulus among the numbers of the key: the first in a public key, the
/// second in a private key.
fn rsa(der: &[u8], modulus: usize) -> String {
    let numbers = Vec::<UintRef<'_>>::from_der(der).unwrap_or_default();
    let (Some(modulus), Some(exponent)) = (numbers.get(modulus), numbers.get(modulus + 1)) else {
        return "RSA".to_owned();
    };
    let exponent = match exponent.as_bytes() {
        [exponent] => format!(", exponent {exponent}"),
        _ => String::new(),
    };
    format!("RSA, {} bits{exponent}", bits(modulus))
}

fn bits(number: &UintRef<'_>) -> u32 {
    let bytes = number.as_bytes();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(unused)
}

/// The size of the RSA key in a certificate, in bits.
pub fn rsa_bits(certificate: &Certificate) -> Option<u32> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    if key.algorithm.oid.to_string() != RSA {
        return None;
    }
    let numbers = Vec::<UintRef<'_>>::from_der(key.subject_public_key.as_bytes()?).ok()?;
    numbers.first().map(bits)
}
