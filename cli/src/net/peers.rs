//! `neap peers`: who is there, what they have, and what they did.

use clap::Args as Group;
use neap_engine::digest::Digest;
use neap_peer::quic::site::Unlimited;
use neap_peer::quic::{ask, mdns, metadata};
use neap_peer::shelf::Use;
use serde_json::json;

use super::ledger::Ledger;
use super::{Configuration, QUIET, runtime, start};
use crate::args::Common;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::size::human;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: Configuration,
    /// Connect over links that cost as well
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.configuration.load()?;
    runtime()?.block_on(async {
        let ledger = Ledger::load(&config.state);
        let started = start(config, Use::Reads)?;
        let (shelf, depot) = (started.shelf.clone(), started.depot.clone());
        let entries = depot.catalogue().0.entries;
        let blobs: Vec<Digest> = entries.iter().filter_map(|entry| entry.blob).collect();
        let ours = metadata::fresh(&shelf).await.ok().flatten();
        let (mut site, config) = started.site(Box::new(Unlimited));
        let _discovery = config.mdns.then(|| mdns::begin(site.node(), &config.site));
        site.gather(QUIET * 2, true).await;
        if args.all {
            // Whoever does not answer is not listed.
            drop(site.shore().await);
        }
        let mut rows = Vec::new();
        let (mut text, fresh) = (String::new(), site.fresh());
        for peer in site.node().peers() {
            let asked = &blobs[..blobs.len().min(neap_peer::limits::HAS_COUNT_MAX)];
            let has = ask::has(&peer.connection, asked).await.unwrap_or_default();
            let has = has.iter().flatten().count();
            let at = peer.connection.remote_address();
            let rtt_ms = peer.connection.rtt().as_secs_f64() * 1000.0;
            let shown = fresh.iter().find(|(other, _)| other.id == peer.id).map(|(_, bytes)| bytes);
            let is_level = shown.map(|shown| ours.as_deref() == Some(&shown[..]));
            let seen = ledger.peers.get(&peer.name);
            let member = if peer.same_site { "site" } else { "other" };
            text += &format!(
                "{:<20} {member:<6} {at}, {rtt_ms:.1} ms, {has} of {} blobs, verified {}, \
                 wrong {}, broken promises {}\n",
                peer.name,
                asked.len(),
                human(seen.map_or(0, |seen| seen.verified_bytes)),
                seen.map_or(0, |seen| seen.wrong),
                seen.map_or(0, |seen| seen.broken),
            );
            rows.push(json!({
                "device": peer.name,
                "same_site": peer.same_site,
                "address": at.to_string(),
                "rtt_ms": rtt_ms,
                "blobs": has,
                "same_release": is_level,
            }));
        }
        if rows.is_empty() {
            text += "nobody is there\n";
        }
        for (name, seen) in ledger.peers.iter().filter(|(_, seen)| seen.wrong > 0) {
            text += &format!("blamed: {name} sent wrong bytes {} times\n", seen.wrong);
        }
        site.node().close().await;
        let json = json!({ "schema": "neap.peers.v1", "peers": rows, "seen": ledger.peers });
        Ok(Outcome { text, json })
    })
}
