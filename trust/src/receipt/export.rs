//! Receipts for other programs and for people: JSON, CSV, and the text of a service report.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Carrier, Digest, Outcome, Receipt, Verified};
use crate::time::Source;

/// A receipt as an object.
#[must_use]
pub fn json(verified: &Verified) -> Value {
    let Verified { receipt, digest } = verified;
    json!({
        "schema": "neap.receipt.v1",
        "device": receipt.device,
        "sequence": receipt.sequence,
        "previous": receipt.previous.map(hex::encode),
        "digest": hex::encode(digest),
        "hardware": receipt.hardware,
        "product": receipt.product,
        "version": receipt.version,
        "from": receipt.from.map(hex::encode),
        "to": receipt.to.map(hex::encode),
        "read_back": receipt.read_back.map(hex::encode),
        "outcome": outcome(receipt.outcome),
        "exit": receipt.exit,
        "detail": receipt.detail,
        "at": receipt.at.to_string(),
        "at_source": source(receipt.at_source),
        "stale_s": receipt.stale_s,
        "timestamp_version": receipt.timestamp_version,
        "carrier": carrier(receipt.carrier),
        "carrier_id": receipt.carrier_id,
        "approvals": receipt.approvals,
    })
}

/// Receipts as a table (RFC 4180), with a head line.
#[must_use]
pub fn csv(receipts: &[Verified]) -> String {
    let head = "device,sequence,at,at_source,outcome,exit,product,version,from,to,read_back,\
                hardware,carrier,carrier_id,approvals,stale_s,timestamp_version,detail,digest";
    let rows = receipts.iter().map(|verified| {
        let Verified { receipt, digest } = verified;
        let cells = [
            receipt.device.clone(),
            receipt.sequence.to_string(),
            receipt.at.to_string(),
            source(receipt.at_source).to_owned(),
            outcome(receipt.outcome).to_owned(),
            receipt.exit.to_string(),
            receipt.product.clone(),
            receipt.version.clone(),
            optional(receipt.from),
            optional(receipt.to),
            optional(receipt.read_back),
            receipt.hardware.clone(),
            carrier(receipt.carrier).to_owned(),
            receipt.carrier_id.clone(),
            receipt.approvals.join("; "),
            receipt.stale_s.to_string(),
            receipt.timestamp_version.to_string(),
            receipt.detail.clone(),
            hex::encode(digest),
        ];
        cells.map(|text| cell(&text)).join(",")
    });
    std::iter::once(head.to_owned()).chain(rows).map(|row| row + "\r\n").collect()
}

/// A service report on one receipt: what was done to which equipment, for a ship's software log.
/// Its headings follow what ISO 24060 and the industry standard of BIMCO and CIRM ask for.
#[must_use]
pub fn service_report(verified: &Verified, printed: Timestamp) -> String {
    let Verified { receipt, digest } = verified;
    let shown = |digest: Option<Digest>| digest.map_or("not known".into(), hex::encode);
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.into() };
    let rows = [
        ("Equipment", receipt.device.clone()),
        ("Hardware", or(&receipt.hardware, "not stated")),
        ("Software", or(&receipt.product, "not stated")),
        ("Version", or(&receipt.version, "not stated")),
        ("Digest before", shown(receipt.from)),
        ("Digest intended", shown(receipt.to)),
        ("Digest read back", shown(receipt.read_back)),
        ("Result", format!("{} (code {})", outcome(receipt.outcome), receipt.exit)),
        ("Remarks", or(&receipt.detail, "none")),
        ("Date and time (UTC)", receipt.at.to_string()),
        ("Time is from", receipt.at_source.to_string()),
        ("Metadata out of date by", format!("{} s", receipt.stale_s)),
        ("Brought by", format!("{} {}", carrier(receipt.carrier), receipt.carrier_id)),
        ("Approved by", or(&receipt.approvals.join("; "), "nobody was asked")),
        ("Receipt", format!("number {} of this equipment", receipt.sequence)),
        ("Receipt digest", hex::encode(digest)),
        ("Report printed (UTC)", printed.to_string()),
    ];
    let line = |(name, value): &(&str, String)| format!("{name:<24} {}\n", value.trim_end());
    let lines: String = rows.iter().map(line).collect();
    format!(
        "SOFTWARE SERVICE REPORT\n\n{lines}\nThe receipt is signed by the equipment's own key.\n"
    )
}

/// What programs call an outcome.
#[must_use]
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Inventory => "inventory",
        Outcome::Committed => "committed",
        Outcome::RolledBack => "rolled-back",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    }
}

fn carrier(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::File => "file",
        Carrier::Wan => "wan",
        Carrier::Lan => "lan",
        Carrier::Stick => "stick",
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Rtc => "rtc",
        Source::Kept => "kept",
        Source::Signed => "signed",
        Source::Build => "build",
    }
}

fn optional(digest: Option<Digest>) -> String {
    digest.map(hex::encode).unwrap_or_default()
}

/// Quoted where it must be. A spreadsheet takes a cell that begins with one of four characters for
/// a formula; devices choose these texts, so such a cell gets an apostrophe.
fn cell(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// The device that a receipt claims to be of, as a folder's name: letters, digits, dot, hyphen and
/// underscore, not beginning with a dot; nothing if it is not such a name.
#[must_use]
pub fn folder(receipt: &Receipt) -> Option<&str> {
    let name = &receipt.device;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = (1..=64).contains(&name.len()) && !name.starts_with('.') && !name.ends_with('.');
    (fits && name.chars().all(is_plain)).then_some(name)
}
