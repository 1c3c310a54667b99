//! `neap serve`: gives a depot to the devices of the fleet, and takes their receipts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args as Group;
use neap_peer::config::Config;
use neap_peer::quic::node::{Event, Node};
use neap_peer::quic::{mdns, metadata};
use neap_peer::shelf::Use;
use neap_peer::tls::Admission;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::metrics::{Counts, Exporter, enter_node};
use super::{Configuration, Started, runtime, start};
use crate::args::Common;
use crate::ca;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: Configuration,
    /// The depot, instead of the configured one: a folder or s3://BUCKET/PREFIX
    #[arg(value_name = "DEPOT")]
    depot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let mut config = args.configuration.load()?;
    if let Some(depot) = &args.depot {
        config.depot.clone_from(depot);
    }
    if config.listen.is_none() {
        let error = "`listen` is \"none\" in the configuration: nobody could connect";
        return Err(Failure::new(Exit::Usage, error.into(), "set `listen`, such as \"[::]:4747\""));
    }
    runtime()?.block_on(serve(config, args.common))
}

async fn serve(config: Config, common: Common) -> Result<Outcome, Failure> {
    let Started { config, node, mut events, shelf, depot, admission, counts } =
        start(config, Use::Reads)?;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Error, format!("this node: {error}"), "try again")
    };
    let address = node.address().map_err(failed)?;
    if !common.quiet {
        eprintln!("{} serves {} at {address}", node.me(), depot.store().title());
    }
    if let Ok(Some(fresh)) = metadata::fresh(&shelf).await {
        node.set_fresh(fresh.to_vec());
    }
    let discovery = config.mdns.then(|| mdns::begin(&node, &config.site));
    if let Some(Err(why)) = &discovery {
        eprintln!("not found by multicast: {why}; peers need this address in their configuration");
    }
    let exporter = Exporter::start(&config, "serve", shown(&node, &counts)).await;
    tokio::spawn(look_after(node.clone(), config.clone(), admission, shelf));
    let (mut term, mut int) = (
        signal(SignalKind::terminate()).map_err(failed)?,
        signal(SignalKind::interrupt()).map_err(failed)?,
    );
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            event = events.recv() => match event {
                Some(Event::Up(peer)) if !common.quiet => {
                    let from = peer.connection.remote_address();
                    eprintln!("{} connected from {from}", peer.name);
                }
                Some(_) => {}
                None => break,
            }
        }
    }
    let bytes = node.served().bytes.load(Ordering::Relaxed);
    exporter.end();
    node.close().await;
    Ok(Outcome {
        text: format!("served {bytes} bytes\n"),
        json: json!({ "schema": "neap.serve.v1", "served_bytes": bytes }),
    })
}

/// What `neap serve` shows when it is asked.
fn shown(node: &Node, counts: &Counts) -> impl Fn() -> String + Send + Sync + use<> {
    let (node, counts) = (node.clone(), counts.clone());
    move || {
        let mut metrics = counts.lock().clone();
        enter_node(&mut metrics, &node);
        metrics.text()
    }
}

/// Takes note of a new release and of a new list of revoked certificates.
async fn look_after(
    node: Node,
    config: Config,
    admission: Arc<Admission>,
    shelf: neap_peer::shelf::Shelf,
) {
    let mut shown = None;
    loop {
        tokio::time::sleep(EVERY).await;
        if let Some(identity) = &config.identity
            && let Some(path) = &identity.crl
        {
            reload(path, &identity.authority, &admission, &node);
        }
        if let Ok(Some(fresh)) = metadata::fresh(&shelf).await
            && shown.as_ref() != Some(&fresh)
        {
            node.set_fresh(fresh.to_vec());
            shown = Some(fresh);
        }
    }
}

/// A peer whose certificate was revoked loses its connection.
fn reload(path: &Path, authority: &Path, admission: &Admission, node: &Node) {
    let Ok(authority) = ca::authority(authority) else { return };
    let Ok(crl) = ca::list_of(path, &authority) else {
        eprintln!("{}: not read; the list from before counts", path.display());
        return;
    };
    admission.set_crl(crl);
    node.drop_refused();
}

/// How often.
const EVERY: Duration = Duration::from_secs(30);
