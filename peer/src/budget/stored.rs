//! The meter's file: JSON with a version and a check, so that damage is never taken for a budget.

use std::collections::BTreeMap;

use jiff::civil::Date;
use neap_engine::digest::Digest;
use serde::{Deserialize, Serialize};

use super::MeterError;
use super::account::{Account, Update};
use crate::limits::{
    METER_DAY_COUNT_MAX, METER_LEN_MAX, METER_LINK_COUNT_MAX, METER_MONTH_COUNT_MAX,
    METER_UPDATE_COUNT_MAX,
};

/// The file. `check` is the BLAKE3 of the same file with an empty `check`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    neap_meter: u64,
    latest_day: Option<Date>,
    links: BTreeMap<String, Link>,
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    day_bytes: BTreeMap<Date, u64>,
    month_bytes: BTreeMap<Date, u64>,
    updates: BTreeMap<String, OfUpdate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfUpdate {
    bytes: u64,
    month: Date,
}

/// What every version has.
#[derive(Deserialize)]
struct Version {
    neap_meter: u64,
}

pub(super) fn encode(latest: Option<Date>, links: &BTreeMap<String, Account>) -> Vec<u8> {
    let link = |account: &Account| Link {
        day_bytes: account.days.clone(),
        month_bytes: account.months.clone(),
        updates: account
            .updates
            .iter()
            .map(|(digest, update)| {
                (digest.to_string(), OfUpdate { bytes: update.bytes, month: update.month })
            })
            .collect(),
    };
    let mut file = File {
        neap_meter: VERSION,
        latest_day: latest,
        links: links.iter().map(|(name, account)| (name.clone(), link(account))).collect(),
        check: String::new(),
    };
    file.check = check(&file);
    bytes(&file)
}

pub(super) fn decode(
    content: &[u8],
) -> Result<(Option<Date>, BTreeMap<String, Account>), MeterError> {
    if content.len() > METER_LEN_MAX {
        return Err(MeterError::TooLong(content.len() as u64));
    }
    let json = |error: serde_json::Error| MeterError::Json(error.to_string());
    let Version { neap_meter } = serde_json::from_slice(content).map_err(json)?;
    if neap_meter != VERSION {
        return Err(MeterError::Version(neap_meter));
    }
    let mut file: File = serde_json::from_slice(content).map_err(json)?;
    let found = std::mem::take(&mut file.check);
    if found != check(&file) {
        return Err(MeterError::Check);
    }
    if file.links.len() > METER_LINK_COUNT_MAX {
        return Err(MeterError::TooMany("links"));
    }
    let links = file.links.into_iter().map(|(name, link)| Ok((name, account(link)?)));
    Ok((file.latest_day, links.collect::<Result<_, MeterError>>()?))
}

fn account(link: Link) -> Result<Account, MeterError> {
    for (what, found, allowed) in [
        ("days", link.day_bytes.len(), METER_DAY_COUNT_MAX),
        ("months", link.month_bytes.len(), METER_MONTH_COUNT_MAX),
        ("updates", link.updates.len(), METER_UPDATE_COUNT_MAX),
    ] {
        if found > allowed {
            return Err(MeterError::TooMany(what));
        }
    }
    let updates = link.updates.into_iter().map(|(digest, OfUpdate { bytes, month })| {
        let digest = Digest::from_hex(&digest);
        let digest = digest.ok_or_else(|| MeterError::Json("an update is no digest".into()))?;
        Ok((digest, Update { bytes, month }))
    });
    let updates = updates.collect::<Result<_, MeterError>>()?;
    Ok(Account::new(link.day_bytes, link.month_bytes, updates))
}

/// The check of a file whose `check` is empty.
fn check(file: &File) -> String {
    Digest::of(&bytes(file)).to_string()
}

fn bytes(file: &File) -> Vec<u8> {
    serde_json::to_vec(file).expect("names, dates and numbers are JSON")
}

/// Of this file.
const VERSION: u64 = 1;
