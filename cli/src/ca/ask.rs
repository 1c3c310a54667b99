//! The verbs that need no key of the authority: a device's request, who is allowed in advance, and
//! which requests are dropped.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use neap_trust::device_key::file::DeviceFileKey;
use neap_trust::device_key::{DeviceSigner, OfSigner};
use neap_trust::identity::ledger::{Allowed, KeyDigest};
use neap_trust::identity::{self, DeviceName};
use neap_trust::key::key_file;
use neap_trust::limits::ALLOWED_MAX;
use serde_json::json;

use super::folder::{Opened, limited, of_identity, of_io, whole};
use super::{Allow, Reject, Request};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyring::{self, of_key};
use crate::outcome::Outcome;
use crate::secret::Secrets;

/// Longest list of devices: a name, a digest and an end of line for each.
const LIST_LEN_MAX: u64 = ALLOWED_MAX as u64 * 130;

pub(super) fn request(args: &Request) -> Result<Outcome, Failure> {
    if args.output.exists() {
        return Err(of_io(&args.output, &io::ErrorKind::AlreadyExists.into()));
    }
    let key = match (&args.key, &args.new_key) {
        (Some(name), _) => device_key(name, &args.secrets)?,
        (None, Some(path)) => Box::new(new_key(path, args)?),
        (None, None) => unreachable!("clap asks for a key"),
    };
    let request = identity::Request::make(&args.device, &*key);
    let request = request.map_err(|error| of_identity(&args.output, error))?;
    let written = whole(&args.output, request.pem().as_bytes(), 0o644);
    written.map_err(|error| of_io(&args.output, &error))?;
    let (digest, kind) = (KeyDigest::of(request.key()), request.key().kind());
    let output = args.output.display().to_string();
    let text = format!(
        "device   {}\nkey      {kind}\ndigest   {digest}\nwrote    {output}\nNext, at the \
         authority: neap ca issue DIR {output} --key KEY\n",
        args.device
    );
    let json = json!({
        "schema": "neap.ca-request.v1",
        "device": args.device,
        "key": digest,
        "kind": kind,
        "request": output,
    });
    Ok(Outcome { text, json })
}

fn new_key(path: &Path, args: &Request) -> Result<DeviceFileKey, Failure> {
    let failed = |error| of_key(&path.display().to_string(), error);
    let key = DeviceFileKey::generate(args.kind.into()).map_err(failed)?;
    key_file::write_private(path, &key.pem()).map_err(failed)?;
    Ok(key)
}

/// A device's key: a file that is not sealed, or any key of the command line.
pub(crate) fn device_key(name: &str, secrets: &Secrets) -> Result<Box<dyn DeviceSigner>, Failure> {
    let path = Path::new(name);
    if path.is_file() {
        let text = key_file::read_secret(path).map_err(|error| of_key(name, error))?;
        match DeviceFileKey::from_pem(&text) {
            Ok(key) => return Ok(Box::new(key)),
            // A sealed one is asked about below.
            Err(_) if text.contains("ENCRYPTED PRIVATE KEY") => {}
            Err(error) => return Err(of_key(name, error)),
        }
    }
    Ok(Box::new(Owned(keyring::signer(name, secrets)?)))
}

/// A signer of the command line, as that of a device.
struct Owned(Box<dyn neap_trust::key::Signer>);

impl DeviceSigner for Owned {
    fn device_key(&self) -> neap_trust::device_key::DeviceKey {
        OfSigner(&*self.0).device_key()
    }

    fn sign_receipt(&self, message: &[u8]) -> Result<[u8; 64], String> {
        OfSigner(&*self.0).sign_receipt(message)
    }
}

pub(super) fn allow(args: &Allow) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let devices = match (&args.device, &args.list) {
        (Some(device), _) => vec![Allowed { device: device.clone(), key: args.digest.clone() }],
        (None, Some(path)) => listed(path)?,
        (None, None) => unreachable!("clap asks for a device or a list"),
    };
    let (mut changed, mut known) = (0, Vec::new());
    for allowed in devices {
        // A list is given again when it grew: whoever had a certificate, and may have lost it to
        // a thief, is not allowed by that.
        let has = |device: &DeviceName| {
            opened.ledger.issued().iter().any(|issued| issued.device == *device)
        };
        if args.list.is_some() && !args.remove && has(&allowed.device) {
            known.push(allowed.device.to_string());
            continue;
        }
        let done = match args.remove {
            true => opened.ledger.disallow(&allowed.device),
            false => opened.ledger.allow(allowed),
        };
        match done {
            Ok(()) => changed += 1,
            // Lines of a list that are there already are no news.
            Err(neap_trust::identity::ledger::Denied::Already(_)) if args.list.is_some() => {}
            Err(denied) => return Err(opened.folder.failure(denied.into())),
        }
    }
    if changed > 0 {
        opened.folder.save(&opened.ledger, &[], None)?;
    }
    let count = opened.ledger.allowed().len();
    let mut text = format!("changed  {changed}\nallowed  {count}\n");
    if !known.is_empty() {
        text += &format!(
            "left out {} that had certificates before: neap ca allow DIR DEVICE, for each\n",
            known.len()
        );
    }
    let json = json!({
        "schema": "neap.ca-allowed.v1",
        "changed": changed,
        "allowed": count,
        "left_out": known,
    });
    Ok(Outcome { text, json })
}

/// Devices of a list, a line for each: the name, and the digest of the key if it is known.
fn listed(path: &Path) -> Result<Vec<Allowed>, Failure> {
    let bytes = limited(path, LIST_LEN_MAX)?;
    let wrong = |why: String| {
        let next = "each line has a device, and after a space the digest of its key or nothing";
        let error = neap_trust::repo::changes::plain(&format!("{}: {why}", path.display()));
        Failure::new(Exit::Error, error, next)
    };
    if bytes.len() as u64 > LIST_LEN_MAX {
        return Err(wrong(format!("longer than {LIST_LEN_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("no text".into()))?;
    let (mut devices, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, line) in text.lines().enumerate() {
        let at = |why: &dyn std::fmt::Display| wrong(format!("line {}: {why}", index + 1));
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(device) = words.next() else { continue };
        let device = DeviceName::new(device).map_err(|error| at(&error))?;
        let key = words.next().map(str::parse::<KeyDigest>).transpose();
        let key = key.map_err(|error| at(&error))?;
        if words.next().is_some() {
            return Err(at(&"more than two words"));
        }
        if !seen.insert(device.clone()) {
            return Err(at(&format!("{device} is there twice")));
        }
        devices.push(Allowed { device, key });
    }
    Ok(devices)
}

pub(super) fn reject(args: &Reject) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let waiting = opened.ledger.asked(&args.which);
    let waiting = waiting.map_err(|denied| opened.folder.failure(denied.into()))?.clone();
    opened.ledger.drop_waiting(&waiting.key, &waiting.device);
    opened.folder.save(&opened.ledger, &[], None)?;
    let text = format!("dropped  {}, key {}\n", waiting.device, waiting.key);
    let json = json!({
        "schema": "neap.ca-rejected.v1", "device": waiting.device, "key": waiting.key,
    });
    Ok(Outcome { text, json })
}
