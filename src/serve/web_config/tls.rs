//! TLS: the configuration of rustls, and which client certificates are accepted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
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
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, OtherError,
    SignatureScheme,
};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::kinds;
use super::settings::{ClientAuth, Tls, Version};

/// The extended key usages that a client certificate may have.
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The sizes of RSA keys whose signatures can be verified, in bits.
const RSA_BITS: RangeInclusive<u32> = 2048..=8192;

/// For certificates of version 1, which older releases of `openssl x509 -req` make unless they are given extensions.
const VERSION_1: &str =
    "of X.509 version 1, which is not supported: sign it with extensions (openssl x509 -req -extfile FILE)";

/// The supported curves of the key exchange, by their names in Go.
const CURVES: [(&str, NamedGroup); 3] =
    [("X25519", NamedGroup::X25519), ("CurveP256", NamedGroup::secp256r1), ("CurveP384", NamedGroup::secp384r1)];

/// The contents of the files that a configuration names.
pub struct Pem {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    pub client_ca: Option<Vec<u8>>,
}

/// Makes a configuration for new connections. Settings that are not supported are left out and named in `notes`.
///
/// # Errors
///
/// One line that names the key and the file.
pub fn server_config(tls: &Tls, pem: &Pem, notes: &mut Vec<String>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(provider(tls, notes)?);
    let versions: Vec<&SupportedProtocolVersion> = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)]
        .into_iter()
        .filter(|(version, _)| (tls.min_version..=tls.max_version).contains(version))
        .map(|(_, version)| version)
        .collect();
    let chain = certificates(&pem.cert).map_err(|what| wrong("cert_file", &tls.cert_file, what))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key);
    let key = key.map_err(|error| wrong("key_file", &tls.key_file, key_error(&error, &pem.key)))?;
    let unsupported = kinds::complaint(&key);

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
        Error::InvalidCertificate(CertificateError::Other(why)) if why.to_string() == "UnsupportedCertVersion" => {
            wrong("cert_file", &tls.cert_file, format_args!("contains a certificate {VERSION_1}"))
        }
        Error::InvalidCertificate(_) => wrong("cert_file", &tls.cert_file, "contains a certificate that is not valid"),
        _ => wrong("key_file", &tls.key_file, unsupported),
    });
    let mut config = config?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No session resumption: it would skip the check of the client's certificate. Prometheus keeps its connection open anyway.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A provider limited to the cipher suites and curves of the configuration.
fn provider(tls: &Tls, notes: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &tls.cipher_suites {
        let suites = provider.cipher_suites.iter().map(|suite| (cipher_name(suite), *suite));
        let named = supported("cipher_suites", wanted, suites, notes)?;
        // As in Go, the suites of TLS 1.3 are always offered.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || named.contains(suite));
        if tls.max_version == Version::Tls12 && named.iter().all(|suite| suite.tls13().is_some()) {
            return Err(
                "tls_server_config.cipher_suites names no suite of TLS 1.2, and max_version is TLS12".to_owned()
            );
        }
    }
    if let Some(wanted) = &tls.curve_preferences {
        let groups = CURVES.iter().filter_map(|(name, group)| {
            let group = provider.kx_groups.iter().find(|supported| supported.name() == *group)?;
            Some(((*name).to_owned(), *group))
        });
        provider.kx_groups = supported("curve_preferences", wanted, groups, notes)?;
    }
    Ok(provider)
}

/// The name of a cipher suite in Go, which is the name in the RFC.
fn cipher_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

/// Those of the wanted items that are supported, in the wanted order. Names the others in `notes`.
fn supported<T: Copy>(
    key: &str,
    wanted: &[String],
    there: impl Iterator<Item = (String, T)>,
    notes: &mut Vec<String>,
) -> Result<Vec<T>, String> {
    let there: Vec<_> = there.collect();
    let of = |name: &String| there.iter().find(|(own, _)| own == name).map(|(_, item)| *item);
    let found: Vec<_> = wanted.iter().filter_map(of).collect();
    if found.is_empty() {
        let names: Vec<_> = there.iter().map(|(name, _)| &**name).collect();
        return Err(format!("tls_server_config.{key} names none that is supported: {}", names.join(", ")));
    }
    let missing: Vec<_> = wanted.iter().filter(|name| of(name).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        notes.push(format!("tls_server_config.{key}: not supported and left out: {}", missing.join(", ")));
    }
    Ok(found)
}

/// Why a handshake failed, in words for the log.
pub fn failure(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(error)) => match certificate_error(error) {
            Ok(what) => format!("the client's certificate is {what}"),
            Err(why) => format!("the client's certificate is not accepted: {why}"),
        },
        Some(Error::NoCertificatesPresented) => {
            "the client sent no certificate, or has none of a kind that is supported (RSA, P-256, P-384, Ed25519)"
                .to_owned()
        }
        Some(Error::PeerIncompatible(why)) => {
            format!("the client supports no version, cipher suite, curve or signature that is on offer ({why:?})")
        }
        Some(Error::AlertReceived(alert)) => {
            let what = match alert {
                AlertDescription::UnknownCA => "the client does not trust the certificate in cert_file",
                AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate => {
                    "the client does not trust the certificate in cert_file, or it is for another name"
                }
                AlertDescription::CertificateExpired => "to the client, the certificate in cert_file is not valid now",
                _ => "the client gave up",
            };
            format!("{what} (alert {})", spelled(*alert))
        }
        _ => error.to_string(),
    }
}

/// The name of an alert in RFC 8446: `UnknownCA` is `unknown_ca`.
fn spelled(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut after_capital = true;
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && !after_capital {
            name.push('_');
        }
        after_capital = c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Describes an error about a client's certificate: `Ok` continues "the certificate is ...", `Err` is the reason of the rejection.
fn certificate_error(error: &CertificateError) -> Result<&'static str, String> {
    Err(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "no authority in client_ca_file has signed it".to_owned(),
        CertificateError::BadSignature => "it is not signed with the key of its issuer".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not include clients".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            format!("a signature of this kind is not supported: {}", kinds::algorithm(signature_algorithm_id))
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => {
            let [key, signature] = [public_key_algorithm_id, signature_algorithm_id].map(|id| kinds::algorithm(id));
            format!("a key of this kind is not supported with this signature: {key}, {signature}")
        }
        CertificateError::Other(OtherError(why)) => match why.to_string().as_str() {
            "UnsupportedCertVersion" => return Ok(VERSION_1),
            "CaUsedAsEndEntity" => "it is marked as one of an authority, and not in client_ca_file".to_owned(),
            why => why.to_owned(),
        },
        error => error.to_string(),
    })
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

fn key_error(error: &PemError, pem: &[u8]) -> &'static str {
    // Both the old format and PKCS #8 contain this word.
    if pem.windows(b"ENCRYPTED".len()).any(|word| word == b"ENCRYPTED") {
        return "holds a private key with a passphrase, which is not supported (openssl pkey -in FILE removes it)";
    }
    match error {
        PemError::NoItemsFound => "holds no PEM private key (-----BEGIN PRIVATE KEY-----)",
        _ => "is not valid PEM",
    }
}

/// Decides which client certificates are accepted, as Go's crypto/tls and exporter-toolkit do.
#[derive(Debug)]
struct Verifier {
    mandatory: bool,
    /// Verifies the chain up to `client_ca_file`. Absent if any certificate is accepted.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// The certificates in `client_ca_file`. A client certificate that is itself in this file needs no chain.
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
                let verified = chain.verify_client_cert(end_entity, intermediates, now);
                verified.map_err(|error| explain(error, &mut intermediates.iter().chain(&self.trusted)))?;
            }
        }
        if let Some(allowed) = &self.allowed_sans {
            let names = names(&parse(end_entity)?)?;
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(refused("none of its names is in client_allowed_sans".to_owned()));
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
            .map_err(|error| explain(error, &mut [cert].into_iter()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
            .map_err(|error| explain(error, &mut [cert].into_iter()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

/// Names the size of an RSA key that is out of range, for which ring reports only a bad signature.
fn explain<'a>(error: Error, signers: &mut dyn Iterator<Item = &'a CertificateDer<'a>>) -> Error {
    if error != Error::InvalidCertificate(CertificateError::BadSignature) {
        return error;
    }
    let mut sizes = signers.filter_map(|signer| kinds::rsa_bits(&Certificate::from_der(signer).ok()?));
    match sizes.find(|bits| !RSA_BITS.contains(bits)) {
        Some(bits) => refused(format!(
            "an RSA key of this size is not supported: {bits} bits ({} to {} are)",
            RSA_BITS.start(),
            RSA_BITS.end()
        )),
        None => error,
    }
}

fn refused(why: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(io::Error::other(why)))).into()
}

/// Checks a certificate that is itself in `client_ca_file`. webpki cannot: it rejects a client certificate that is self-signed and
/// marked as an authority, which `openssl req -x509` makes.
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
