//! The verbs that begin an authority and make its lists of revoked certificates.

use jiff::{SignedDuration, Timestamp};
use neap_trust::identity::issuer::{Issuer, Span};
use neap_trust::identity::ledger::Ledger;
use neap_trust::identity::{Authority, Crl as List, IdentityError, Number, Revocation};
use neap_trust::limits::VALIDITY_S_MIN;
use serde_json::{Value, json};

use super::folder::{Folder, Opened, now};
use super::{Crl, Init, NewList, Revoke};
use crate::failure::Failure;
use crate::keyring;
use crate::outcome::Outcome;
use crate::repo::expiry::Until;

/// How long before it was begun an authority is valid: clocks of devices lag.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);
/// When the second list is due at the latest.
const NEXT_S: i64 = 90 * 86_400;

pub(super) fn init(args: &Init) -> Result<Outcome, Failure> {
    let folder = Folder::begin(&args.dir)?;
    let signer = keyring::signer(&args.key, &args.secrets)?;
    let now = now();
    let from = now.checked_sub(BACKDATED).unwrap_or(now);
    let span = Span { from, until: args.expires.at(now) };
    lasts(span.until, now).map_err(|error| folder.failure(error))?;
    let number = Number::generate().map_err(|error| folder.failure(error))?;
    let authority = Authority::make(&*signer, &args.name, &number, span);
    let authority = authority.map_err(|error| folder.failure(error))?;
    let mut ledger = Ledger::new(&args.name);
    let first = Span { from: now, until: Until::In(NEXT_S).at(now) };
    let issuer = Issuer::new(&authority, &*signer);
    let crl = issuer.and_then(|issuer| issuer.crl(ledger.next_crl(), first, &ledger.revoked()));
    let crl = crl.map_err(|error| folder.failure(error))?;
    folder.save_authority(&authority)?;
    folder.save(&ledger, &[], Some(&crl))?;
    let (dir, until) = (args.dir.display(), authority.validity().1);
    let text = format!(
        "fleet    {}\nkey      {}\nuntil    {until}\nGive devices and peers {dir}/ca.pem; publish \
         {dir}/fleet.crl.\n",
        args.name,
        authority.key().id()
    );
    let json = json!({
        "schema": "neap.ca.v1",
        "fleet": args.name,
        "key": authority.key().id().as_str(),
        "until": until.to_string(),
        "certificate": args.dir.join("ca.pem").display().to_string(),
        "crl": folder.crl_path().display().to_string(),
    });
    Ok(Outcome { text, json })
}

/// Refuses what would have ended, or nearly: it is valid from before now on.
pub(super) fn lasts(until: Timestamp, now: Timestamp) -> Result<(), IdentityError> {
    match until.as_second().saturating_sub(now.as_second()) >= VALIDITY_S_MIN {
        true => Ok(()),
        false => {
            let why = format!("it would end {until}, less than {VALIDITY_S_MIN} s from now");
            Err(IdentityError::Validity(why))
        }
    }
}

pub(super) fn revoke(args: &Revoke) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let now = now();
    let revocation = Revocation { at: now, reason: args.reason };
    let numbers = opened.ledger.revoke(&args.which, revocation);
    let numbers = numbers.map_err(|denied| opened.folder.failure(denied.into()))?;
    let crl = made(&mut opened, &args.list, now)?;
    let shown: Vec<_> = numbers.iter().map(Number::to_string).collect();
    let what = match shown.is_empty() {
        true => "before; it was still allowed, and is no longer".into(),
        false => shown.join(", "),
    };
    let text = format!("revoked  {}: {what}\n", args.which);
    Ok(said(&opened, &crl, &text, json!(numbers)))
}

pub(super) fn renew(args: &Crl) -> Result<Outcome, Failure> {
    let mut opened = Opened::change(&args.dir)?;
    let crl = made(&mut opened, &args.list, now())?;
    Ok(said(&opened, &crl, "", json!([])))
}

/// Makes the next list and writes it after the ledger that counts it.
fn made(opened: &mut Opened, args: &NewList, now: Timestamp) -> Result<List, Failure> {
    let signer = keyring::signer(&args.key, &args.secrets)?;
    let authority = opened.authority.clone();
    let issuer = Issuer::new(&authority, &*signer);
    let issuer = issuer.map_err(|error| opened.folder.failure(error))?;
    let crl = opened.next_crl(&issuer, args, now)?;
    opened.folder.save(&opened.ledger, &[], Some(&crl))?;
    Ok(crl)
}

fn said(opened: &Opened, crl: &List, before: &str, revoked: Value) -> Outcome {
    let path = opened.folder.crl_path().display().to_string();
    let (number, count, next) = (crl.number(), crl.revoked().len(), crl.next_update());
    let text = format!(
        "{before}list     number {number}, {count} revoked, next due {next}\nwrote    {path}\n\
         Next: neap repo add crl DEPOT GROUP {path} --ca CA.pem, sign, publish.\n"
    );
    let json = json!({
        "schema": "neap.ca-crl.v1",
        "revoked": revoked,
        "number": number,
        "count": count,
        "next": next.to_string(),
        "crl": path,
    });
    Outcome { text, json }
}
