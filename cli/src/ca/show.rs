//! The verbs that only look.

use jiff::Timestamp;
use neap_trust::identity::ledger::{Issued, KeyDigest};
use neap_trust::identity::{Authority, IdentityError, Request, What};
use serde_json::{Value, json};

use super::folder::{Opened, authority, limited, of_identity};
use super::{List, Show};
use crate::failure::Failure;
use crate::outcome::Outcome;

pub(super) fn list(args: &List) -> Result<Outcome, Failure> {
    let opened = Opened::read(&args.dir)?;
    let (ledger, now) = (&opened.ledger, Timestamp::now());
    let mut text = String::new();
    if !args.waiting {
        let until = opened.authority.validity().1;
        text += &format!("fleet    {}, until {until}\n", ledger.fleet());
        text += &format!("list     number {}\n", ledger.crl_number());
        if !opened.crl_is_current() {
            text += "         fleet.crl is not that list: run `neap ca crl`\n";
        }
        for issued in ledger.issued() {
            text += &format!(
                "issued   {:<16} {} {}\n",
                issued.device.as_str(),
                issued.number,
                state(issued, now)
            );
        }
        for allowed in ledger.allowed() {
            let key = allowed.key.as_ref().map_or("any key", KeyDigest::as_str);
            text += &format!("allowed  {:<16} {key}\n", allowed.device.as_str());
        }
    }
    for waiting in ledger.waiting() {
        text += &format!(
            "waiting  {:<16} {} since {}\n",
            waiting.device.as_str(),
            waiting.key,
            waiting.at
        );
    }
    let issued = ledger.issued().iter().map(|issued| {
        json!({
            "device": issued.device, "number": issued.number, "key": issued.key,
            "at": issued.at.to_string(), "until": issued.until.to_string(),
            "revoked": issued.revoked, "live": issued.is_live(now),
        })
    });
    let waiting = ledger.waiting().iter().map(|waiting| {
        json!({"device": waiting.device, "key": waiting.key, "at": waiting.at.to_string()})
    });
    let json = json!({
        "schema": "neap.ca-list.v1",
        "fleet": ledger.fleet(),
        "crl_number": ledger.crl_number(),
        "crl_is_current": opened.crl_is_current(),
        "issued": issued.collect::<Vec<_>>(),
        "allowed": ledger.allowed(),
        "waiting": waiting.collect::<Vec<_>>(),
    });
    Ok(Outcome { text, json })
}

fn state(issued: &Issued, now: Timestamp) -> String {
    match issued.revoked {
        Some(why) => format!("revoked {} ({})", why.at, why.reason),
        None if issued.is_live(now) => format!("until {}", issued.until),
        None => format!("ran out {}", issued.until),
    }
}

pub(super) fn show(args: &Show) -> Result<Outcome, Failure> {
    let path = &args.file;
    let bytes = limited(path, What::Crl.file_len_max())?;
    let failed = |error| of_identity(path, error);
    if let Some(ca) = &args.ca {
        let authority = authority(ca)?;
        return match authority.crl(&bytes) {
            Ok(crl) => Ok(of_list(&crl)),
            Err(_) if !is_list(&bytes) => {
                authority.certificate(&bytes).map(|found| of_certificate(&found)).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        };
    }
    if let Ok(authority) = Authority::read(&bytes) {
        return Ok(of_authority(&authority));
    }
    match Request::read(&bytes) {
        Ok(request) => Ok(of_request(&request)),
        // Whose a device's certificate or a list is can only be told with the authority.
        Err(error @ (IdentityError::Encoding { .. } | IdentityError::TooLong { .. })) => {
            let next = "for a device's certificate or a list, give --ca with the authority's";
            Err(Failure { next: next.into(), ..failed(error) })
        }
        Err(error) => Err(failed(error)),
    }
}

fn is_list(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains("-----BEGIN X509 CRL")
}

fn of_request(request: &Request) -> Outcome {
    let (digest, kind) = (KeyDigest::of(request.key()), request.key().kind());
    let text = format!(
        "request  signed by its own key\ndevice   {}\nkey      {kind}\ndigest   {digest}\n",
        request.device()
    );
    let json = json!({
        "schema": "neap.ca-shown.v1", "what": "request", "device": request.device(),
        "kind": kind, "key": digest,
    });
    Outcome { text, json }
}

fn of_authority(authority: &Authority) -> Outcome {
    let (from, until) = authority.validity();
    let text = format!(
        "authority\nfleet    {}\nkey      {}\nvalid    {from} to {until}\n",
        authority.fleet(),
        authority.key().id()
    );
    let json = json!({
        "schema": "neap.ca-shown.v1", "what": "authority", "fleet": authority.fleet(),
        "key": authority.key().id().as_str(), "from": from.to_string(),
        "until": until.to_string(),
    });
    Outcome { text, json }
}

fn of_certificate(certificate: &neap_trust::identity::Certificate) -> Outcome {
    let ((from, until), number) = (certificate.validity(), certificate.number());
    let (digest, kind) = (KeyDigest::of(certificate.key()), certificate.key().kind());
    let text = format!(
        "certificate of this authority\ndevice   {}\nnumber   {number}\nkey      {kind}\ndigest   \
         {digest}\nvalid    {from} to {until}\n",
        certificate.device()
    );
    let json = json!({
        "schema": "neap.ca-shown.v1", "what": "certificate", "device": certificate.device(),
        "number": number, "kind": kind, "key": digest, "from": from.to_string(),
        "until": until.to_string(),
    });
    Outcome { text, json }
}

fn of_list(crl: &neap_trust::identity::Crl) -> Outcome {
    let mut text = format!(
        "list of this authority\nnumber   {}\nmade     {}\nnext due {}\n",
        crl.number(),
        crl.this_update(),
        crl.next_update()
    );
    let mut revoked: Vec<Value> = Vec::new();
    for (number, why) in crl.revoked() {
        text += &format!("revoked  {number} {} ({})\n", why.at, why.reason);
        let at = why.at.to_string();
        revoked.push(json!({"number": number, "at": at, "reason": why.reason}));
    }
    let json = json!({
        "schema": "neap.ca-shown.v1", "what": "list", "number": crl.number(),
        "made": crl.this_update().to_string(), "next": crl.next_update().to_string(),
        "revoked": revoked,
    });
    Outcome { text, json }
}
