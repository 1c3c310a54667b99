//! What a site needs: from what its devices said they run to the files that a stick must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use neap_depot::depot::Depot;
use neap_depot::plan::{Device, NoPlan, plan};
use neap_depot::version;
use neap_trust::client::{Group, Offer};
use neap_trust::receipt::{Outcome, Receipt};
use neap_trust::target::Kind;

/// What a device runs of one product, as its receipts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The device.
    pub device: String,
    /// Number of its last receipt.
    pub sequence: u64,
    /// The product.
    pub product: String,
    /// The version, if it said one.
    pub version: Option<String>,
    /// The image, if it said which: 64 hexadecimal digits.
    pub image: Option<String>,
    /// What hardware it is.
    pub hardware: String,
}

/// Whether whole images are written beside the patches that devices need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Of each product.
    Always,
    /// As far as there is room.
    IfItFits,
    /// Only where nothing else leads to the release.
    Never,
}

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What must be there, each once.
    pub needed: Vec<Offer>,
    /// Whole images that may be there.
    pub welcome: Vec<Offer>,
    /// What was decided for each device and product.
    pub devices: Vec<Decided>,
}

/// What was decided for one device and product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The device, and what it runs.
    pub running: Running,
    /// What it takes.
    pub takes: Takes,
}

/// What a device takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it runs this version.
    Nothing(String),
    /// The patch or the whole image at this path.
    Path(String),
    /// Nothing leads from what it runs to a release; why.
    NoWay(String),
}

/// What devices run, by their receipts in a depot. Nobody verifies them here: a receipt that lies
/// puts a patch on a stick that nobody takes.
///
/// # Errors
/// If receipts cannot be listed or read.
pub fn running(depot: &Depot) -> io::Result<Vec<Running>> {
    let mut all = Vec::new();
    for (device, numbers) in depot.receipts()? {
        let last = numbers.last().copied().unwrap_or_default();
        let mut receipts = Vec::new();
        for number in numbers.iter().rev().take(LOOK_BACK) {
            let bytes = depot.receipt(&device, *number)?;
            receipts.extend(bytes.and_then(|bytes| Receipt::claimed(&bytes).ok()));
        }
        all.extend(of_device(device.as_str(), last, &receipts));
    }
    Ok(all)
}

/// What one device runs of each product; its receipts from the newest on.
fn of_device(device: &str, sequence: u64, receipts: &[Receipt]) -> Vec<Running> {
    let mut products: BTreeMap<&str, Running> = BTreeMap::new();
    let mut settled = BTreeSet::new();
    for receipt in receipts {
        if receipt.product.is_empty() || settled.contains(&*receipt.product) {
            continue;
        }
        let image = match receipt.outcome {
            Outcome::Committed => receipt.read_back.or(receipt.to),
            Outcome::Inventory => receipt.read_back.or(receipt.to).or(receipt.from),
            // What ran before runs still; an older receipt says its version.
            Outcome::RolledBack | Outcome::Refused | Outcome::Failed => receipt.from,
        };
        let image = image.map(hex::encode);
        let says_version = matches!(receipt.outcome, Outcome::Committed | Outcome::Inventory);
        let entry = products.entry(&receipt.product).or_insert_with(|| Running {
            device: device.to_owned(),
            sequence,
            product: receipt.product.clone(),
            version: None,
            image: image.clone(),
            hardware: receipt.hardware.clone(),
        });
        if entry.image.is_none() {
            entry.image = image;
        }
        if says_version {
            settled.insert(&*receipt.product);
            entry.version = Some(receipt.version.clone()).filter(|version| !version.is_empty());
        }
    }
    products.into_values().collect()
}

/// Chooses from what is offered to groups: for each device the cheapest way to the latest release,
/// whole images as `full` says, and the documents that belong to it all.
#[must_use]
pub fn select(groups: &[Group], running: &[Running], full: Full) -> Selection {
    let mut selection = Selection::default();
    let (mut needed, mut welcome) = (Chosen::default(), Chosen::default());
    for group in groups {
        let offers = &group.offers;
        let products: BTreeSet<_> = images(offers).map(|offer| &*offer.custom.product).collect();
        for product in products {
            let mut devices = running.iter().filter(|runs| runs.product == product).peekable();
            let alone = devices.peek().is_none();
            for runs in devices {
                let takes = decide(offers, runs, &mut needed);
                selection.devices.push(Decided { running: runs.clone(), takes });
            }
            match full {
                Full::Always => whole(offers, product, &mut needed),
                Full::IfItFits | Full::Never if alone => whole(offers, product, &mut needed),
                Full::IfItFits => whole(offers, product, &mut welcome),
                Full::Never => {}
            }
        }
        documents(offers, &mut needed);
    }
    welcome.offers.retain(|offer| !needed.blobs.contains(&offer.custom.blake3));
    (selection.needed, selection.welcome) = (needed.offers, welcome.offers);
    selection
}

/// Offers, each blob once.
#[derive(Default)]
struct Chosen {
    offers: Vec<Offer>,
    blobs: BTreeSet<String>,
}

impl Chosen {
    fn take(&mut self, offer: &Offer) {
        if self.blobs.insert(offer.custom.blake3.clone()) {
            self.offers.push(offer.clone());
        }
    }
}

fn images(offers: &[Offer]) -> impl Iterator<Item = &Offer> {
    offers.iter().filter(|offer| matches!(offer.custom.kind, Kind::Full | Kind::Delta))
}

/// What one device takes; a whole image where no patch leads on.
fn decide(offers: &[Offer], runs: &Running, needed: &mut Chosen) -> Takes {
    let image = runs.image.clone().or_else(|| {
        let version = runs.version.as_ref()?;
        let is_it = |offer: &&Offer| {
            offer.custom.product == runs.product && offer.custom.version == *version
        };
        images(offers).find(is_it)?.custom.to.clone()
    });
    let device = Device {
        product: runs.product.clone(),
        image,
        version: runs.version.clone(),
        hardware: runs.hardware.clone(),
        ..Device::default()
    };
    match plan(offers, &device) {
        Ok(planned) => {
            planned.steps.iter().for_each(|step| needed.take(step));
            let last = planned.steps.last().map(|step| step.path.clone());
            Takes::Path(last.unwrap_or_default())
        }
        Err(NoPlan::UpToDate { version }) => Takes::Nothing(version),
        Err(reason) => Takes::NoWay(reason.to_string()),
    }
}

/// The whole image of the latest release of a product, for each kind of hardware.
fn whole(offers: &[Offer], product: &str, chosen: &mut Chosen) {
    let of_product = images(offers).filter(|offer| offer.custom.product == product);
    let hardware: BTreeSet<_> = of_product.flat_map(|offer| offer.custom.hardware.iter()).collect();
    for hardware in hardware.into_iter().map(String::as_str).chain([""]) {
        let (product, hardware) = (product.to_owned(), hardware.to_owned());
        let device = Device { product, hardware, ..Device::default() };
        if let Ok(planned) = plan(offers, &device) {
            planned.steps.iter().for_each(|step| chosen.take(step));
        }
    }
}

/// Profiles and revocation lists, of each the latest, and the documents of versions that are taken.
fn documents(offers: &[Offer], needed: &mut Chosen) {
    let mut latest: BTreeMap<(&str, &str), &Offer> = BTreeMap::new();
    let standing =
        offers.iter().filter(|offer| matches!(offer.custom.kind, Kind::SiteProfile | Kind::Crl));
    for offer in standing {
        let entry = latest.entry((&*offer.custom.product, offer.name())).or_insert(offer);
        if version::compare(&offer.custom.version, &entry.custom.version).is_gt() {
            *entry = offer;
        }
    }
    latest.into_values().for_each(|offer| needed.take(offer));
    let versions: BTreeSet<_> = images(&needed.offers)
        .map(|offer| (offer.custom.product.clone(), offer.custom.version.clone()))
        .collect();
    let belongs = |offer: &&Offer| {
        let of = (offer.custom.product.clone(), offer.custom.version.clone());
        offer.custom.kind == Kind::Document && versions.contains(&of)
    };
    offers.iter().filter(belongs).for_each(|offer| needed.take(offer));
}

/// Receipts of a device that are looked at, from the last one back.
const LOOK_BACK: usize = 256;

#[cfg(test)]
mod tests {
    use neap_trust::client::{Ask, check};
    use neap_trust::fixture::Repository;
    use neap_trust::receipt::Carrier;
    use neap_trust::state::MemoryState;
    use neap_trust::time::{Clock, Source, Timestamp};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn digest(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    /// Three versions of a radar; the last one from both before it.
    fn groups() -> Vec<Group> {
        let now: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
        let mut made = Repository::new(now);
        made.group("bridge");
        for version in ["1.0", "1.1", "1.2"] {
            made.release("bridge", "radar", version);
        }
        // The image that `release` makes has the digest of its path.
        made.delta("bridge", "radar", "1.2", "g/bridge/radar/1.1/full");
        made.release("bridge", "charts", "2026.11");
        made.profile(
            "bridge",
            1,
            &serde_json::json!({
                "neap_profile": 1, "site": "MV Aurora", "stale_days": 90,
            }),
        );
        made.publish(&["g.bridge", "targets"]);
        let root = made.first_root();
        let clock = Clock { rtc: Some(now), build: now };
        let ask = Ask { groups: &["bridge"], root: Some(&root), clock, seen: None };
        check(&made.files, &mut MemoryState::default(), &ask).expect("verified").groups
    }

    fn receipt(sequence: u64, product: &str, outcome: Outcome, version: &str) -> Receipt {
        let image = Some(digest(&format!("g/bridge/{product}/{version}/full")));
        Receipt {
            device: "radar-7".into(),
            sequence,
            previous: (sequence > 1).then_some([7; 32]),
            hardware: String::new(),
            product: product.into(),
            version: version.into(),
            from: (outcome != Outcome::Committed).then_some(()).and(image),
            to: (outcome == Outcome::Committed).then_some(()).and(image),
            read_back: None,
            outcome,
            exit: 0,
            detail: String::new(),
            at: "2026-11-01T00:00:00Z".parse().expect("a time"),
            at_source: Source::Rtc,
            stale_s: 0,
            timestamp_version: 1,
            carrier: Carrier::Stick,
            carrier_id: String::new(),
            approvals: Vec::new(),
        }
    }

    fn paths(offers: &[Offer]) -> Vec<&str> {
        offers.iter().map(|offer| offer.path.as_str()).collect()
    }

    #[test]
    fn last_receipt_of_each_product_says_what_runs() {
        let receipts = [
            receipt(4, "radar", Outcome::Refused, "1.1"),
            receipt(3, "charts", Outcome::Inventory, "2026.10"),
            receipt(2, "radar", Outcome::Committed, "1.1"),
            receipt(1, "radar", Outcome::Committed, "1.0"),
        ];
        let runs = of_device("radar-7", 4, &receipts);
        let told: Vec<_> =
            runs.iter().map(|r| (&*r.product, r.version.as_deref(), r.image.is_some())).collect();
        let all = [("charts", Some("2026.10"), true), ("radar", Some("1.1"), true)];
        assert_eq!(told, all);
    }

    #[test]
    fn device_gets_the_patch_from_what_it_runs_and_no_more() {
        let groups = groups();
        let runs = of_device("radar-7", 1, &[receipt(1, "radar", Outcome::Committed, "1.1")]);
        let selected = select(&groups, &runs, Full::Never);
        let needed = paths(&selected.needed);
        assert!(needed[0].starts_with("g/bridge/charts/2026.11/full"), "nobody said: {needed:?}");
        assert!(needed[1].starts_with("g/bridge/radar/1.2/from-"), "{needed:?}");
        assert_eq!(needed[2..], ["g/bridge/site/1/profile"]);
        assert_eq!(selected.welcome, []);
        let welcome = select(&groups, &runs, Full::IfItFits).welcome;
        assert_eq!(paths(&welcome), ["g/bridge/radar/1.2/full"]);
        let all = select(&groups, &runs, Full::Always);
        assert_eq!(all.needed.len(), 4);
    }

    #[test]
    fn device_that_no_patch_fits_gets_the_whole_image_and_one_up_to_date_nothing() {
        let groups = groups();
        let old = of_device("radar-7", 1, &[receipt(1, "radar", Outcome::Committed, "1.0")]);
        let selected = select(&groups, &old, Full::Never);
        assert!(paths(&selected.needed).contains(&"g/bridge/radar/1.2/full"));
        let new = of_device("radar-7", 1, &[receipt(1, "radar", Outcome::Committed, "1.2")]);
        let selected = select(&groups, &new, Full::Never);
        assert_eq!(selected.devices[0].takes, Takes::Nothing("1.2".into()));
        assert!(!paths(&selected.needed).iter().any(|path| path.contains("radar")));
    }
}
