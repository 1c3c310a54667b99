//! Who may speak to whom: mutual TLS 1.3 by the fleet's authority. A certificate admits to the
//! network; it makes nothing true.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use neap_depot::name::Device;
use neap_trust::device_key::{DeviceKey, DeviceSigner};
use neap_trust::identity::certificate::{Authority, Certificate};
use neap_trust::identity::crl::{Crl, Revocation};
use neap_trust::receipt::Receipt;
use neap_trust::time::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureAlgorithm,
    SignatureScheme,
};

use crate::receipts::{Bearer, Certificates, NotKept};
use crate::wire::ALPN;

/// What this node shows: its certificate and the signer of its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, in DER.
    pub certificate: Certificate,
    /// What signs for it: a file, a token, a TPM.
    pub signer: Arc<dyn DeviceSigner + Send + Sync>,
}

/// Whom this node admits.
pub struct Admission {
    authority: Authority,
    crl: Mutex<Option<Crl>>,
    /// Of all devices that were admitted, and those that we were given.
    certificates: Mutex<Certificates>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    refused: Box<dyn Fn(&Refused) + Send + Sync>,
    provider: Arc<CryptoProvider>,
}

/// Why a peer is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Its certificate is of no fleet that we know, or not of the shape that certificates have.
    Unknown(String),
    /// Its certificate has run out, or is not valid yet.
    Expired {
        /// The device.
        device: String,
        /// From when it is valid.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// The time that this was judged by.
        now: Timestamp,
    },
    /// Its certificate was revoked.
    Revoked {
        /// The device.
        device: String,
        /// When and why.
        revocation: Revocation,
    },
}

impl Admission {
    /// Admits devices of this fleet. `now` tells the known time; `refused` is told who was not
    /// admitted and why.
    #[must_use]
    pub fn new(
        authority: Authority,
        crl: Option<Crl>,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
        refused: Box<dyn Fn(&Refused) + Send + Sync>,
    ) -> Self {
        Self {
            authority,
            crl: Mutex::new(crl),
            certificates: Mutex::default(),
            now,
            refused,
            provider: Arc::new(provider()),
        }
    }

    /// Takes a newer list of revoked certificates; an older one is left.
    pub fn set_crl(&self, crl: Crl) {
        let mut kept = self.crl.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.number() < crl.number()) {
            *kept = Some(crl);
        }
    }

    /// The certificate in these bytes, if its device is admitted now.
    ///
    /// # Errors
    /// [`Refused`], which `refused` is told as well.
    pub fn admit(&self, der: &[u8]) -> Result<Certificate, Refused> {
        let certificate = self.judge(der).inspect_err(|refused| (self.refused)(refused))?;
        self.add(certificate.clone());
        Ok(certificate)
    }

    /// Takes a certificate of the authority that receipts are to be verified by, expired or not.
    pub fn add(&self, certificate: Certificate) {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).add(certificate);
    }

    /// Whether a receipt from this bearer is kept as that of a device with a number.
    ///
    /// # Errors
    /// [`NotKept`]: why it is not.
    pub fn receipt(
        &self,
        bytes: &[u8],
        (device, number): (&Device, u64),
        bearer: &Bearer<'_>,
    ) -> Result<(), NotKept> {
        let claimed = Receipt::claimed(bytes).map_err(NotKept::NoReceipt)?;
        if (claimed.device.as_str(), claimed.sequence) != (device.as_str(), number) {
            let (device, number) = (claimed.device, claimed.sequence);
            return Err(NotKept::Another { device, number });
        }
        let crl = self.crl.lock().unwrap_or_else(PoisonError::into_inner);
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.judge(bytes, bearer, crl.as_ref())
    }

    fn judge(&self, der: &[u8]) -> Result<Certificate, Refused> {
        let unknown =
            |error: neap_trust::identity::error::IdentityError| Refused::Unknown(error.to_string());
        let certificate = self.authority.certificate(der).map_err(unknown)?;
        let ((from, until), now) = (certificate.validity(), (self.now)());
        let device = certificate.device().to_string();
        if now < from || now > until {
            return Err(Refused::Expired { device, from, until, now });
        }
        let kept = self.crl.lock().unwrap_or_else(PoisonError::into_inner);
        let revocation = kept.as_ref().and_then(|crl| crl.revoked().get(certificate.number()));
        match revocation.copied() {
            Some(revocation) => Err(Refused::Revoked { device, revocation }),
            None => Ok(certificate),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }
}

/// TLS for connecting to peers.
///
/// # Errors
/// If the provider lacks what TLS 1.3 needs.
pub fn client(
    identity: &Identity,
    admission: &Arc<Admission>,
) -> Result<rustls::ClientConfig, Error> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&admission.provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    let verifier = Arc::new(Verifier(Arc::clone(admission)));
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_client_cert_resolver(Arc::new(Shown::new(identity)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session that is resumed would not look at the list of revoked certificates again.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// TLS for peers that connect.
///
/// # Errors
/// If the provider lacks what TLS 1.3 needs.
pub fn server(
    identity: &Identity,
    admission: &Arc<Admission>,
) -> Result<rustls::ServerConfig, Error> {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&admission.provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = builder.with_client_cert_verifier(Arc::new(Verifier(Arc::clone(admission))));
    let mut config = builder.with_cert_resolver(Arc::new(Shown::new(identity)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The cryptography: aws-lc-rs, which offers X25519MLKEM768 first, or ring without it.
fn provider() -> CryptoProvider {
    #[cfg(feature = "post-quantum")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "post-quantum"))]
    return rustls::crypto::ring::default_provider();
}

/// Judges certificates of both sides. Names in TLS do not matter: a peer is who its certificate
/// says, wherever it was reached.
#[derive(Debug)]
struct Verifier(Arc<Admission>);

fn of_refused(refused: Refused) -> Error {
    Error::InvalidCertificate(match refused {
        Refused::Unknown(_) => CertificateError::UnknownIssuer,
        Refused::Expired { .. } => CertificateError::Expired,
        Refused::Revoked { .. } => CertificateError::Revoked,
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.admit(certificate).map_err(of_refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.admit(certificate).map_err(of_refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// What keys of devices sign with.
const SCHEMES: [SignatureScheme; 2] =
    [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

/// Shows this node's certificate to whoever asks.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl Shown {
    fn new(identity: &Identity) -> Self {
        let certificate = CertificateDer::from(identity.certificate.der().to_vec());
        let key = Arc::new(Key(Arc::clone(&identity.signer)));
        Self(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl rustls::client::ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A device's key, wherever it is kept, as TLS asks for signatures.
#[derive(Clone)]
struct Key(Arc<dyn DeviceSigner + Send + Sync>);

impl Key {
    fn is_p256(&self) -> bool {
        matches!(self.0.device_key(), DeviceKey::P256(_))
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        if self.is_p256() { SignatureAlgorithm::ECDSA } else { SignatureAlgorithm::ED25519 }
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign_receipt(message).map_err(Error::General)?;
        if !self.is_p256() {
            return Ok(signature.to_vec());
        }
        let none = || Error::General("the device's signature is none of P-256".into());
        DeviceKey::p256_signature_der(&signature).ok_or_else(none)
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEMES[usize::from(self.is_p256())]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.device_key().kind())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.certificate.device())
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({})", self.authority.fleet().as_str())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "certificate of no device of this fleet: {why}"),
            Self::Expired { device, from, until, now } => {
                write!(f, "{device}: certificate valid from {from} until {until}, now is {now}")
            }
            Self::Revoked { device, revocation } => write!(
                f,
                "{device}: certificate revoked at {} ({})",
                revocation.at, revocation.reason
            ),
        }
    }
}

impl std::error::Error for Refused {}
