//! Whose key a receipt is verified with: one that was given, or that of the certificate which the
//! fleet's authority issued to the device.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use neap_trust::device_key::DeviceKey;
use neap_trust::identity::standing::{self, Standing, Within};
use neap_trust::identity::{Authority, Certificate, Crl, What};
use neap_trust::receipt::{Receipt, ReceiptError, Verified};
use neap_trust::repo::changes::plain;
use serde_json::{Value, json};

use super::{Select, limited, now};
use crate::ca;
use crate::exit::Exit;
use crate::failure::Failure;

/// Longest file of a device's public key.
const KEY_LEN_MAX: u64 = 16 << 10;
/// Most certificates that are read: all that an authority may have issued.
const CERTIFICATES_MAX: usize = neap_trust::limits::ISSUED_MAX;

/// Where keys are.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("by").required(true))]
pub(crate) struct By {
    /// The device's public key, in PEM
    #[arg(long, value_name = "FILE", group = "by")]
    key: Option<PathBuf>,
    /// The certificate of the fleet's authority
    #[arg(long, value_name = "FILE", group = "by", requires = "certificate")]
    ca: Option<PathBuf>,
    /// The device's certificate, or a folder with certificates of devices
    #[arg(long, value_name = "PATH", requires = "ca")]
    certificate: Option<PathBuf>,
    /// The fleet's newest list of revoked certificates
    #[arg(long, value_name = "FILE", requires = "ca")]
    crl: Option<PathBuf>,
}

/// The keys themselves.
pub(crate) enum Keys {
    One(DeviceKey),
    /// Certificates by the id of their key.
    Certified {
        certificates: HashMap<Vec<u8>, Certificate>,
        crl: Option<Crl>,
    },
}

/// What a receipt is worth by its certificate.
#[derive(Debug)]
pub(crate) struct Worth {
    sequence: u64,
    number: String,
    standing: Standing,
    /// When the list that was asked runs out, if one was.
    list_until: Option<neap_trust::time::Timestamp>,
}

impl By {
    pub(crate) fn open(&self) -> Result<Keys, Failure> {
        let (Some(ca), Some(path)) = (&self.ca, &self.certificate) else {
            let path = self.key.as_deref().unwrap_or(Path::new(""));
            return Ok(Keys::One(device_key(path)?));
        };
        let authority = ca::authority(ca)?;
        let crl = self.crl.as_ref().map(|path| ca::list_of(path, &authority)).transpose()?;
        let mut certificates = HashMap::new();
        for certificate in certificates_at(path, &authority)? {
            let id = certificate.key().id().to_vec();
            // Of two for one key, that which was revoked first: the key counts no longer. Else the
            // one that is valid for longer says the same and more.
            let since = |certificate: &Certificate| {
                let revoked = crl.as_ref()?.revoked().get(certificate.number());
                revoked.map(|revocation| revocation.at)
            };
            let until = |certificate: &Certificate| certificate.validity().1;
            let comes_first = |before: &Certificate| match (since(&certificate), since(before)) {
                (None, None) => until(&certificate) > until(before),
                (Some(at), Some(before)) => at < before,
                (revoked, _) => revoked.is_some(),
            };
            if certificates.get(&id).is_none_or(comes_first) {
                certificates.insert(id, certificate);
            }
        }
        Ok(Keys::Certified { certificates, crl })
    }
}

impl Keys {
    /// Verifies one receipt.
    pub(crate) fn verify(
        &self,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(Verified, Option<Worth>), Failure> {
        let refused = |why: &dyn std::fmt::Display, next: &str| {
            Failure::new(Exit::Refused, plain(&format!("{}: {why}", path.display())), next)
        };
        let of_receipt =
            |error: ReceiptError| refused(&error, "check that the key is that of this device");
        let (certificates, crl) = match self {
            Self::One(key) => {
                return Ok((Receipt::verify(bytes, key).map_err(of_receipt)?, None));
            }
            Self::Certified { certificates, crl } => (certificates, crl.as_ref()),
        };
        let id = Receipt::key_id(bytes).map_err(of_receipt)?;
        let Some(certificate) = certificates.get(&id) else {
            let id: String = id.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            let why = format!("no certificate is for the key {id} that signed it");
            return Err(refused(&why, "add the certificate that the device had then"));
        };
        let (verified, standing) = standing::verify(bytes, certificate, crl).map_err(|error| {
            refused(&error, "whoever has the key of a revoked certificate may have made it")
        })?;
        let worth = Worth {
            sequence: verified.receipt.sequence,
            number: certificate.number().to_string(),
            standing,
            list_until: crl.map(Crl::next_update),
        };
        Ok((verified, Some(worth)))
    }
}

/// What people should know of these receipts beside that they are good.
pub(super) fn told(args: &Select, worths: &[Worth]) -> String {
    let mut text = String::new();
    if args.by.ca.is_some() && args.by.crl.is_none() {
        text += "note: no --crl was given, so whether a certificate was revoked is not known\n";
    }
    if worths.first().and_then(|worth| worth.list_until).is_some_and(|until| until < now()) {
        text += "note: a newer list of revoked certificates is due\n";
    }
    for worth in worths {
        let Worth { sequence, number, standing, .. } = worth;
        if standing.within != Within::Valid {
            text += &format!("note: receipt {sequence} is from {}\n", standing.within);
        }
        if let Some(why) = standing.revoked_since {
            text += &format!(
                "note: receipt {sequence} is from before {number} was revoked at {} ({})\n",
                why.at, why.reason
            );
        }
    }
    text
}

/// The same for programs; nothing where no certificates were given.
pub(super) fn fields(args: &Select, worths: &[Worth]) -> Value {
    if args.by.ca.is_none() {
        return Value::Null;
    }
    let list = worths.iter().map(|worth| {
        json!({
            "sequence": worth.sequence,
            "certificate": worth.number,
            "within": match worth.standing.within {
                Within::Before => "before",
                Within::Valid => "valid",
                Within::After => "after",
            },
            "revoked_since": worth.standing.revoked_since,
            "revocation_checked": worth.list_until.is_some(),
        })
    });
    list.collect()
}

/// The certificates of an authority in a file or folder.
pub(crate) fn certificates_at(
    path: &Path,
    authority: &Authority,
) -> Result<Vec<Certificate>, Failure> {
    let read = |path: PathBuf| {
        let bytes = ca::limited(&path, What::Certificate.file_len_max())?;
        let certificate = authority.certificate(&bytes);
        certificate.map_err(|error| ca::of_identity(&path, error))
    };
    below(path)?.into_iter().map(read).collect()
}

/// The file itself, or the certificates in a folder.
fn below(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::open("certificate", path, &error);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)?.take(2 * CERTIFICATES_MAX) {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !hidden && path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    match paths.len() {
        1..=CERTIFICATES_MAX => Ok(paths),
        count => Err(Failure::new(
            Exit::Error,
            format!("{}: {count} certificates, 1 to {CERTIFICATES_MAX} expected", path.display()),
            "name a certificate, or a folder with files that end in .pem",
        )),
    }
}

fn device_key(path: &Path) -> Result<DeviceKey, Failure> {
    let bytes =
        limited(path, KEY_LEN_MAX).map_err(|error| Failure::open("device key", path, &error))?;
    DeviceKey::from_pem(&String::from_utf8_lossy(&bytes)).ok_or_else(|| {
        let error = format!("{}: no public key of Ed25519 or P-256 in PEM", path.display());
        Failure::new(Exit::Error, error, "give the device's public key, or --ca and --certificate")
    })
}
