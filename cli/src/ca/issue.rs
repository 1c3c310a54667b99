//! The verbs that issue certificates.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use neap_trust::identity::issuer::{Issuer, Span};
use neap_trust::identity::ledger::{Decision, Issued, KeyDigest, Leave, Waiting};
use neap_trust::identity::{self, Certificate, IdentityError, Number, What};
use serde_json::{Value, json};

use super::folder::{Opened, limited, now, of_identity, of_io};
use super::revoke::lasts;
use super::{Accept, Issue, NewList, Signing};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyring;
use crate::outcome::Outcome;
use crate::repo::expiry::Until;

/// How long a certificate is valid unless it is said: three years.
const VALID_S: i64 = 3 * 365 * 86_400;
/// How long before its issue a certificate is valid: clocks of devices lag.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);
/// When the next list is due at the latest, where one is made along the way.
const NEXT_S: i64 = 90 * 86_400;
/// Longest answer to a question, in bytes.
const ANSWER_LEN_MAX: u64 = 64;

/// What became of a request.
struct Done {
    device: String,
    key: String,
    became: Became,
}

enum Became {
    Issued(Box<Certificate>),
    /// It was issued before; whether its file is to be written again is not asked.
    Had(Box<Certificate>),
    Waits,
    Refused(Failure),
}

pub(super) fn issue(args: &Issue) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let signer = keyring::signer(&args.signing.key, &args.signing.secrets)?;
    let authority = opened.authority.clone();
    let issuer = Issuer::new(&authority, &*signer);
    let issuer = issuer.map_err(|error| opened.folder.failure(error))?;
    let now = now();
    let leave = Leave { accepted: false, replace: args.signing.replace, renew: args.renew };
    let (mut done, mut revoked) = (Vec::new(), false);
    for path in &args.requests {
        let request = read(path);
        let (device, key) = match &request {
            Ok(request) => (request.device().to_string(), KeyDigest::of(request.key()).to_string()),
            Err(_) => (String::new(), String::new()),
        };
        let became = request.and_then(|request| {
            let became = met(&mut opened, &issuer, &request, leave, &args.signing, now);
            became.map_err(|error| of_identity(path, error))
        });
        let became = match became {
            Ok((became, numbers)) => {
                revoked |= !numbers.is_empty();
                became
            }
            Err(failure) => Became::Refused(failure),
        };
        done.push(Done { device, key, became });
    }
    finish(opened, &issuer, &args.signing, done, revoked, now)
}

pub(super) fn accept(args: &Accept) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let waiting = opened.ledger.asked(&args.which);
    let waiting = waiting.map_err(|denied| opened.folder.failure(denied.into()))?.clone();
    let request = identity::Request::read(waiting.request.as_bytes());
    let request = request.map_err(|error| opened.folder.failure(error))?;
    let now = now();
    // Decided before anybody is asked: what cannot be accepted is not shown as if it could.
    let leave = Leave { accepted: true, replace: args.signing.replace, renew: false };
    let decided = opened.ledger.decide(&request, leave, now);
    decided.map_err(|denied| opened.folder.failure(denied.into()))?;
    if !(args.yes && args.signing.common.quiet) {
        let text = shown(&waiting, &request, opened.ledger.issued());
        let told = std::io::stderr().write_all(text.as_bytes());
        told.map_err(|error| of_io(Path::new("standard error"), &error))?;
    }
    if !args.yes {
        agreed(waiting.device.as_str())?;
    }
    let signer = keyring::signer(&args.signing.key, &args.signing.secrets)?;
    let authority = opened.authority.clone();
    let issuer = Issuer::new(&authority, &*signer);
    let issuer = issuer.map_err(|error| opened.folder.failure(error))?;
    let met = met(&mut opened, &issuer, &request, leave, &args.signing, now);
    let (became, revoked) = met.map_err(|error| opened.folder.failure(error))?;
    let (device, key) = (waiting.device.to_string(), waiting.key.to_string());
    let done = Done { device, key, became };
    finish(opened, &issuer, &args.signing, vec![done], !revoked.is_empty(), now)
}

fn read(path: &Path) -> Result<identity::Request, Failure> {
    let bytes = limited(path, What::Request.file_len_max())?;
    identity::Request::read(&bytes).map_err(|error| of_identity(path, error))
}

/// Meets a request in the ledger; nothing is written yet.
fn met(
    opened: &mut Opened,
    issuer: &Issuer<'_>,
    request: &identity::Request,
    leave: Leave,
    signing: &Signing,
    now: Timestamp,
) -> Result<(Became, Vec<Number>), IdentityError> {
    match opened.ledger.decide(request, leave, now)? {
        Decision::Has(issued) => {
            let certificate = opened.authority.certificate(issued.certificate.as_bytes())?;
            Ok((Became::Had(Box::new(certificate)), Vec::new()))
        }
        Decision::Wait => {
            opened.ledger.wait(request, now)?;
            Ok((Became::Waits, Vec::new()))
        }
        Decision::Issue => {
            let span = span(opened, signing.expires, now)?;
            let certificate = issuer.certificate(request, &Number::generate()?, span)?;
            let revoked = opened.ledger.record(&certificate, now)?;
            Ok((Became::Issued(Box::new(certificate)), revoked))
        }
    }
}

/// From when until when a certificate is valid.
fn span(opened: &Opened, until: Option<Until>, now: Timestamp) -> Result<Span, IdentityError> {
    let end = opened.authority.validity().1;
    if now > end {
        return Err(IdentityError::Validity(format!("the authority ended {end}")));
    }
    let until = until.map_or(Until::In(VALID_S).at(now).min(end), |until| until.at(now));
    lasts(until, now)?;
    Ok(Span { from: now.checked_sub(BACKDATED).unwrap_or(now), until })
}

/// Writes what became of the requests, and says it.
fn finish(
    mut opened: Opened,
    issuer: &Issuer<'_>,
    signing: &Signing,
    done: Vec<Done>,
    has_revoked: bool,
    now: Timestamp,
) -> Result<Outcome, Failure> {
    let certificates: Vec<&Certificate> = done
        .iter()
        .filter_map(|done| match &done.became {
            Became::Issued(certificate) | Became::Had(certificate) => Some(&**certificate),
            _ => None,
        })
        .collect();
    // A cut after the ledger was written may have left a list without what it revoked.
    let crl = match has_revoked || !opened.crl_is_current() {
        true => {
            let (key, secrets) = (signing.key.clone(), signing.secrets.clone());
            let next = NewList { key, next: Until::In(NEXT_S), secrets };
            Some(opened.next_crl(issuer, &next, now)?)
        }
        false => None,
    };
    let is_changed = done.iter().any(|done| !matches!(done.became, Became::Refused(_)));
    let written = match is_changed {
        true => opened.folder.save(&opened.ledger, &certificates, crl.as_ref())?,
        false => Vec::new(),
    };
    said(&opened, done, &written, has_revoked)
}

fn said(
    opened: &Opened,
    done: Vec<Done>,
    written: &[PathBuf],
    has_revoked: bool,
) -> Result<Outcome, Failure> {
    let (mut lines, mut list): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    let (mut refused, mut waiting, mut files) = (None, None, written.iter());
    for Done { device, key, became } in done {
        match became {
            Became::Issued(certificate) | Became::Had(certificate) => {
                let file = files.next().map(|file| file.display().to_string()).unwrap_or_default();
                let (number, until) = (certificate.number(), certificate.validity().1);
                lines.push(format!("{device}: certificate {number}, until {until}: {file}"));
                list.push(json!({
                    "device": device, "key": key, "number": number, "until": until.to_string(),
                    "certificate": file,
                }));
            }
            Became::Waits => {
                lines.push(format!("{device}: waits, key {key}"));
                waiting.get_or_insert(device);
            }
            Became::Refused(failure) => {
                lines.push(format!("refused: {}", failure.error));
                refused = refused.or(Some(failure));
            }
        }
    }
    let issued = list.len();
    let state = format!("{issued} certificates are there; requests that wait are kept");
    let found: Box<[String]> = if lines.len() > 1 { lines.clone().into() } else { Box::default() };
    if let Some(failure) = refused {
        let is_alone = found.is_empty();
        let state = if is_alone { failure.state.clone() } else { state };
        return Err(Failure { state, found, ..failure });
    }
    if let Some(device) = waiting {
        let dir = opened.folder.crl_path();
        let dir = dir.parent().unwrap_or(Path::new(".")).display().to_string();
        let next = format!("compare the digest, then neap ca accept {dir} {device} --key KEY");
        let text = format!("{device}: nobody has accepted it yet");
        let failure = Failure::new(Exit::ApprovalMissing, text, next);
        return Err(Failure { state, found: lines.into(), ..failure });
    }
    let mut text = lines.join("\n") + "\n";
    if has_revoked {
        let crl = opened.folder.crl_path();
        text += &format!("what it replaces is revoked; publish {}\n", crl.display());
    }
    let json = json!({
        "schema": "neap.ca-issued.v1", "issued": list, "crl_number": opened.ledger.crl_number(),
        "revoked": has_revoked,
    });
    Ok(Outcome { text, json })
}

/// What somebody is about to accept.
fn shown(waiting: &Waiting, request: &identity::Request, issued: &[Issued]) -> String {
    let mut text = format!(
        "device   {}\nkey      {}\ndigest   {}\nasked    {}\n",
        waiting.device,
        request.key().kind(),
        waiting.key,
        waiting.at
    );
    for issued in issued.iter().filter(|issued| issued.device == waiting.device) {
        let state = match issued.revoked {
            Some(why) => format!("revoked {} ({})", why.at, why.reason),
            None => format!("until {}", issued.until),
        };
        text += &format!("had      {}, {state}, key {}\n", issued.number, issued.key);
    }
    text + "Whoever has this key will be this device. Compare the digest with what it shows.\n"
}

/// Asks on the terminal.
fn agreed(device: &str) -> Result<(), Failure> {
    let missing = |text: &str| {
        let next = "compare the digest; then run it on a terminal, or add --yes";
        Failure::new(Exit::ApprovalMissing, format!("{device}: {text}"), next)
    };
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Some(terminal) = terminal.ok().filter(File::is_terminal) else {
        return Err(missing("there is no terminal to ask on"));
    };
    let failed = |error: std::io::Error| of_io(Path::new("/dev/tty"), &error);
    let question = format!("Issue a certificate to {device}? Type yes: ");
    (&terminal).write_all(question.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(terminal.take(ANSWER_LEN_MAX)).read_line(&mut answer).map_err(failed)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(missing("not accepted: the answer was not yes")),
    }
}
