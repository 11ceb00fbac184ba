//! TLS towards the bridge: which certificates are trusted, and the causes of TLS errors.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::{AlertDescription as Alert, CertificateError, InvalidMessage};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::error::{Cause, ScrapeError};
use crate::file;

/// How many names of a certificate an error quotes.
const MAX_NAMES: usize = 3;

/// Certificates that are trusted in addition to the public ones.
#[derive(Clone, Debug)]
pub struct Roots(Vec<Certificate<'static>>);

impl Roots {
    /// Reads a file of PEM certificates.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is larger than 4 MiB, or contains no certificate.
    pub fn read(path: &Path) -> Result<Self, String> {
        let pem = file::read(path)?;
        let mut roots = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|_| "is not valid PEM")? {
                roots.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err("has no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        Ok(Self(roots))
    }
}

/// Trusts the public roots and these. ureq takes both together only as full certificates.
pub(super) fn config(roots: Option<Roots>) -> TlsConfig {
    let public = TLS_SERVER_ROOT_CERTS.iter().map(|certificate| Certificate::from_der(certificate));
    let roots = roots.map(|Roots(roots)| roots).unwrap_or_default().into_iter().chain(public).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// What went wrong in TLS; `None` if the error is not one of TLS.
#[cold]
pub(super) fn error(error: &io::Error) -> Option<ScrapeError> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Invalid};
    Some(match error.get_ref()?.downcast_ref()? {
        Invalid(InvalidMessage::InvalidContentType) => Cause::NotTls.into(),
        // Java and Go say bad_certificate in TLS 1.2.
        AlertReceived(Alert::CertificateRequired | Alert::BadCertificate) => Cause::ClientCertificate.into(),
        AlertReceived(Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::ProtocolVersion) => {
            Cause::HandshakeRefused.into()
        }
        InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => Cause::UnknownIssuer.into(),
            // Either a trusted root has the name of the issuer but another key, or ring does not support the size of the key.
            CertificateError::BadSignature => Cause::BadSignature.into(),
            CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
                Cause::CertificateKind.with(algorithm(signature_algorithm_id))
            }
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Cause::CertificateKind.with("the key of its issuer")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired.into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Cause::NotYetValid.into(),
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => Cause::NoName.into(),
            CertificateError::NotValidForNameContext { presented, .. } => {
                let bare = |name: &String| name.replace("DnsName(\"", "").replace("\")", "");
                Cause::WrongName.with(presented.iter().take(MAX_NAMES).map(bare).collect::<Vec<_>>().join(", "))
            }
            CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
                Cause::AuthorityAsServer.into()
            }
            CertificateError::Other(error) if error.to_string() == "UnsupportedCertVersion" => {
                Cause::CertificateKind.with("it is not X.509 v3")
            }
            error => Cause::Handshake.with(error),
        },
        error => Cause::Handshake.with(error),
    })
}

/// DER object identifiers of signature algorithms that ring does not verify in certificates, and their names.
const ALGORITHMS: &[(&[u8], &str)] = &[
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04", "ECDSA and SHA-512"),
    (b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", "ECDSA and SHA-1"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "RSA and SHA-1"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "RSA-PSS"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "RSA and MD5"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
];

/// The signature algorithm of a certificate. Parameters may follow the identifier.
fn algorithm(identifier: &[u8]) -> String {
    let known = ALGORITHMS.iter().find(|(known, _)| identifier.starts_with(known));
    format!("it is signed with {}", known.map_or("an unusual algorithm", |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusts_the_public_roots_beside_those_of_the_file() {
        let own = Certificate::from_der(b"own").to_owned();
        let config = config(Some(Roots(vec![own])));
        let RootCerts::Specific(roots) = config.root_certs() else { panic!("{config:?}") };
        assert_eq!(roots.len(), 1 + TLS_SERVER_ROOT_CERTS.len());
        assert!(TLS_SERVER_ROOT_CERTS.len() > 100);
        let mut store = rustls::RootCertStore::empty();
        let (_, ignored) = store.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
        assert_eq!(ignored, 0);
    }
}
