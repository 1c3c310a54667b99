//! A blob fetched: the loop that carries out what the swarm decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::way::Way;
use super::super::{ask, mirror};
use super::{Done, FetchError, Fetched, Progress, Site, Want, costly_id, peer_id, window_groups};
use crate::groups::Groups;
use crate::limits::SPAN_GROUPS;
use crate::swarm::{Action, End, Fault, Kind, Plan, RequestId, SourceId, Swarm};

impl Site {
    /// Fetches a blob from whoever has it, keeps it in the depot, and goes on until all of it is
    /// there and verified. `verified` is told how many groups from the start on are there.
    ///
    /// # Errors
    /// [`FetchError`]; what came until then stays and is not fetched again.
    pub async fn fetch(
        &mut self,
        want: Want,
        patience: Duration,
        verified: &watch::Sender<u64>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Fetched, FetchError> {
        let have = self.shelf.begin(want.blob, want.len).await.map_err(FetchError::Depot)?;
        let before = have.count();
        let mut run = Run {
            swarm: Swarm::new(
                Plan {
                    blob: want.blob,
                    len: want.len,
                    me: self.node.me().to_owned(),
                    have,
                    in_order: want.in_order,
                    may_fetch: true,
                    quiet_ms: if self.members.is_empty() { 0 } else { QUIET_MS },
                    lease_ms: LEASE_MS,
                },
                0,
            ),
            want,
            tasks: BTreeMap::new(),
            blame: BTreeMap::new(),
            moved: Instant::now(),
            way: Way::default(),
        };
        self.started = Instant::now();
        for (index, costly) in self.costly.iter().enumerate() {
            run.swarm.add(costly_id(index), &costly.name(index), Kind::Costly, true);
            let up = costly.peer.as_ref().is_some_and(|peer| peer.is_open());
            run.swarm.set_up(costly_id(index), up, 0);
        }
        self.mirrors.add_to(&mut run.swarm);
        for peer in self.node.peers() {
            self.meet(&mut run.swarm, &peer);
        }
        let fetched = self.drive(&mut run, patience, verified, progress).await;
        run.tasks.values().for_each(JoinHandle::abort);
        self.count();
        fetched?;
        let whole = self.shelf.finish(want.blob).await.map_err(FetchError::Depot)?;
        if !whole {
            let why = "it was whole, and is not any more";
            return Err(FetchError::Depot(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let taken = run.swarm.taken().clone();
        self.serve_until_complete(&mut run).await;
        Ok(Fetched { taken, before, blame: run.blame, crossed: self.crossed.clone() })
    }

    async fn drive(
        &mut self,
        run: &mut Run,
        patience: Duration,
        verified: &watch::Sender<u64>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), FetchError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut redial = Instant::now();
        loop {
            self.act(run)?;
            let prefix = run.swarm.have().gaps(0..run.swarm.count()).next();
            let prefix = prefix.map_or(run.swarm.count(), |gap| gap.start);
            verified.send_if_modified(|known| std::mem::replace(known, prefix) != prefix);
            if run.swarm.is_complete() {
                // The last news reach the site before anything else happens.
                self.act(run)?;
                return Ok(());
            }
            if run.moved.elapsed() > patience {
                let for_s = run.moved.elapsed().as_secs();
                return Err(FetchError::Nobody { for_s, last: self.last_failure.clone() });
            }
            tokio::select! {
                event = self.events.recv() => {
                    let event = event.ok_or(FetchError::Closed)?;
                    self.hear(&mut run.swarm, &event);
                }
                done = self.done.1.recv() => {
                    let done = done.ok_or(FetchError::Closed)?;
                    self.finish(run, done)?;
                    // What else is there already is taken along.
                    while let Ok(done) = self.done.1.try_recv() {
                        self.finish(run, done)?;
                    }
                }
                _ = tick.tick() => {
                    self.count();
                    progress(&self.progress(run));
                    self.migrate_if_moved(run);
                    if redial.elapsed() > REDIAL {
                        redial = Instant::now();
                        self.dial_near();
                    }
                }
            }
        }
    }

    /// Whoever only receives does not notice that its address has changed, nor that a router on the
    /// way has forgotten it: what is sent to it goes to where it was.
    fn migrate_if_moved(&self, run: &mut Run) {
        let peers = self.costly.iter().filter_map(|costly| costly.peer.as_ref());
        let remotes: Vec<_> = peers.map(|peer| peer.connection.remote_address()).collect();
        let is_waiting = !run.tasks.is_empty();
        if run.way.may_have_moved(&remotes, is_waiting.then_some(run.moved)) {
            // Without it a new connection is dialled, later.
            drop(self.node.migrate());
        }
    }

    fn progress(&self, run: &Run) -> Progress {
        Progress {
            groups: run.swarm.have().count(),
            of: run.swarm.count(),
            taken: run.swarm.taken().clone(),
            members: self.members.len(),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Carries out what the swarm decided.
    fn act(&mut self, run: &mut Run) -> Result<(), FetchError> {
        let mut spent = None;
        // What neither a span nor all that is missing fits into is as good as spent.
        let missing = run.swarm.count().saturating_sub(run.swarm.have().count());
        let least = missing.min(SPAN_GROUPS) * GROUP_COST;
        let mut all_spent = run.tasks.is_empty();
        // What came since is counted before more is allowed: mirrors may be fast.
        self.mirrors.count(&mut *self.purse, &mut self.crossed);
        for (index, costly) in self.costly.iter().enumerate() {
            let left = self.purse.left(&costly.place.link);
            all_spent &= left < least;
            if left < least {
                spent = Some(costly.place.link.name.clone());
            }
            run.swarm.set_costly(costly_id(index), window_groups(&costly.place.link), left);
        }
        let (swarm, purse) = (&mut run.swarm, &mut *self.purse);
        let (mirror_spent, mirrors_spent) = self.mirrors.allow(swarm, purse, least, window_groups);
        let spent = spent.or(mirror_spent);
        all_spent &= mirrors_spent;
        run.swarm.set_may_fetch(!all_spent);
        if let Some(link) =
            spent.filter(|_| all_spent && self.is_alone() && !self.mirrors.any_near())
        {
            return Err(FetchError::Budget { link });
        }
        for action in run.swarm.poll(self.now_ms()) {
            match action {
                Action::Ask { request, source, groups } => self.ask(run, request, source, groups),
                Action::Cancel(request) => {
                    if let Some(task) = run.tasks.remove(&request) {
                        task.abort();
                    }
                }
                Action::Tell(source, notice) => {
                    if let Some(peer) = peer_id(source).and_then(|id| self.members.get(&id)) {
                        peer.tell(notice);
                    }
                }
                Action::Dial(source) if self.mirrors.of(source).is_some() => {
                    run.swarm.set_up(source, true, self.now_ms());
                }
                Action::Dial(source) => self.dial(source),
                // In an outage it is everybody's turn and nobody's fault.
                Action::Blame { what: Fault::Idle, .. } => {}
                Action::Blame { name, what } => {
                    *run.blame.entry((name, what)).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, run: &mut Run, request: RequestId, source: SourceId, groups: Groups) {
        let mirror = self.mirrors.of(source).cloned();
        let peer = match peer_id(source) {
            Some(id) => self.node.peer(id),
            None => self.costly.get(source.0 as usize).and_then(|costly| costly.peer.clone()),
        };
        if mirror.is_none() && peer.is_none() {
            run.swarm.ended(request, End::Lost, self.now_ms());
            return;
        }
        let (shelf, done, want) = (self.shelf.clone(), self.done.0.clone(), run.want);
        let task = tokio::spawn(async move {
            let arrived = done.clone();
            let (tell, mut told) = mpsc::unbounded_channel();
            let came = move |ask::Came(groups)| drop(tell.send(groups));
            let blob = (want.blob, want.len);
            let asking = async {
                match (mirror, peer) {
                    (Some(mirror), _) => mirror::blob(&mirror, &shelf, blob, groups, came).await,
                    (None, Some(peer)) => {
                        ask::blob(&peer.connection, &shelf, blob, groups, came).await
                    }
                    (None, None) => Ok((End::Lost, None)),
                }
            };
            let telling = async {
                while let Some(groups) = told.recv().await {
                    drop(arrived.send(Done::Arrived(request, groups)).await);
                }
            };
            let (ended, ()) = tokio::join!(asking, telling);
            let told = match ended {
                Ok((end, why)) => Done::Ended(request, end, why),
                Err(error) => Done::Failed(error),
            };
            drop(done.send(told).await);
        });
        run.tasks.insert(request, task);
    }

    fn finish(&mut self, run: &mut Run, done: Done) -> Result<(), FetchError> {
        let now = self.now_ms();
        match done {
            Done::Arrived(request, groups) => {
                run.moved = Instant::now();
                run.swarm.arrived(request, groups, now);
            }
            Done::Ended(request, end, why) => {
                run.tasks.remove(&request);
                self.last_failure = why.or(self.last_failure.take());
                run.swarm.ended(request, end, now);
            }
            Done::Dialled(index, dialled) => {
                self.costly[index].dialling = None;
                match dialled {
                    Ok(peer) => {
                        self.count();
                        if let Some(old) = self.costly[index].peer.replace(peer) {
                            old.connection.close(quinn::VarInt::from_u32(0), b"");
                        }
                        self.costly[index].counted = 0;
                        run.swarm.set_up(costly_id(index), false, now);
                        run.swarm.set_up(costly_id(index), true, now);
                    }
                    Err(error) => self.last_failure = Some(error.to_string()),
                }
            }
            Done::Near(Ok(peer)) => {
                self.free.insert(peer.id);
                self.meet(&mut run.swarm, &peer);
            }
            Done::Near(Err(_)) => {}
            Done::Failed(error) => return Err(FetchError::Depot(error)),
        }
        Ok(())
    }

    /// What is here is given on until each member that takes part has it, or none asks any more.
    async fn serve_until_complete(&mut self, run: &mut Run) {
        self.hang_up();
        let end = Instant::now() + LINGER;
        let mut tick = tokio::time::interval(TICK);
        let (mut served, mut moved) = (0, Instant::now());
        while !run.swarm.is_site_complete() && Instant::now() < end && moved.elapsed() < IDLE {
            if self.act(run).is_err() {
                return;
            }
            let bytes = self.node.served().bytes.load(Ordering::Relaxed);
            if std::mem::replace(&mut served, bytes) != bytes {
                moved = Instant::now();
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.hear(&mut run.swarm, &event),
                    None => return,
                },
                _ = tick.tick() => {}
            }
        }
    }
}

pub(super) struct Run {
    pub(super) swarm: Swarm,
    want: Want,
    tasks: BTreeMap<RequestId, JoinHandle<()>>,
    blame: BTreeMap<(String, Fault), u64>,
    moved: Instant,
    way: Way,
}

/// How long whoever fetches for the site may come no further.
const LEASE_MS: u64 = 8_000;

/// How long members of the site are listened to before the first byte crosses a link that costs.
const QUIET_MS: u64 = 400;

/// How often the swarm is asked what to do when nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How often places on the LAN that are not connected are dialled.
const REDIAL: Duration = Duration::from_secs(3);

/// How long a member that has all stays for the others.
const LINGER: Duration = Duration::from_secs(600);

/// How long it stays where none of them asks it for anything: one may have stopped for good.
const IDLE: Duration = Duration::from_secs(20);

/// What a group costs on the link, in bytes: what proves it, packets and handshakes as well.
const GROUP_COST: u64 = neap_depot::limits::GROUP_LEN as u64 * 9 / 8;
