//! What may cross links that cost: the meter of `neap_peer`, kept in the node's state folder.

use std::sync::{Arc, Mutex, PoisonError};

use neap_engine::digest::Digest;
use neap_peer::budget::{Charge, Left, METER_FILE, Meter};
use neap_peer::limits::RESERVE_LEN;
use neap_peer::link::Profile;
use neap_peer::quic::site;
use neap_trust::client::directory::StateFolder;
use neap_trust::profile::Budget;
use neap_trust::state::State;

use super::now;
use crate::exit::Exit;
use crate::failure::Failure;

/// The meter and what bytes are charged to. Copies are the same.
#[derive(Clone)]
pub(crate) struct Purse {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    meter: Meter,
    state: StateFolder,
    site: Option<Budget>,
    update: Option<Digest>,
    /// Why nothing may be spent any more.
    broken: Option<String>,
}

impl Purse {
    /// The meter in this folder.
    pub(crate) fn open(state: &std::path::Path) -> Result<Self, Failure> {
        let folder = StateFolder::new(state);
        let path = state.join(METER_FILE);
        let failed = |fact: String| {
            let error = format!("{}: {fact}; nothing may be spent", path.display());
            Failure::new(Exit::Error, error, "look at the file; removing it forgets what was spent")
        };
        let bytes = folder.load(METER_FILE).map_err(|error| failed(error.to_string()))?;
        let meter = Meter::load(bytes.as_deref()).map_err(|error| failed(error.to_string()))?;
        let (site, update, broken) = (None, None, None);
        let inner = Inner { meter, state: folder, site, update, broken };
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// What the signed profile of the site allows.
    pub(crate) fn set_site(&self, budget: Option<Budget>) {
        self.lock().site = budget;
    }

    /// What bytes are charged to from now on.
    pub(crate) fn set_update(&self, update: Option<Digest>) {
        self.lock().update = update;
    }

    /// Bytes that may still cross a link for the current update, with what is set aside for it.
    pub(crate) fn left_of(&self, link: &Profile) -> Left {
        let inner = self.lock();
        let charge = inner.charge(link);
        match inner.meter.left(charge, &link.limits(inner.site.as_ref()), now()) {
            Left::Unlimited => Left::Unlimited,
            Left::Bytes(left) => Left::Bytes(left.saturating_add(inner.meter.ready(charge))),
        }
    }

    /// Gives back what was set aside and not used.
    pub(crate) fn settle(&self, links: impl Iterator<Item = Profile>) {
        let mut inner = self.lock();
        for link in links {
            let update = inner.update;
            inner.meter.release(Charge { link: &link.name, update });
        }
        inner.store();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn charge<'a>(&self, link: &'a Profile) -> Charge<'a> {
        Charge { link: &link.name, update: self.update }
    }

    /// Stores the meter; if that fails, nothing more is spent.
    fn store(&mut self) {
        let (meter, state) = (&mut self.meter, &mut self.state);
        if let Err(error) = meter.persist(|bytes| state.store(METER_FILE, bytes)) {
            self.broken = Some(error.to_string());
        }
    }
}

impl site::Purse for Purse {
    fn left(&mut self, link: &Profile) -> u64 {
        let mut inner = self.lock();
        let now = now();
        if inner.broken.is_some() || !link.is_open(now) {
            return 0;
        }
        let limits = link.limits(inner.site.as_ref());
        if limits.is_unlimited() {
            return u64::MAX;
        }
        let charge = inner.charge(link);
        let mut changed = inner.meter.tick(now);
        if inner.meter.ready(charge) < AHEAD / 2 {
            let more = inner.meter.left(charge, &limits, now).at_most(AHEAD);
            changed |= more > 0 && inner.meter.reserve(charge, more, &limits, now).is_ok();
        }
        if changed {
            inner.store();
        }
        inner.meter.ready(charge)
    }

    fn crossed(&mut self, link: &Profile, bytes: u64) {
        let mut inner = self.lock();
        let charge = inner.charge(link);
        // Counted in any case; what was not set aside ends the use of the link by `left`.
        if bytes > 0 && inner.meter.spend(charge, bytes, now()).is_err() {
            inner.store();
        }
    }
}

/// What is set aside at a time: more than is under way on a link at a time.
const AHEAD: u64 = 16 * RESERVE_LEN;
