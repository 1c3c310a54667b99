//! What a device asks with: a certificate request (PKCS#10, RFC 2986) that its own key signed.

use p256::ecdsa::signature::Verifier as _;
use x509_cert::der::asn1::{BitString, SetOfVec};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::encoding::{
    self, ECDSA_SHA256, Extensions, decoded, der, device_key, ed25519, key_info, refused, signed,
};
use super::error::{IdentityError, What};
use super::name::DeviceName;
use crate::device_key::{DeviceKey, DeviceSigner};
use crate::key::KeyError;
use crate::limits::EXTENSIONS_MAX;

/// A request whose signature was checked: who made it has the key. That it is the device of this
/// name, nobody has said yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    device: DeviceName,
    key: DeviceKey,
}

impl Request {
    /// A request in PEM or DER.
    ///
    /// # Errors
    /// If it is not well formed, names no device, or is not signed by the key that it is about.
    pub fn read(bytes: &[u8]) -> Result<Self, IdentityError> {
        let what = What::Request;
        let der = der(bytes, what)?.into_owned();
        let request: CertReq = decoded(&der, what)?;
        let device = DeviceName::of_subject(&request.info.subject, what)?;
        let key = device_key(&request.info.public_key)?;
        check_attributes(&request.info)?;
        check(&key, &request.algorithm, &signed(&request.info, what)?, &request.signature)?;
        Ok(Self { der, device, key })
    }

    /// Makes the request of a device with this key.
    ///
    /// # Errors
    /// If the key does not sign.
    pub fn make(device: &DeviceName, signer: &dyn DeviceSigner) -> Result<Self, IdentityError> {
        let key = signer.device_key();
        let info = CertReqInfo {
            version: Version::V1,
            // The fleet is the authority's to say.
            subject: device.subject_alone(),
            public_key: key_info(&key)?,
            attributes: SetOfVec::new(),
        };
        let message = signed(&info, What::Request)?;
        let signature = signer.sign_receipt(&message);
        let signature = signature.map_err(|why| IdentityError::Signer(KeyError::Command(why)))?;
        let bits = match &key {
            DeviceKey::Ed25519(_) => signature.to_vec(),
            DeviceKey::P256(_) => {
                let signature = p256::ecdsa::Signature::from_slice(&signature);
                let signature = signature.map_err(|_| KeyError::WrongSignature)?;
                signature.to_der().as_bytes().to_vec()
            }
        };
        let signature = BitString::from_bytes(&bits).expect("a signature is short");
        let request = CertReq { info, algorithm: algorithm(&key), signature };
        Self::read(&signed(&request, What::Request)?)
    }

    /// The device that it names.
    #[must_use]
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its bytes as text, as `openssl req` reads them.
    #[must_use]
    pub fn pem(&self) -> String {
        encoding::pem(&self.der, What::Request)
    }
}

/// Attributes ask for what the authority decides alone; they are only looked at for order.
fn check_attributes(info: &CertReqInfo) -> Result<(), IdentityError> {
    let what = What::Request;
    let wrong = |why: String| IdentityError::Encoding { what, why };
    let count = info.attributes.len();
    if count > EXTENSIONS_MAX {
        return Err(wrong(format!("{count} attributes, {EXTENSIONS_MAX} allowed")));
    }
    let attributes: Vec<_> = info.attributes.iter().collect();
    for (index, attribute) in attributes.iter().enumerate() {
        if attributes[..index].iter().any(|before| before.oid == attribute.oid) {
            return Err(wrong(format!("attribute {} is there twice", attribute.oid)));
        }
        if attribute.oid != ExtensionReq::OID {
            continue;
        }
        let value = attribute.values.iter().next().filter(|_| attribute.values.len() == 1);
        let value = value.and_then(|value| value.to_der().ok());
        let value = value.ok_or_else(|| wrong("extensions are not asked for once".into()))?;
        let asked = ExtensionReq::from_der(&value).map_err(|error| wrong(error.to_string()))?;
        drop(Extensions::new(&asked.0, what)?);
    }
    Ok(())
}

fn check(
    key: &DeviceKey,
    found: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &BitString,
) -> Result<(), IdentityError> {
    if *found != algorithm(key) {
        return Err(refused(found.oid));
    }
    let bits = signature.as_bytes().unwrap_or_default();
    let is_signed = match key {
        DeviceKey::Ed25519(key) => bits.try_into().is_ok_and(|bits| key.verifies(message, bits)),
        DeviceKey::P256(key) => p256::ecdsa::Signature::from_der(bits)
            .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
    };
    if is_signed { Ok(()) } else { Err(IdentityError::Signature(What::Request)) }
}

fn algorithm(key: &DeviceKey) -> AlgorithmIdentifierOwned {
    match key {
        DeviceKey::Ed25519(_) => ed25519(),
        DeviceKey::P256(_) => AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None },
    }
}
