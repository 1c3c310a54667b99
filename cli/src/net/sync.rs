//! `neap sync`: a whole depot from a peer, newest first, and receipts both ways: what a ship that
//! passes in port does for another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clap::Args as Group;
use neap_depot::name::Device;
use neap_depot::version;
use neap_engine::digest::Digest;
use neap_peer::quic::ask::{self, AskError};
use neap_peer::quic::mdns;
use neap_peer::quic::metadata::{self, Wanted};
use neap_peer::quic::node::Peer;
use neap_peer::quic::site::{Site, Want};
use neap_peer::receipts::Bearer;
use neap_peer::shelf::{Shelf, Use};
use neap_peer::tls::Admission;
use neap_peer::wire::Status;
use neap_trust::client::Offer;
use neap_trust::client::directory::StateFolder;
use serde_json::json;
use tokio::sync::watch;

use super::purse::Purse;
use super::{Configuration, QUIET, runtime, start};
use crate::args::Common;
use crate::check;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::size::exact;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: Configuration,
    /// A group whose releases are taken; may be given more than once [default: the configured ones]
    #[arg(long)]
    group: Vec<String>,
    /// Exchange receipts, and take no releases
    #[arg(long)]
    receipts_only: bool,
    /// Give up when nothing came for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.configuration.load()?;
    let groups = if args.group.is_empty() { config.groups.clone() } else { args.group.clone() };
    if groups.is_empty() && !args.receipts_only {
        let error = "neither the command line nor the configuration names a group";
        return Err(Failure::new(Exit::Usage, error.into(), "give --group"));
    }
    let purse = Purse::open(&config.state)?;
    runtime()?.block_on(async {
        let started = start(config, Use::Writes)?;
        let (shelf, admission) = (started.shelf.clone(), Arc::clone(&started.admission));
        let (mut site, config) = started.site(Box::new(purse.clone()));
        let _discovery = config.mdns.then(|| mdns::begin(site.node(), &config.site));
        site.gather(QUIET, config.mdns).await;
        let near = site.neighbours().into_iter().next();
        let member = site.node().peers().into_iter().find(|peer| peer.same_site);
        let peer = match near.or(member) {
            Some(peer) => peer,
            None => site.shore().await.map_err(|why| {
                let why = why.map_or("no peer is configured".into(), |why| why.to_string());
                Failure::new(Exit::Interrupted, why, "look at the link, and run it again")
            })?,
        };
        let receipts = receipts(&peer, &shelf, &admission).await?;
        let mut taken = Vec::new();
        if !args.receipts_only {
            let root = config.root.as_ref().map(|path| check::read_root(path)).transpose()?;
            let state = StateFolder::new(config.state.join("trust"));
            let wanted = Wanted { groups, root, state, clock: check::clock() };
            let checked = metadata::sync(Some(peer.connection.clone()), &shelf, wanted).await;
            let checked = checked
                .map_err(|refusal| check::of_refusal(&refusal, &peer.name, Some(&config.state)))?;
            let offers = checked.groups.into_iter().flat_map(|group| group.offers).collect();
            taken = blobs(&mut site, offers, args).await?;
        }
        site.hang_up();
        purse.settle(config.links.values().cloned());
        site.node().close().await;
        let bytes: u64 = taken.iter().map(|(_, len)| len).sum();
        let text = format!(
            "{}: {} files, {} bytes; {} receipts taken, {} given, {} refused\n",
            peer.name,
            taken.len(),
            exact(bytes),
            receipts.taken,
            receipts.given,
            receipts.refused
        );
        let json = json!({
            "schema": "neap.sync.v1",
            "peer": peer.name,
            "files": taken.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            "bytes": bytes,
            "receipts_taken": receipts.taken,
            "receipts_given": receipts.given,
            "receipts_refused": receipts.refused,
        });
        Ok(Outcome { text, json })
    })
}

/// Takes what each offer names, the newest version first.
async fn blobs(
    site: &mut Site,
    mut offers: Vec<Offer>,
    args: &Args,
) -> Result<Vec<(String, u64)>, Failure> {
    offers.sort_by(|a, b| version::compare(&b.custom.version, &a.custom.version));
    let (mut taken, mut seen) = (Vec::new(), BTreeSet::new());
    for offer in offers {
        let Some(blob) = Digest::from_hex(&offer.custom.blake3) else { continue };
        if !seen.insert(blob.0) {
            continue;
        }
        let (tell, _told) = watch::channel(0);
        let want = Want { blob, len: offer.len, in_order: false };
        let patience = Duration::from_secs(args.patience);
        let fetched = site.fetch(want, patience, &tell, &mut |_| {}).await;
        let fetched = fetched.map_err(|error| {
            let error = format!("{}: {error}", offer.path);
            let state = "what came is kept".to_owned();
            let next = "the same command goes on from there";
            Failure { state, ..Failure::new(Exit::Interrupted, error, next) }
        })?;
        if !fetched.taken.by_name.is_empty() {
            if !args.common.quiet {
                eprintln!("{}: {} bytes", offer.path, exact(offer.len));
            }
            taken.push((offer.path, offer.len));
        }
    }
    Ok(taken)
}

/// What an exchange of receipts brought.
#[derive(Default)]
struct Exchanged {
    taken: u64,
    given: u64,
    /// By the peer or by us.
    refused: u64,
}

/// Exchanges receipts. Each device's are numbered from 1 on without gaps, so the highest number
/// says what is missing. One that is refused is named, and the others are exchanged all the same.
async fn receipts(
    peer: &Arc<Peer>,
    shelf: &Shelf,
    admission: &Admission,
) -> Result<Exchanged, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let next = "the same command goes on from there";
        Failure::new(Exit::Interrupted, format!("{}: receipts: {error}", peer.name), next)
    };
    let theirs = ask::receipts(&peer.connection).await.map_err(|error| failed(&error))?;
    let ours = shelf.receipts().await.map_err(|error| failed(&error))?;
    // What is behind a gap is asked for again: what was refused once may be good now.
    let gapless = shelf.gapless().await.map_err(|error| failed(&error))?;
    let bearer = Bearer { name: &peer.name, same_site: peer.same_site };
    let mut exchanged = Exchanged::default();
    for (device, number) in missing(&theirs, &gapless) {
        let found = ask::receipt(&peer.connection, device.clone(), number).await;
        let Some(bytes) = found.map_err(|error| failed(&error))? else { continue };
        if let Err(why) = admission.receipt(&bytes, (&device, number), &bearer) {
            eprintln!("{}: receipt {number} of {} is not taken: {why}", peer.name, device.as_str());
            exchanged.refused += 1;
            continue;
        }
        let kept = shelf.put_receipt(device, number, bytes).await;
        exchanged.taken += u64::from(kept.map_err(|error| failed(&error))?);
    }
    for (device, number) in missing(&ours, &theirs) {
        let found = shelf.receipt(device.clone(), number).await;
        let Some(bytes) = found.map_err(|error| failed(&error))? else { continue };
        match ask::put_receipt(&peer.connection, device.clone(), number, bytes).await {
            Ok(()) => exchanged.given += 1,
            Err(AskError::Status(Status::Refused)) => {
                eprintln!("{} does not take receipt {number} of {}", peer.name, device.as_str());
                exchanged.refused += 1;
            }
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(exchanged)
}

/// The receipts that one side has and the other lacks, by the highest number of each device.
fn missing<'a>(
    has: &'a [(Device, u64)],
    lacks: &[(Device, u64)],
) -> impl Iterator<Item = (Device, u64)> + use<'a> {
    let known: BTreeMap<_, _> = lacks.iter().cloned().collect();
    has.iter().flat_map(move |(device, last)| {
        let first = known.get(device).map_or(1, |number| number.saturating_add(1));
        let last = (*last).min(first.saturating_add(RECEIPTS_MAX - 1));
        (first..=last).map(move |number| (device.clone(), number))
    })
}

/// Most receipts of a device in one exchange; the next one goes on.
const RECEIPTS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_and_the_other_lacks_is_missing() {
        let list = |list: &[(&str, u64)]| -> Vec<(Device, u64)> {
            let named = list.iter().map(|(name, number)| (Device::new(name), *number));
            named.map(|(name, number)| (name.expect("a name"), number)).collect()
        };
        let (ours, theirs) = (list(&[("a", 3), ("b", 1)]), list(&[("a", 1), ("b", 2), ("c", 1)]));
        let of = |one, other| missing(one, other).collect::<Vec<_>>();
        assert_eq!(of(&ours, &theirs), list(&[("a", 2), ("a", 3)]));
        assert_eq!(of(&theirs, &ours), list(&[("b", 2), ("c", 1)]));
        let most = usize::try_from(RECEIPTS_MAX).expect("few");
        assert_eq!(missing(&list(&[("a", u64::MAX)]), &[]).count(), most);
    }
}
