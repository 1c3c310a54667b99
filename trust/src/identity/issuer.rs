//! Makes certificates and lists. What is made is read back by the same rules as a stranger's
//! before it is handed out, and a signer is believed no more than its signatures.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, CrlBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::crl::RevokedCert;
use x509_cert::der::Encode;
use x509_cert::der::asn1::BitString;
use x509_cert::ext::pkix::{
    BasicConstraints, CrlNumber, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SubjectPublicKeyInfoRef,
};
use x509_cert::time::Validity;

use super::certificate::{
    Authority, Certificate, Number, PURPOSES, alternative, authority_id, key_id,
};
use super::crl::{Crl, Revocation};
use super::encoding::{decoded, ed25519, key_info, time};
use super::error::{IdentityError, What};
use super::name::{DeviceName, Fleet};
use super::request::Request;
use crate::device_key::DeviceKey;
use crate::key::{KeyError, PublicKey, Signer, sign_checked};
use crate::limits::{CRL_ENTRIES_MAX, VALIDITY_S_MIN};

/// An authority that can sign.
pub struct Issuer<'a> {
    authority: &'a Authority,
    signer: &'a dyn Signer,
}

/// From when until when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

impl std::fmt::Debug for Issuer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes the certificate of a new authority with this key.
    ///
    /// # Errors
    /// If the key does not sign, or it would not be valid for any time.
    pub fn make(
        signer: &dyn Signer,
        fleet: &Fleet,
        number: &Number,
        span: Span,
    ) -> Result<Self, IdentityError> {
        let key = DeviceKey::Ed25519(signer.public().clone());
        let profile = Profile {
            issuer: fleet.subject(),
            subject: fleet.subject(),
            authority: signer.public().clone(),
            key,
            of: Of::Authority,
        };
        Self::read(&certificate(profile, signer, number, span)?)
    }
}

impl<'a> Issuer<'a> {
    /// The authority with its key.
    ///
    /// # Errors
    /// If the key is another.
    pub fn new(authority: &'a Authority, signer: &'a dyn Signer) -> Result<Self, IdentityError> {
        match signer.public() == authority.key() {
            true => Ok(Self { authority, signer }),
            false => Err(IdentityError::OtherKey),
        }
    }

    /// Makes the certificate that a request asks for. Whether the device may have it is the
    /// ledger's to say.
    ///
    /// # Errors
    /// If the key does not sign, or it would outlive the authority.
    pub fn certificate(
        &self,
        request: &Request,
        number: &Number,
        span: Span,
    ) -> Result<Certificate, IdentityError> {
        let fleet = self.authority.fleet();
        let profile = Profile {
            issuer: fleet.subject(),
            subject: request.device().subject(fleet),
            authority: self.authority.key().clone(),
            key: request.key().clone(),
            of: Of::Device(request.device().clone(), fleet.clone()),
        };
        self.authority.certificate(&certificate(profile, self.signer, number, span)?)
    }

    /// Makes a list of these certificates.
    ///
    /// # Errors
    /// If the key does not sign, or there are too many.
    pub fn crl(
        &self,
        number: u64,
        span: Span,
        revoked: &BTreeMap<Number, Revocation>,
    ) -> Result<Crl, IdentityError> {
        if revoked.len() > CRL_ENTRIES_MAX {
            let why = format!("{} entries, {CRL_ENTRIES_MAX} allowed", revoked.len());
            return Err(IdentityError::Entries(why));
        }
        let issuer = decoded(self.authority.der(), What::Authority)?;
        let crl_number = CrlNumber::try_from(number).map_err(not_made)?;
        let builder = CrlBuilder::new_with_this_update(&issuer, crl_number, time(span.from)?);
        let mut builder = builder.map_err(not_made)?.with_next_update(Some(time(span.until)?));
        // An empty list is left out (RFC 5280, 5.1.2.6).
        if !revoked.is_empty() {
            let entries: Result<Vec<_>, _> = revoked.iter().map(entry).collect();
            builder = builder.with_certificates(entries?.into_iter());
        }
        self.authority.crl(&built(builder, self.signer)?)
    }
}

fn entry((number, revocation): (&Number, &Revocation)) -> Result<RevokedCert, IdentityError> {
    let reason = (&revocation.reason.code()).to_extension(&Name::default(), &[]);
    // Without a reason there is no such extension (RFC 5280, 5.3.1).
    let is_stated = revocation.reason != super::crl::Reason::Unspecified;
    Ok(RevokedCert {
        serial_number: number.serial(),
        revocation_date: time(revocation.at)?,
        crl_entry_extensions: match is_stated {
            true => Some(vec![reason.map_err(not_made)?]),
            false => None,
        },
    })
}

/// The bytes of a certificate.
fn certificate(
    profile: Profile,
    signer: &dyn Signer,
    number: &Number,
    span: Span,
) -> Result<Vec<u8>, IdentityError> {
    let seconds = span.until.as_second().saturating_sub(span.from.as_second());
    if seconds < VALIDITY_S_MIN {
        let why = format!("it would be valid for {seconds} s, {VALIDITY_S_MIN} s at the least");
        return Err(IdentityError::Validity(why));
    }
    let validity = Validity::new(time(span.from)?, time(span.until)?);
    let key = key_info(&profile.key)?;
    let builder = CertificateBuilder::new(profile, number.serial(), validity, key);
    built(builder.map_err(not_made)?, signer)
}

/// Signs and encodes.
fn built<B: Builder>(mut builder: B, signer: &dyn Signer) -> Result<Vec<u8>, IdentityError>
where
    B::Output: Encode,
{
    let adapter = Adapter::new(signer)?;
    let message = builder.finalize(&adapter).map_err(not_made)?;
    let signature = sign_checked(signer, &message)?;
    let signature = BitString::from_bytes(&signature).map_err(not_made)?;
    builder.assemble(signature, &adapter).map_err(not_made)?.to_der().map_err(not_made)
}

fn not_made(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Encoding { what: What::Certificate, why: format!("not made: {error}") }
}

/// Any signer of ours, as the builders want it: they ask for its key alone.
struct Adapter(VerifyingKey);

impl Adapter {
    fn new(signer: &dyn Signer) -> Result<Self, IdentityError> {
        let key = VerifyingKey::from_bytes(signer.public().bytes());
        Ok(Self(key.map_err(|error| KeyError::NotAKey(error.to_string()))?))
    }
}

impl ed25519_dalek::ed25519::signature::Keypair for Adapter {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        self.0
    }
}

impl DynSignatureAlgorithmIdentifier for Adapter {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(ed25519())
    }
}

/// What a certificate says.
struct Profile {
    issuer: Name,
    subject: Name,
    authority: PublicKey,
    key: DeviceKey,
    of: Of,
}

enum Of {
    Authority,
    Device(DeviceName, Fleet),
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        let (is_authority, usage) = match &self.of {
            Of::Authority => (true, KeyUsages::KeyCertSign | KeyUsages::CRLSign),
            Of::Device(..) => (false, KeyUsages::DigitalSignature.into()),
        };
        let path_len_constraint = is_authority.then_some(0);
        let constraints = BasicConstraints { ca: is_authority, path_len_constraint };
        let mut extensions = vec![
            (&constraints).to_extension(subject, &[])?,
            (&KeyUsage(usage)).to_extension(subject, &[])?,
            (&SubjectKeyIdentifier(key_id(&self.key))).to_extension(subject, &[])?,
            (&authority_id(&self.authority)).to_extension(subject, &[])?,
        ];
        if let Of::Device(device, fleet) = &self.of {
            let purposes = ExtendedKeyUsage(PURPOSES.to_vec());
            extensions.push((&purposes).to_extension(subject, &[])?);
            extensions.push((&alternative(device, fleet)).to_extension(subject, &[])?);
        }
        Ok(extensions)
    }
}
