//! `neap fetch`: one release for this device, from its site, from shore, from a mirror; on request
//! applied while it comes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args as Group;
use jiff::Timestamp;
use neap_depot::limits::GROUP_LEN;
use neap_depot::plan::{Offer, plan};
use neap_engine::digest::Digest;
use neap_engine::io::file::PatchInput;
use neap_engine::limits::UNPACK_MEMORY_MAX;
use neap_peer::budget::Left;
use neap_peer::config::Config;
use neap_peer::link::{Class, Profile};
use neap_peer::metrics::{Reason, Source};
use neap_peer::quic::arriving::Arriving;
use neap_peer::quic::mdns;
use neap_peer::quic::metadata::{self, Wanted};
use neap_peer::quic::node::{Node, Peer};
use neap_peer::quic::site::{FetchError, Fetched, Site, Want};
use neap_peer::shelf::{Shelf, Use};
use neap_peer::swarm::Fault;
use neap_trust::client::directory::StateFolder;
use neap_trust::client::{Checked, Refusal};
use neap_trust::target::Kind;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ledger::Ledger;
use super::metrics::{Counts, Exporter, enter_node};
use super::painter::Painter;
use super::purse::Purse;
use super::{Configuration, QUIET, runtime, start};
use crate::apply;
use crate::args::{Apply, Common};
use crate::check;
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::outcome::Outcome;
use crate::plan::{Running, refused};
use crate::size::{exact, human};

#[derive(Debug, Group)]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: Configuration,
    /// The group of the device [default: the configured one]
    #[arg(long)]
    group: Option<String>,
    /// The product [default: the configured one]
    #[arg(long)]
    product: Option<String>,
    #[command(flatten)]
    running: Running,
    /// Apply it while it comes: the image that runs, a file or block device
    #[arg(long, value_name = "PATH", requires = "target")]
    source: Option<PathBuf>,
    /// Apply it while it comes: what is overwritten, a file or block device
    #[arg(long, value_name = "PATH", requires = "source")]
    target: Option<PathBuf>,
    /// Give up when nothing came for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, Failure> {
    let config = args.configuration.load()?;
    let group = args.group.clone().or_else(|| config.groups.first().cloned());
    let product = args.product.clone().or_else(|| config.product.clone());
    let (Some(group), Some(product)) = (group, product) else {
        let error = "neither the command line nor the configuration names group and product";
        return Err(Failure::new(Exit::Usage, error.into(), "give --group and --product"));
    };
    let purse = Purse::open(&config.state)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let started = start(config, Use::Writes)?;
        let (shelf, counts) = (started.shelf.clone(), started.counts.clone());
        let (mut site, config) = started.site(Box::new(purse.clone()));
        let discovery = config.mdns.then(|| mdns::begin(site.node(), &config.site));
        if let Some(Err(why)) = &discovery {
            eprintln!("no multicast: {why}; only configured peers are asked");
        }
        let shown = shown(&counts, &purse, &config, site.node());
        let exporter = Exporter::start(&config, "fetch", shown).await;
        let fetch = Fetch { args, group, product, config, shelf, purse, counts };
        let done = fetch.all(&mut site).await.inspect_err(|failure| fetch.refused(failure));
        site.hang_up();
        exporter.end();
        fetch.purse.settle(fetch.config.links.values().cloned());
        site.node().close().await;
        done
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

struct Fetch<'a> {
    args: &'a Args,
    group: String,
    product: String,
    config: Config,
    shelf: Shelf,
    purse: Purse,
    counts: Counts,
}

/// What `neap fetch` shows when it is asked.
fn shown(
    counts: &Counts,
    purse: &Purse,
    config: &Config,
    node: &Node,
) -> impl Fn() -> String + Send + Sync + use<> {
    let (counts, purse, node) = (counts.clone(), purse.clone(), node.clone());
    let links: Vec<_> = config.links.values().cloned().collect();
    move || {
        let mut metrics = counts.lock().clone();
        metrics.budget =
            links.iter().map(|link| (link.name.clone(), purse.left_of(link))).collect();
        enter_node(&mut metrics, &node);
        metrics.text()
    }
}

impl Fetch<'_> {
    async fn all(&self, site: &mut Site) -> Result<Outcome, Failure> {
        let began = Instant::now();
        site.gather(QUIET, self.config.mdns).await;
        let checked = self.metadata(site).await?;
        self.counts.lock().last_check = Some(Timestamp::now());
        let group = checked.groups.first();
        let offers = group.map(|group| &group.offers[..]).unwrap_or_default();
        self.purse.set_site(group.and_then(|group| group.profile.as_ref()).map(|p| p.budget));
        let device = self.args.running.device(&self.product, offers)?;
        let planned = plan(offers, &device).map_err(|reason| refused(&reason, &self.product))?;
        let steps: Vec<Offer> = planned.steps.into_iter().cloned().collect();
        self.check_budget(planned.fetch_len, steps.last(), site.is_alone())?;
        let whole = steps.last().map_or(0, |last| whole_len(offers, last));
        let mut ledger = Ledger::load(&self.config.state);
        let (mut rows, mut applied) = (Vec::new(), None);
        for step in &steps {
            let (fetched, made) = self.step(site, step, steps.len() == 1).await?;
            ledger.enter(&fetched);
            self.count(site, &fetched, step.len);
            rows.push((step.clone(), fetched));
            applied = made.or(applied);
        }
        if let Err(error) = ledger.store(&self.config.state) {
            eprintln!("what peers did is not kept: {error}");
        }
        let mut metrics = self.counts.lock();
        let came = metrics.received.iter().filter(|((source, _), _)| *source == Source::Wan);
        let came: u64 = came.map(|(_, bytes)| bytes).sum();
        metrics.saved = whole.saturating_sub(came);
        metrics.last_success = Some(Timestamp::now());
        drop(metrics);
        Ok(self.outcome(&rows, applied, began.elapsed()))
    }

    /// Counts what came of one file.
    fn count(&self, site: &Site, fetched: &Fetched, len: u64) {
        let classes = site.classes();
        let mut metrics = self.counts.lock();
        for (name, groups) in &fetched.taken.by_name {
            let class = classes.get(name).copied().unwrap_or(Class::Lan);
            let source = if class == Class::Lan { Source::Lan } else { Source::Wan };
            metrics.receive(source, class, (groups * GROUP_LEN as u64).min(len));
        }
        let whole = neap_depot::tree::groups(len);
        metrics.resumes += u64::from(fetched.before > 0 && fetched.before < whole);
        for ((_, what), count) in &fetched.blame {
            if *what == Fault::WrongBytes {
                metrics.verify_failures += count;
                *metrics.rejected.entry(Reason::WrongBytes).or_default() += count;
            }
        }
    }

    fn refused(&self, failure: &Failure) {
        let reason = match failure.exit {
            Exit::Refused => Reason::Signature,
            Exit::Rollback => Reason::Rollback,
            Exit::Expired => Reason::Expired,
            Exit::OverBudget => Reason::Budget,
            _ => return,
        };
        self.counts.lock().reject(reason);
    }

    /// Signed metadata: from a member of the site that has newer, or, when it is our turn, from
    /// shore. If nobody can be reached, what is here counts, as long as it has not expired.
    async fn metadata(&self, site: &mut Site) -> Result<Checked, Failure> {
        let wanted = self.wanted()?;
        let own = || async { metadata::fresh(&self.shelf).await.ok().flatten() };
        let mut refused: Option<(String, Refusal)> = None;
        let mut turn = Instant::now() + TURN * u32::try_from(site.place()).unwrap_or(0);
        let mut ignored = std::collections::BTreeSet::new();
        // Peers at places on the LAN that are no members of the site.
        for peer in site.neighbours() {
            if let Some(checked) = self.heard(site, &peer, &wanted).await {
                return Ok(checked);
            }
        }
        loop {
            let kept = own().await;
            let newer = site.fresh().into_iter().find(|(peer, shown)| {
                kept.as_deref() != Some(&shown[..]) && !ignored.contains(&peer.name)
            });
            if let Some((peer, _)) = newer {
                if let Some(checked) = self.heard(site, &peer, &wanted).await {
                    return Ok(checked);
                }
                ignored.insert(peer.name.clone());
                continue;
            }
            // Killed and back: those who fetch have asked the shore a moment ago.
            if kept.as_deref().is_some_and(|kept| site.is_current(kept))
                && let Ok(checked) = metadata::sync(None, &self.shelf, wanted.clone()).await
            {
                return Ok(self.tell(site, checked).await);
            }
            if Instant::now() < turn {
                site.wait(turn.saturating_duration_since(Instant::now()).min(POLL)).await;
                continue;
            }
            let mut reached = site.shore().await;
            if let Ok(peer) = &reached {
                if let Some(checked) = self.asked(site, peer, &wanted, &mut refused).await {
                    return Ok(checked);
                }
                let is_lost = refused.as_ref().is_none_or(|(_, refusal)| refusal.exit_code() == 10);
                if let Some(why) = peer.sent_away().filter(|_| is_lost) {
                    refused = None;
                    reached = Err(Some(why));
                }
            }
            if let Err(why) = reached {
                if let Some(checked) = self.elsewhere(site, &wanted, &mut refused).await {
                    return Ok(checked);
                }
                if refused.is_none() && turn.elapsed() > Duration::from_secs(self.args.patience) {
                    let why = why.map_or("no peer is configured".into(), |why| why.to_string());
                    let next = "look at the link; the same command goes on from there";
                    return Err(Failure::new(Exit::Interrupted, format!("shore: {why}"), next));
                }
                if refused.is_none() {
                    site.wait(RETRY).await;
                    continue;
                }
            }
            if let Some((name, refusal)) = refused.take() {
                if turn.elapsed() > Duration::from_secs(self.args.patience)
                    || refusal.exit_code() != 10
                {
                    return Err(check::of_refusal(&refusal, &name, Some(&self.config.state)));
                }
                turn += RETRY;
                site.wait(RETRY).await;
            }
        }
    }

    /// Metadata from the first mirror that gives any, or else what is here: a link that is down
    /// may be up soon, and it may do meanwhile.
    async fn elsewhere(
        &self,
        site: &mut Site,
        wanted: &Wanted,
        refused: &mut Option<(String, Refusal)>,
    ) -> Option<Checked> {
        for mirror in site.mirrors() {
            let read = metadata::sync_from(mirror.carrier(), &self.shelf, wanted.clone()).await;
            match read {
                Ok(checked) => return Some(self.tell(site, checked).await),
                Err(error) => *refused = Some((mirror.name.clone(), error)),
            }
        }
        metadata::sync(None, &self.shelf, wanted.clone()).await.ok()
    }

    /// From a peer that is not the shore: if what it has is refused, that is said, and others are
    /// asked.
    async fn heard(&self, site: &Site, peer: &Peer, wanted: &Wanted) -> Option<Checked> {
        let mut refused = None;
        let checked = self.asked(site, peer, wanted, &mut refused).await;
        if let Some((name, refusal)) = refused.filter(|_| !self.args.common.quiet) {
            eprintln!("{name}: {refusal}; others are asked");
        }
        checked
    }

    /// From one peer; what was wrong with it goes to `refused`.
    async fn asked(
        &self,
        site: &Site,
        peer: &Peer,
        wanted: &Wanted,
        refused: &mut Option<(String, Refusal)>,
    ) -> Option<Checked> {
        match metadata::sync(Some(peer.connection.clone()), &self.shelf, wanted.clone()).await {
            Ok(checked) => Some(self.tell(site, checked).await),
            Err(error) => {
                *refused = Some((peer.name.clone(), error));
                None
            }
        }
    }

    async fn tell(&self, site: &Site, checked: Checked) -> Checked {
        if let Ok(Some(fresh)) = metadata::fresh(&self.shelf).await {
            site.node().set_fresh(fresh.to_vec());
        }
        checked
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        let root = self.config.root.as_ref().map(|path| check::read_root(path)).transpose()?;
        Ok(Wanted {
            groups: vec![self.group.clone()],
            root,
            state: StateFolder::new(self.config.state.join("trust")),
            clock: check::clock(),
        })
    }

    /// Refuses what would not fit into the budget of any link, before it begins.
    fn check_budget(&self, len: u64, last: Option<&Offer>, alone: bool) -> Result<(), Failure> {
        let update = last.and_then(|offer| offer.custom.to.as_deref()).and_then(Digest::from_hex);
        // What was set aside for metadata is for the update as well.
        self.purse.settle(self.config.links.values().cloned());
        self.purse.set_update(update);
        let with_headers = len + len / 16;
        let fits = |link: &Profile| match self.purse.left_of(link) {
            Left::Unlimited => true,
            Left::Bytes(left) => left >= with_headers,
        };
        let peers = self.config.peers.iter().map(|peer| &peer.link);
        let mirrors = self.config.mirrors.iter().map(|mirror| &mirror.link);
        let links = peers.filter(|link| link.class != Class::Lan).chain(mirrors);
        let links: Vec<_> = links.collect();
        // Members of the site may have it, or fetch it.
        if !alone || links.is_empty() || links.iter().any(|link| fits(link)) {
            return Ok(());
        }
        let left = links.iter().map(|link| match self.purse.left_of(link) {
            Left::Unlimited => u64::MAX,
            Left::Bytes(left) => left,
        });
        let left = left.max().unwrap_or(0);
        Err(Failure::new(
            Exit::OverBudget,
            format!(
                "{}: it takes about {} bytes, and {} are left of the budget",
                self.product,
                exact(with_headers),
                exact(left)
            ),
            "raise the budget, wait for the next day or month, use a cheaper link, or send a stick",
        ))
    }

    /// Fetches one file of the plan, and applies it meanwhile if that was asked for.
    async fn step(
        &self,
        site: &mut Site,
        step: &Offer,
        only: bool,
    ) -> Result<(Fetched, Option<Outcome>), Failure> {
        let unnamed = || {
            let error = format!("{}: its blob has no digest", step.path);
            Failure::new(Exit::Error, error, "tell who released it")
        };
        let blob = Digest::from_hex(&step.custom.blake3).ok_or_else(unnamed)?;
        let (tell, told) = watch::channel(0);
        let applying = self.applying(blob, step.len, told, only)?;
        let want = Want { blob, len: step.len, in_order: applying.is_some() };
        let mut painter = Painter::new(self.args.common.quiet, step.len);
        let patience = Duration::from_secs(self.args.patience);
        let fetched =
            site.fetch(want, patience, &tell, &mut |progress| painter.paint(progress)).await;
        drop(tell);
        let applied = match applying {
            Some(applying) => Some(applying.await.map_err(|error| {
                Failure::new(Exit::Error, format!("apply: {error}"), "run the command again")
            })?),
            None => None,
        };
        let fetched = fetched.map_err(|error| failed(&error, step))?;
        Ok((fetched, applied.transpose()?))
    }

    fn applying(
        &self,
        blob: Digest,
        len: u64,
        told: watch::Receiver<u64>,
        only: bool,
    ) -> Result<Option<tokio::task::JoinHandle<Result<Outcome, Failure>>>, Failure> {
        let (Some(source), Some(target)) = (&self.args.source, &self.args.target) else {
            return Ok(None);
        };
        if !only {
            let error = "the way to this version takes several patches";
            let next = "fetch without --target, and apply them one after the other";
            return Err(Failure::new(Exit::Usage, error.into(), next));
        }
        let args = Apply {
            unpack_memory: UNPACK_MEMORY_MAX,
            patch: PathBuf::from("-"),
            source: source.clone(),
            target: target.clone(),
            state: self.config.state.clone(),
            no_source_check: false,
            no_read_back: false,
            common: Common { quiet: true, ..self.args.common },
        };
        let arriving = Arriving::new(self.shelf.clone(), blob, len, told);
        Ok(Some(tokio::task::spawn_blocking(move || {
            apply::run_with(&args, PatchInput::pipe(arriving))
        })))
    }

    fn outcome(
        &self,
        rows: &[(Offer, Fetched)],
        applied: Option<Outcome>,
        took: Duration,
    ) -> Outcome {
        let mut text = String::new();
        for (step, fetched) in rows {
            text += &format!("{}  {} bytes\n", step.path, exact(step.len));
            text += &format!("   blob {}\n", step.custom.blake3);
            if fetched.before > 0 {
                let before = (fetched.before * GROUP_LEN as u64).min(step.len);
                text += &format!("   {:<24} {} bytes\n", "here before", exact(before));
            }
            for (name, groups) in &fetched.taken.by_name {
                let bytes = groups * GROUP_LEN as u64;
                text += &format!("   from {name:<19} {}\n", human(bytes));
            }
            for ((name, what), count) in &fetched.blame {
                text += &format!("   blamed {name}: {what:?}, {count} times\n");
            }
        }
        let crossed = rows.last().map(|(_, fetched)| fetched.crossed.clone()).unwrap_or_default();
        for (name, bytes) in &crossed {
            let price = self.config.links.get(name).and_then(|link| link.price.as_ref());
            let cost = price.map_or(String::new(), |price| {
                let cents = price.cents(*bytes);
                format!(", {}", neap_peer::link::money(cents, price.currency()))
            });
            text += &format!("over {name}: {} bytes{cost}\n", exact(*bytes));
        }
        text += &format!("took {:.1} s\n", took.as_secs_f64());
        let applied_json = applied.as_ref().map(|outcome| outcome.json.clone());
        if let Some(applied) = applied {
            text += &applied.text;
        }
        let json = as_json(rows, &crossed, applied_json, took);
        Outcome { text, json }
    }
}

/// What the image would take whole: as the release has it, or else as it is.
fn whole_len(offers: &[Offer], last: &Offer) -> u64 {
    let is_it =
        |offer: &&Offer| offer.custom.kind == Kind::Full && offer.custom.to == last.custom.to;
    offers.iter().find(is_it).map_or(last.custom.to_len.unwrap_or(0), |whole| whole.len)
}

fn as_json(
    rows: &[(Offer, Fetched)],
    crossed: &std::collections::BTreeMap<String, u64>,
    applied: Option<Value>,
    took: Duration,
) -> Value {
    let files = rows.iter().map(|(step, fetched)| {
        let blame = fetched.blame.iter().map(|((name, what), count)| {
            json!({ "device": name, "what": format!("{what:?}"), "count": count })
        });
        json!({
            "path": step.path,
            "len": step.len,
            "blake3": step.custom.blake3,
            "groups_before": fetched.before,
            "groups_from": fetched.taken.by_name,
            "blame": blame.collect::<Vec<_>>(),
        })
    });
    json!({
        "schema": "neap.fetch.v1",
        "files": files.collect::<Vec<_>>(),
        "crossed_bytes": crossed,
        "took_s": took.as_secs_f64(),
        "applied": applied,
    })
}

fn failed(error: &FetchError, step: &Offer) -> Failure {
    let text = format!("{}: {error}", step.path);
    let kept = "what came is kept; nothing that was not verified is".to_owned();
    let (exit, next) = match error {
        FetchError::Depot(error) => (io_exit(error), "make room, or check the disk"),
        FetchError::Budget { .. } => {
            (Exit::OverBudget, "raise the budget, wait for the next day or month, or send a stick")
        }
        _ => (Exit::Interrupted, "the same command goes on from there"),
    };
    Failure { state: kept, ..Failure::new(exit, text, next) }
}

/// How long the next member of the site waits for news before it asks the shore itself.
const TURN: Duration = Duration::from_secs(6);

/// How long to wait before the shore is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How often the site is listened to while it is not our turn.
const POLL: Duration = Duration::from_millis(500);
