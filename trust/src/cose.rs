//! COSE_Sign1 messages (RFC 9052) as receipts and approvals are: one spelling of the header, no
//! unprotected fields, Ed25519 or P-256.

use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};

use crate::device_key::{DeviceKey, DeviceSigner};

/// Why bytes are no message of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No COSE_Sign1 with tag 18, or with bytes behind it.
    NotCose,
    /// Signed by an algorithm that is not the key's, or with header fields that are not expected.
    Header,
    /// Signed by the key of this id.
    OtherKey(Vec<u8>),
    /// Not signed by the key that it names.
    Signature,
}

/// A payload of this type, signed.
///
/// # Errors
/// If the signer does not sign.
pub(crate) fn seal(
    payload: Vec<u8>,
    content_type: &str,
    signer: &dyn DeviceSigner,
) -> Result<Vec<u8>, String> {
    let key = signer.device_key();
    let header = HeaderBuilder::new()
        .algorithm(algorithm(&key))
        .content_type(content_type.to_owned())
        .key_id(key.id().to_vec())
        .build();
    let message = CoseSign1Builder::new()
        .protected(header)
        .payload(payload)
        .try_create_signature(&[], |bytes| signer.sign_receipt(bytes).map(|s| s.to_vec()))?
        .build();
    message.to_tagged_vec().map_err(|error| error.to_string())
}

/// A message that nobody verified.
pub(crate) fn message(bytes: &[u8]) -> Result<CoseSign1, Fault> {
    CoseSign1::from_tagged_slice(bytes).map_err(|_| Fault::NotCose)
}

/// The payload of a message of this type that `key` signed.
pub(crate) fn open(bytes: &[u8], content_type: &str, key: &DeviceKey) -> Result<Vec<u8>, Fault> {
    let message = message(bytes)?;
    let header = &message.protected.header;
    let is_of = header.alg == Some(coset::RegisteredLabelWithPrivate::Assigned(algorithm(key)));
    let is_named = header.content_type == Some(coset::ContentType::Text(content_type.into()));
    if header.key_id != key.id() {
        return Err(Fault::OtherKey(header.key_id.clone()));
    }
    if !is_named || !is_of || !message.unprotected.is_empty() || !header.crit.is_empty() {
        return Err(Fault::Header);
    }
    let signed = message.verify_signature(&[], |signature, signed| {
        let signature = signature.try_into().map_err(|_| ())?;
        if key.verifies(signed, signature) { Ok(()) } else { Err(()) }
    });
    signed.map_err(|()| Fault::Signature)?;
    Ok(message.payload.unwrap_or_default())
}

fn algorithm(key: &DeviceKey) -> iana::Algorithm {
    match key {
        DeviceKey::Ed25519(_) => iana::Algorithm::EdDSA,
        DeviceKey::P256(_) => iana::Algorithm::ES256,
    }
}
