//! What a device should fetch: the cheapest way from what it has to what it may have.
//!
//! Works on verified targets alone, and decides nothing about whom to believe. Whether a way can be
//! gone, that is, where images between two deltas are kept, is told by the device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use neap_trust::client::Offer;
use neap_trust::target::{Custom, Kind, Requirement};

use crate::version;

/// What a device has and wants.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// The product to update.
    pub product: String,
    /// Digest of the image that it runs, where known.
    pub image: Option<String>,
    /// The version that it runs.
    pub version: Option<String>,
    /// The highest security epoch it ever ran.
    pub security_epoch: u64,
    /// What hardware it is.
    pub hardware: String,
    /// Versions of other products on it.
    pub installed: BTreeMap<String, String>,
    /// Digests of blobs that need not be fetched.
    pub blobs: BTreeSet<String>,
    /// Bytes for images between two deltas; 0 where a device has its two slots and no more.
    pub scratch_len: u64,
    /// Most bytes to fetch.
    pub budget: Option<u64>,
    /// The version that is wanted; nothing is the latest.
    pub wanted: Option<String>,
}

/// The way to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Patches in the order in which they are applied. The last makes the wanted image.
    pub steps: Vec<&'a Offer>,
    /// Bytes to fetch: of the steps whose blobs are not there.
    pub fetch_len: u64,
    /// Bytes that the whole image would take, where it is offered.
    pub full_len: Option<u64>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPlan {
    /// The group's role names nothing of this product, or not the wanted version.
    NotOffered {
        /// The product.
        product: String,
        /// The version, if one was asked for.
        version: Option<String>,
    },
    /// The device runs the latest that it may have.
    UpToDate {
        /// The version that it runs.
        version: String,
    },
    /// The wanted version is of a lower security epoch than the device's.
    EpochTooLow {
        /// The wanted version.
        version: String,
        /// Its epoch.
        epoch: u64,
        /// The device's.
        device: u64,
    },
    /// The wanted version is not for this hardware.
    OtherHardware {
        /// The wanted version.
        version: String,
        /// What it is for.
        hardware: Vec<String>,
        /// What the device is.
        device: String,
    },
    /// Something must be installed first.
    Requires {
        /// The wanted version.
        version: String,
        /// What is missing.
        missing: Requirement,
        /// The version of it that is there.
        found: Option<String>,
    },
    /// No whole image is offered, and no delta starts from what the device has.
    NoWay {
        /// The wanted version.
        version: String,
        /// What the device has.
        image: Option<String>,
    },
    /// The cheapest way takes more bytes than the budget. Nothing was started.
    OverBudget {
        /// The wanted version.
        version: String,
        /// Bytes that it takes.
        fetch_len: u64,
        /// The budget.
        budget: u64,
    },
}

/// The cheapest way from what the device has to the wanted or the latest version that it may have.
///
/// With no version wanted, those that do not fit the device are passed over; the reason for the
/// latest is given where none is left.
///
/// # Errors
/// [`NoPlan`]: why there is none.
pub fn plan<'a>(offers: &'a [Offer], device: &Device) -> Result<Plan<'a>, NoPlan> {
    let mut releases = releases(offers, device)?;
    releases.sort_by(|a, b| version::compare(&b.custom.version, &a.custom.version));
    let mut first = None;
    for release in releases {
        if device.wanted.is_none() && !is_news(&release.custom, device) {
            break;
        }
        match fits(&release.custom, device).and_then(|()| way(offers, release, device)) {
            Ok(plan) => return within_budget(plan, &release.custom, device),
            Err(reason) => first = first.or(Some(reason)),
        }
    }
    Err(first.unwrap_or_else(|| NoPlan::UpToDate {
        version: device.version.clone().unwrap_or_default(),
    }))
}

/// One offer for each image of the product, of the wanted version if there is one.
fn releases<'a>(offers: &'a [Offer], device: &Device) -> Result<Vec<&'a Offer>, NoPlan> {
    let is_wanted = |custom: &Custom| {
        custom.product == device.product
            && matches!(custom.kind, Kind::Full | Kind::Delta)
            && custom.to.is_some()
            && device.wanted.as_ref().is_none_or(|wanted| *wanted == custom.version)
    };
    let mut images = BTreeSet::new();
    let found: Vec<_> = offers
        .iter()
        .filter(|offer| is_wanted(&offer.custom))
        .filter(|offer| images.insert((&offer.custom.version, &offer.custom.to)))
        .collect();
    if found.is_empty() {
        let (product, version) = (device.product.clone(), device.wanted.clone());
        return Err(NoPlan::NotOffered { product, version });
    }
    Ok(found)
}

/// Whether it is later than what the device runs.
fn is_news(custom: &Custom, device: &Device) -> bool {
    device.version.as_ref().is_none_or(|runs| version::compare(&custom.version, runs).is_gt())
}

fn fits(custom: &Custom, device: &Device) -> Result<(), NoPlan> {
    let version = custom.version.clone();
    if device.image.is_some() && custom.to == device.image {
        return Err(NoPlan::UpToDate { version });
    }
    let (epoch, least) = (custom.security_epoch, device.security_epoch);
    if epoch < least {
        return Err(NoPlan::EpochTooLow { version, epoch, device: least });
    }
    if !custom.hardware.is_empty() && !custom.hardware.contains(&device.hardware) {
        let (hardware, device) = (custom.hardware.clone(), device.hardware.clone());
        return Err(NoPlan::OtherHardware { version, hardware, device });
    }
    for missing in &custom.requires {
        let found = match missing.product == device.product {
            true => device.version.as_ref(),
            false => device.installed.get(&missing.product),
        };
        if !found.is_some_and(|found| version::compare(found, &missing.version).is_ge()) {
            let (missing, found) = (missing.clone(), found.cloned());
            return Err(NoPlan::Requires { version, missing, found });
        }
    }
    Ok(())
}

/// The best way known to an image: bytes to fetch, then steps.
#[derive(Clone)]
struct Way<'a> {
    fetch_len: u64,
    steps: Vec<&'a Offer>,
    /// Bytes of the last image on the way that lies in the scratch space, and the most it took.
    last_len: u64,
    scratch_len: u64,
}

/// The cheapest way to the image of `release`: Dijkstra's algorithm over images, where the whole
/// image is an edge from nothing. Of equally cheap ways the one with fewer steps is taken.
fn way<'a>(offers: &'a [Offer], release: &Offer, device: &Device) -> Result<Plan<'a>, NoPlan> {
    let goal = release.custom.to.as_deref().unwrap_or_default();
    let cost = |offer: &Offer| match device.blobs.contains(&offer.custom.blake3) {
        true => 0,
        false => offer.len,
    };
    let mut open: BTreeMap<(u64, usize, Option<&str>), Way> = BTreeMap::new();
    let start = Way { fetch_len: 0, steps: Vec::new(), last_len: 0, scratch_len: 0 };
    open.insert((0, 0, None), start.clone());
    if let Some(image) = device.image.as_deref() {
        open.insert((0, 0, Some(image)), start);
    }
    let mut done = BTreeSet::new();
    while let Some(((_, _, image), way)) = open.pop_first() {
        if image == Some(goal) && !way.steps.is_empty() {
            let full = offers.iter().filter(|o| o.custom.kind == Kind::Full);
            let full = full.filter(|o| o.custom.to.as_deref() == Some(goal));
            let full_len = full.map(|offer| offer.len).min();
            return Ok(Plan { steps: way.steps, fetch_len: way.fetch_len, full_len });
        }
        if !done.insert(image) {
            continue;
        }
        for offer in offers.iter().filter(|offer| starts_from(offer, image, device)) {
            let (Some(to), false) = (offer.custom.to.as_deref(), way.steps.len() >= STEPS_MAX)
            else {
                continue;
            };
            let mut next = way.clone();
            next.steps.push(offer);
            next.fetch_len = next.fetch_len.saturating_add(cost(offer));
            if to != goal {
                // The image before is read while this one is written.
                let len = offer.custom.to_len.unwrap_or(u64::MAX);
                let peak = next.last_len.saturating_add(len);
                next.scratch_len = next.scratch_len.max(peak);
                next.last_len = len;
            }
            if next.scratch_len <= device.scratch_len && !done.contains(&Some(to)) {
                open.insert((next.fetch_len, next.steps.len(), Some(to)), next);
            }
        }
    }
    let (version, image) = (release.custom.version.clone(), device.image.clone());
    Err(NoPlan::NoWay { version, image })
}

/// Most patches on a way: each is a pass over an image.
const STEPS_MAX: usize = 8;

fn starts_from(offer: &Offer, image: Option<&str>, device: &Device) -> bool {
    offer.custom.product == device.product
        && match offer.custom.kind {
            Kind::Full => image.is_none(),
            Kind::Delta => image.is_some() && offer.custom.from.as_deref() == image,
            _ => false,
        }
}

fn within_budget<'a>(plan: Plan<'a>, custom: &Custom, device: &Device) -> Result<Plan<'a>, NoPlan> {
    match device.budget {
        Some(budget) if plan.fetch_len > budget => Err(NoPlan::OverBudget {
            version: custom.version.clone(),
            fetch_len: plan.fetch_len,
            budget,
        }),
        _ => Ok(plan),
    }
}

impl fmt::Display for NoPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered { product, version: None } => write!(f, "{product} is not offered"),
            Self::NotOffered { product, version: Some(version) } => {
                write!(f, "{product} {version} is not offered")
            }
            Self::UpToDate { version } => write!(f, "{version} is there already"),
            Self::EpochTooLow { version, epoch, device } => write!(
                f,
                "{version} is of security epoch {epoch}, and the device has been at {device}"
            ),
            Self::OtherHardware { version, hardware, device } => {
                write!(f, "{version} is for {}, and the device is {device}", hardware.join(", "))
            }
            Self::Requires { version, missing: Requirement { product, version: least }, found } => {
                let found = found.as_deref().unwrap_or("none");
                write!(f, "{version} requires {product} {least} or later, and {found} is there")
            }
            Self::NoWay { version, image } => {
                let image = image.as_deref().unwrap_or("nothing");
                write!(f, "nothing that is offered leads from {image} to {version}")
            }
            Self::OverBudget { version, fetch_len, budget } => write!(
                f,
                "{version} would need {fetch_len} bytes, the budget is {budget}: not started"
            ),
        }
    }
}

impl std::error::Error for NoPlan {}

#[cfg(test)]
mod tests {
    use neap_trust::target::Severity;
    use proptest::prelude::*;

    use super::*;

    fn offer(kind: Kind, from: Option<&str>, to: &str, version: &str, len: u64) -> Offer {
        let from = from.map(str::to_owned);
        let name = from.as_deref().unwrap_or("full");
        Offer {
            path: format!("g/ships/radar/{version}/{name}"),
            len,
            sha256: String::new(),
            custom: Custom {
                blake3: format!("{name}-{to}"),
                kind,
                from: from.clone(),
                to: Some(to.into()),
                to_len: Some(100),
                content: None,
                product: "radar".into(),
                version: version.into(),
                security_epoch: 0,
                severity: Severity::None,
                sbom: None,
                advisory: None,
                hardware: Vec::new(),
                requires: Vec::new(),
            },
        }
    }

    fn full(to: &str, version: &str, len: u64) -> Offer {
        offer(Kind::Full, None, to, version, len)
    }

    fn delta(from: &str, to: &str, version: &str, len: u64) -> Offer {
        offer(Kind::Delta, Some(from), to, version, len)
    }

    fn device() -> Device {
        Device {
            product: "radar".into(),
            image: Some("a".into()),
            version: Some("1".into()),
            ..Device::default()
        }
    }

    fn paths(plan: Result<Plan<'_>, NoPlan>) -> Vec<&str> {
        plan.map(|plan| plan.steps.iter().map(|step| step.path.as_str()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn direct_delta_is_taken_where_it_is_cheapest() {
        let offers = [full("c", "3", 90), delta("a", "c", "3", 10), delta("a", "b", "2", 1)];
        assert_eq!(paths(plan(&offers, &device())), ["g/ships/radar/3/a"]);
    }

    #[test]
    fn chain_is_taken_only_where_its_image_can_be_kept() {
        let offers = [full("c", "3", 90), delta("a", "b", "2", 5), delta("b", "c", "3", 5)];
        assert_eq!(paths(plan(&offers, &device())), ["g/ships/radar/3/full"]);
        let roomy = Device { scratch_len: 100, ..device() };
        assert_eq!(paths(plan(&offers, &roomy)), ["g/ships/radar/2/a", "g/ships/radar/3/b"]);
        let tight = Device { scratch_len: 99, ..device() };
        assert_eq!(paths(plan(&offers, &tight)), ["g/ships/radar/3/full"]);
    }

    #[test]
    fn blobs_that_are_there_cost_nothing() {
        let offers = [full("c", "3", 90), delta("a", "c", "3", 10)];
        let blobs = ["full-c".to_owned()].into();
        let plan = plan(&offers, &Device { blobs, ..device() }).expect("a plan");
        assert_eq!((plan.fetch_len, plan.full_len), (0, Some(90)));
        assert_eq!(plan.steps[0].path, "g/ships/radar/3/full");
    }

    #[test]
    fn latest_that_fits_is_taken_where_none_is_asked_for() {
        let mut offers = [full("b", "2", 50), full("c", "3", 50), full("d", "10", 50)];
        offers[2].custom.hardware = vec!["mk2".into()];
        let mk1 = Device { hardware: "mk1".into(), ..device() };
        assert_eq!(paths(plan(&offers, &mk1)), ["g/ships/radar/3/full"]);
        let mk2 = Device { hardware: "mk2".into(), ..device() };
        assert_eq!(paths(plan(&offers, &mk2)), ["g/ships/radar/10/full"]);
    }

    #[test]
    fn stepping_stones_are_gone_by() {
        let mut offers = [full("b", "2", 50), full("c", "3", 50)];
        offers[1].custom.requires =
            vec![Requirement { product: "radar".into(), version: "2".into() }];
        assert_eq!(paths(plan(&offers, &device())), ["g/ships/radar/2/full"]);
        let wanted = Device { wanted: Some("3".into()), ..device() };
        let missing = offers[1].custom.requires[0].clone();
        let reason = NoPlan::Requires { version: "3".into(), missing, found: Some("1".into()) };
        assert_eq!(plan(&offers, &wanted), Err(reason));
    }

    #[test]
    fn nothing_below_the_security_epoch_is_planned() {
        let offers = [full("b", "2", 50)];
        let device = Device { security_epoch: 1, ..device() };
        let reason = NoPlan::EpochTooLow { version: "2".into(), epoch: 0, device: 1 };
        assert_eq!(plan(&offers, &device), Err(reason));
    }

    #[test]
    fn older_versions_are_planned_only_when_asked_for() {
        let offers = [full("z", "0.9", 50)];
        let reason = NoPlan::UpToDate { version: "1".into() };
        assert_eq!(plan(&offers, &device()), Err(reason));
        let wanted = Device { wanted: Some("0.9".into()), ..device() };
        assert_eq!(paths(plan(&offers, &wanted)), ["g/ships/radar/0.9/full"]);
    }

    #[test]
    fn device_that_runs_the_latest_is_up_to_date() {
        let offers = [full("a", "1", 50)];
        let reason = NoPlan::UpToDate { version: "1".into() };
        assert_eq!(plan(&offers, &device()), Err(reason.clone()));
        // Its version was lost, its image is known.
        assert_eq!(plan(&offers, &Device { version: None, ..device() }), Err(reason));
    }

    #[test]
    fn one_byte_over_the_budget_is_not_started() {
        let offers = [full("b", "2", 50)];
        let with = |budget| plan(&offers, &Device { budget: Some(budget), ..device() });
        assert_eq!(with(50).map(|plan| plan.fetch_len), Ok(50));
        let reason = NoPlan::OverBudget { version: "2".into(), fetch_len: 50, budget: 49 };
        assert_eq!(with(49), Err(reason));
    }

    #[test]
    fn without_a_whole_image_an_unknown_device_has_no_way() {
        let offers = [delta("a", "b", "2", 5)];
        let unknown = Device { image: None, ..device() };
        assert_eq!(
            plan(&offers, &unknown),
            Err(NoPlan::NoWay { version: "2".into(), image: None })
        );
    }

    /// Every way of at most four steps, tried out.
    fn cheapest(offers: &[Offer], at: Option<&str>, goal: &str, steps: usize) -> Option<u64> {
        if at == Some(goal) {
            return Some(0);
        }
        if steps == 0 {
            return None;
        }
        let edges = offers.iter().filter(|offer| starts_from(offer, at, &device()));
        edges
            .filter_map(|offer| {
                let behind = cheapest(offers, offer.custom.to.as_deref(), goal, steps - 1)?;
                Some(offer.len + behind)
            })
            .min()
    }

    proptest! {
        // A greedy planner takes the cheapest first step.
        #[test]
        fn no_way_is_cheaper_than_the_plan(
            edges in prop::collection::vec((0_usize..5, 1_usize..5, 1_u64..100), 1..12),
        ) {
            const IMAGES: [&str; 5] = ["", "a", "b", "c", "d"];
            let mut offers = vec![full("d", "9", 120)];
            for (from, to, len) in edges {
                let version = if IMAGES[to] == "d" { "9".into() } else { format!("0.{to}") };
                offers.push(match from {
                    0 => full(IMAGES[to], &version, len),
                    _ => delta(IMAGES[from], IMAGES[to], &version, len),
                });
            }
            let device = Device { scratch_len: u64::MAX, ..device() };
            let planned = plan(&offers, &device).expect("the whole image is offered").fetch_len;
            let least = [None, Some("a")].into_iter();
            let least = least.filter_map(|at| cheapest(&offers, at, "d", 4)).min();
            prop_assert_eq!(Some(planned), least);
        }
    }
}
