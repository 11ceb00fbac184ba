//! TLS: the configuration of rustls, and which client certificates are accepted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use tokio_rustls::rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::settings::{ClientAuth, Tls, Version};

/// The extended key usages that fit a client: its own, and any.
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The contents of the files that a configuration names.
pub struct Pem {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    pub client_ca: Option<Vec<u8>>,
}

/// Makes a configuration for new connections.
///
/// # Errors
///
/// One line that names the key and the file.
pub fn server_config(tls: &Tls, pem: &Pem) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<&SupportedProtocolVersion> = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)]
        .into_iter()
        .filter(|(version, _)| (tls.min_version..=tls.max_version).contains(version))
        .map(|(_, version)| version)
        .collect();
    let chain = certificates(&pem.cert).map_err(|what| wrong("cert_file", &tls.cert_file, what))?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| wrong("key_file", &tls.key_file, key_error(&error)))?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match tls.client_auth {
        ClientAuth::NoClientCert => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(Arc::new(Verifier::new(tls, pem, &provider)?)),
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            wrong("key_file", &tls.key_file, format_args!("does not fit cert_file {}", tls.cert_file.display()))
        }
        Error::InvalidCertificate(_) => wrong("cert_file", &tls.cert_file, "contains a certificate that is not valid"),
        _ => wrong("key_file", &tls.key_file, "contains a key of a kind that is not supported"),
    });
    let mut config = config?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would skip the check of the client's certificate. Prometheus keeps its connection open anyway.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Why a handshake failed, in words for the log.
pub fn failure(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => match why.to_string().as_str() {
            "UnsupportedCertVersion" => "the client's certificate is of X.509 version 1, which is not supported: \
                                         sign it with extensions (openssl x509 -req -extfile FILE)"
                .to_owned(),
            why => format!("the client's certificate is not accepted: {why}"),
        },
        Some(Error::NoCertificatesPresented) => "the client sent no certificate".to_owned(),
        _ => error.to_string(),
    }
}

fn wrong(key: &str, file: &Path, what: impl std::fmt::Display) -> String {
    format!("tls_server_config.{key}: {} {what}", file.display())
}

/// Reads all certificates of a PEM file.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no PEM certificate (-----BEGIN CERTIFICATE-----)"),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("is not valid PEM"),
    }
}

fn key_error(error: &PemError) -> &'static str {
    match error {
        PemError::NoItemsFound => "holds no PEM private key (-----BEGIN PRIVATE KEY-----) without a passphrase",
        _ => "is not valid PEM",
    }
}

/// Decides which client certificates are accepted, as Go's crypto/tls and exporter-toolkit do.
#[derive(Debug)]
struct Verifier {
    mandatory: bool,
    /// Verifies the chain up to `client_ca_file`; absent if any certificate will do.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// What `client_ca_file` holds. A certificate that is listed there itself needs no chain.
    trusted: Vec<CertificateDer<'static>>,
    hints: Vec<DistinguishedName>,
    allowed_sans: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(tls: &Tls, pem: &Pem, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let mut trusted = Vec::new();
        if let (Some(file), Some(pem)) = (&tls.client_ca_file, &pem.client_ca) {
            trusted = certificates(pem).map_err(|what| wrong("client_ca_file", file, what))?;
            for certificate in &trusted {
                let added = roots.add(certificate.clone());
                added.map_err(|_| wrong("client_ca_file", file, "contains a certificate that is not valid"))?;
            }
        }
        let hints = roots.subjects();
        let chain = tls.client_auth.verifies().then(|| {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
            verifier.map_err(|error| format!("tls_server_config.client_ca_file: {error}"))
        });
        Ok(Self {
            mandatory: tls.requires_certificate(),
            chain: chain.transpose()?,
            trusted,
            hints,
            allowed_sans: tls.client_allowed_sans.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            if self.trusted.contains(end_entity) {
                verify_trusted(end_entity, now)?;
            } else {
                chain.verify_client_cert(end_entity, intermediates, now)?;
            }
        }
        if let Some(allowed) = &self.allowed_sans {
            let names = names(&parse(end_entity)?)?;
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(refused("none of its names is in client_allowed_sans"));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn refused(why: &'static str) -> Error {
    CertificateError::Other(OtherError(Arc::new(io::Error::other(why)))).into()
}

/// Checks what is left to check of a certificate that is trusted itself: webpki does not take a self-signed certificate that
/// is marked as an authority, as `openssl req -x509` makes it, for the certificate of a client.
fn verify_trusted(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = parse(certificate)?;
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let usages = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>();
    match usages.map_err(|_| Error::from(CertificateError::BadEncoding))? {
        Some((_, usages)) if !usages.0.iter().any(|usage| [CLIENT_AUTH, ANY_USAGE].contains(usage)) => {
            Err(CertificateError::InvalidPurpose.into())
        }
        _ => Ok(()),
    }
}

/// The subject alternative names of a certificate, as Go prints them.
fn names(certificate: &Certificate) -> Result<Vec<String>, Error> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
            Some(text.to_string())
        }
        GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
            4 => <[u8; 4]>::try_from(bytes.as_bytes()).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(bytes.as_bytes())
                .ok()
                .map(|octets| IpAddr::from(Ipv6Addr::from(octets)).to_canonical().to_string()),
        },
        _ => None,
    };
    Ok(names.map(|(_, names)| names.0.iter().filter_map(text).collect()).unwrap_or_default())
}
