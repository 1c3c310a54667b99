//! One blob on its way to this node: what to ask of whom. A pure state machine: it is told what
//! happened and what time it is, in milliseconds from any start, and says what to do.
//!
//! Sources are of three kinds. Members of the same *site* tell each other what they have and
//! fetch from each other freely. A *free* source is asked for anything. A *costly* one is behind
//! the link that is paid for: one member at a time, elected without a vote, fetches over it what
//! nobody on the site has and nobody has claimed ([`elect`](self)), and the others swarm.
//!
//! - `source`: what is known of one source. `elect`: who fetches over the costly link.
//! - `ask`: which groups are asked of whom.

mod ask;
mod elect;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use neap_depot::limits::GROUP_LEN;
use neap_depot::tree;
use neap_engine::digest::Digest;

use crate::groups::Groups;
use crate::limits::HAVE_RANGES_MAX;
use crate::wire::Notice;
pub use elect::draw;
pub use source::Kind;
use source::Source;

/// A source, for as long as the swarm lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// One question to one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What is to be fetched, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The blob.
    pub blob: Digest,
    /// Its length in bytes, from signed metadata.
    pub len: u64,
    /// This node's device name.
    pub me: String,
    /// What is there already, verified.
    pub have: Groups,
    /// Whether it is used from its start while it comes, so that the first bytes are wanted first.
    pub in_order: bool,
    /// Whether this node may use a costly link at all.
    pub may_fetch: bool,
    /// How long members of the site are waited for before a costly link is used.
    pub quiet_ms: u64,
    /// How long whoever fetches for the site may come no further before the next one does.
    pub lease_ms: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask a source for these groups.
    Ask {
        /// Under this number.
        request: RequestId,
        /// Whom.
        source: SourceId,
        /// For what.
        groups: Groups,
    },
    /// Ask no longer: reset the stream. What comes all the same is as good as before.
    Cancel(RequestId),
    /// Tell a member of the site.
    Tell(SourceId, Notice),
    /// Connect to a costly source, or connect anew: an old connection comes no further.
    Dial(SourceId),
    /// A source sent wrong bytes or did not give what it said it had.
    Blame {
        /// Its device name.
        name: String,
        /// What it did.
        what: Fault,
    },
}

/// What a source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It sent bytes that are not those of the blob; it is asked for nothing more.
    WrongBytes,
    /// It did not give what it said it had.
    BrokenPromise,
    /// It gave nothing for too long.
    Stalled,
    /// It fetched nothing over the costly link although it was its turn.
    Idle,
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All that was asked for came.
    Done,
    /// Bytes came that are not those of the blob.
    Wrong,
    /// The source says that it does not have it.
    Lacking,
    /// The source says not now.
    Busy,
    /// The stream or the connection ended.
    Lost,
}

/// What came, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Groups of each source, by its device name.
    pub by_name: BTreeMap<String, u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Swarm {
    plan: Plan,
    count: u64,
    have: Groups,
    sources: BTreeMap<SourceId, Source>,
    requests: BTreeMap<RequestId, Asked>,
    under_way: Groups,
    next_request: u64,
    banned: BTreeSet<String>,
    /// How often each member's turn ended because nothing came of it.
    passed_over: BTreeMap<String, u32>,
    turn: Option<(String, u64)>,
    started_ms: u64,
    news: Groups,
    told_ms: u64,
    claimed: Groups,
    taken: Taken,
    actions: Vec<Action>,
}

/// A question that is open.
#[derive(Debug)]
struct Asked {
    source: SourceId,
    left: Groups,
    moved_ms: u64,
}

impl Swarm {
    /// Begins, or goes on with what is there.
    #[must_use]
    pub fn new(plan: Plan, now_ms: u64) -> Self {
        let count = tree::groups(plan.len);
        let mut have = plan.have.clone();
        have.remove(&(count..u64::MAX));
        Self {
            plan,
            count,
            have,
            sources: BTreeMap::new(),
            requests: BTreeMap::new(),
            under_way: Groups::default(),
            next_request: 0,
            banned: BTreeSet::new(),
            passed_over: BTreeMap::new(),
            turn: None,
            started_ms: now_ms,
            news: Groups::default(),
            told_ms: now_ms,
            claimed: Groups::default(),
            taken: Taken::default(),
            actions: Vec::new(),
        }
    }

    /// A source is there: connected, but for a costly one, which is dialled when its turn comes.
    /// A `whole` one has all of the blob, as far as is known.
    pub fn add(&mut self, id: SourceId, name: &str, kind: Kind, whole: bool) {
        let have = if whole { Groups::of(0..self.count) } else { Groups::default() };
        self.sources.insert(id, Source::new(name, kind, have));
        if kind == Kind::Site {
            let groups = self.have.clone();
            self.tell_one(id, self.have_notice(groups));
            if !self.claimed.is_empty() {
                let (blob, groups) = (self.plan.blob, self.claimed.clone());
                self.tell_one(id, Notice::Claim { blob, groups });
            }
        }
    }

    /// Whether this source was added.
    #[must_use]
    pub fn knows(&self, id: SourceId) -> bool {
        self.sources.contains_key(&id)
    }

    /// A source is gone for good, or a member of the site for now.
    pub fn remove(&mut self, id: SourceId, now_ms: u64) {
        self.lose(id, now_ms);
        self.sources.remove(&id);
    }

    /// A costly source is connected, or is not any more.
    pub fn set_up(&mut self, id: SourceId, up: bool, now_ms: u64) {
        if !up {
            self.lose(id, now_ms);
        }
        if let Some(source) = self.sources.get_mut(&id) {
            source.up = up;
        }
    }

    /// A costly source that is asked only where no other costly one gives anything: a mirror.
    pub fn set_last(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.is_last = true;
        }
    }

    /// How many groups may be under way from a costly source, and how many bytes of its budget
    /// are left.
    pub fn set_costly(&mut self, id: SourceId, window_groups: u64, left: u64) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.window_groups = window_groups;
            source.budget_left = left;
        }
    }

    /// Whether this node may use a costly link: not if its budget is spent or the hour is wrong.
    pub fn set_may_fetch(&mut self, may_fetch: bool) {
        if self.plan.may_fetch != may_fetch {
            self.plan.may_fetch = may_fetch;
            self.tell_all(&self.have_notice(self.have.clone()));
        }
    }

    /// A member of the site said something of this blob.
    pub fn heard(&mut self, id: SourceId, notice: &Notice, now_ms: u64) {
        let end = self.count..u64::MAX;
        let Some(source) = self.sources.get_mut(&id).filter(|s| s.kind == Kind::Site) else {
            return;
        };
        match notice {
            Notice::Have { blob, may_fetch, groups } if *blob == self.plan.blob => {
                source.takes_part = true;
                source.may_fetch = *may_fetch;
                source.have = groups.clone();
                source.lacking = Groups::default();
            }
            Notice::More { blob, groups } if *blob == self.plan.blob => {
                let mut new = groups.clone();
                new.subtract(&source.have);
                new.subtract(&self.have);
                source.have.extend(groups);
                source.have.truncate(HAVE_RANGES_MAX);
                source.lacking.subtract(groups);
                // What it claimed has come: it gets on. It will be asked for it, which shows if it
                // lies; so nothing counts that it or we had before.
                if new.iter().any(|range| source.claims.within(range).next().is_some()) {
                    source.moved_ms = now_ms;
                }
                source.claims.subtract(groups);
            }
            Notice::Claim { blob, groups } if *blob == self.plan.blob => {
                if source.claims.is_empty() {
                    source.moved_ms = now_ms;
                }
                source.claims = groups.clone();
                source.claims.remove(&end);
            }
            _ => return,
        }
        source.have.remove(&end);
    }

    /// Groups came, were verified and stored.
    pub fn arrived(&mut self, request: RequestId, groups: Groups, now_ms: u64) {
        let mut new = groups.clone();
        new.subtract(&self.have);
        self.have.extend(&groups);
        self.news.extend(&new);
        self.under_way.subtract(&groups);
        let Some(asked) = self.requests.get_mut(&request) else { return };
        asked.left.subtract(&groups);
        asked.moved_ms = now_ms;
        let Some(source) = self.sources.get_mut(&asked.source) else { return };
        source.moved_ms = now_ms;
        source.asked_groups = source.asked_groups.saturating_sub(groups.count());
        source.strikes = 0;
        *self.taken.by_name.entry(source.name.clone()).or_default() += new.count();
        if source.kind == Kind::Site && !new.is_empty() {
            self.passed_over.remove(&source.name);
        }
        if source.kind == Kind::Costly {
            self.passed_over.remove(&self.plan.me);
            let groups = groups.count() * GROUP_LEN as u64;
            source.budget_left = source.budget_left.saturating_sub(groups);
        }
    }

    /// A question ended.
    pub fn ended(&mut self, request: RequestId, end: End, now_ms: u64) {
        let Some((id, left)) = self.close(request) else { return };
        let Some(source) = self.sources.get_mut(&id) else { return };
        let name = source.name.clone();
        match end {
            End::Done if left.is_empty() => {}
            End::Wrong => {
                self.actions.push(Action::Blame { name: name.clone(), what: Fault::WrongBytes });
                self.ban(&name, now_ms);
            }
            // It said that all of it came, or never had it: both break a promise.
            End::Done | End::Lacking => {
                source.rest(now_ms);
                if source.kind == Kind::Site {
                    source.lacking.extend(&left);
                    *self.passed_over.entry(name.clone()).or_default() += 1;
                    self.actions.push(Action::Blame { name, what: Fault::BrokenPromise });
                }
            }
            End::Busy => source.rest_until_ms = now_ms + BUSY_MS,
            End::Lost => source.rest(now_ms),
        }
    }

    /// Whether all of it is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.have.covers(&(0..self.count))
    }

    /// The blob.
    #[must_use]
    pub fn blob(&self) -> Digest {
        self.plan.blob
    }

    /// Groups that are here.
    #[must_use]
    pub fn have(&self) -> &Groups {
        &self.have
    }

    /// How many groups the blob has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What came from whom.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Whether each member of the site that takes part has all of it, so that nobody needs us. What
    /// one says that gave wrong bytes counts for nothing.
    #[must_use]
    pub fn is_site_complete(&self) -> bool {
        let whole = 0..self.count;
        let member =
            |source: &&Source| source.kind == Kind::Site && !self.banned.contains(&source.name);
        let mut members = self.sources.values().filter(member);
        self.is_complete() && members.all(|source| !source.takes_part || source.have.covers(&whole))
    }

    /// What is to be done now. To be asked after each event and ten times a second.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Action> {
        self.drop_stalled(now_ms);
        let mine = self.elect(now_ms);
        if self.is_complete() {
            self.cancel_all(|_| true);
        } else {
            self.ask_site(now_ms);
            if mine {
                self.ask_costly(now_ms);
            } else {
                self.cancel_all(|source| source.kind == Kind::Costly);
            }
        }
        self.tell(now_ms);
        std::mem::take(&mut self.actions)
    }

    /// Tells the site what came and what is claimed.
    fn tell(&mut self, now_ms: u64) {
        let mut claimed = Groups::default();
        for asked in self.requests.values() {
            let kind = self.sources.get(&asked.source).map(|source| source.kind);
            if kind == Some(Kind::Costly) {
                claimed.extend(&asked.left);
            }
        }
        let newly = claimed.iter().any(|range| !self.claimed.covers(&range));
        let due = now_ms >= self.told_ms + TELL_MS || self.is_complete();
        if due && !self.news.is_empty() {
            self.told_ms = now_ms;
            let groups = std::mem::take(&mut self.news);
            self.tell_all(&Notice::More { blob: self.plan.blob, groups });
        }
        if newly || (due && claimed != self.claimed) {
            self.claimed = claimed.clone();
            self.tell_all(&Notice::Claim { blob: self.plan.blob, groups: claimed });
        }
    }

    fn have_notice(&self, groups: Groups) -> Notice {
        let may_fetch = self.plan.may_fetch && self.has_costly();
        Notice::Have { blob: self.plan.blob, may_fetch, groups }
    }

    fn has_costly(&self) -> bool {
        self.sources.values().any(|source| source.kind == Kind::Costly)
    }

    fn tell_one(&mut self, id: SourceId, notice: Notice) {
        self.actions.push(Action::Tell(id, notice));
    }

    fn tell_all(&mut self, notice: &Notice) {
        let members = self.sources.iter().filter(|(_, source)| source.kind == Kind::Site);
        let tells = members.map(|(id, _)| Action::Tell(*id, notice.clone()));
        self.actions.extend(tells);
    }

    /// Never asks this name again.
    fn ban(&mut self, name: &str, now_ms: u64) {
        self.banned.insert(name.to_owned());
        let banned = |source: &Source| source.name == name;
        self.cancel_all(banned);
        for source in self.sources.values_mut().filter(|source| banned(source)) {
            source.rest(now_ms);
        }
    }

    /// Forgets a question; what is left of it is open again.
    fn close(&mut self, request: RequestId) -> Option<(SourceId, Groups)> {
        let asked = self.requests.remove(&request)?;
        self.under_way.subtract(&asked.left);
        if let Some(source) = self.sources.get_mut(&asked.source) {
            source.asked_groups = source.asked_groups.saturating_sub(asked.left.count());
        }
        Some((asked.source, asked.left))
    }

    fn cancel_all(&mut self, which: impl Fn(&Source) -> bool) {
        let sources = &self.sources;
        let open =
            self.requests.iter().filter(|(_, asked)| sources.get(&asked.source).is_none_or(&which));
        let open: Vec<_> = open.map(|(request, _)| *request).collect();
        for request in open {
            self.close(request);
            self.actions.push(Action::Cancel(request));
        }
    }

    /// The connection of a source is gone, and with it its claims.
    fn lose(&mut self, id: SourceId, now_ms: u64) {
        let open = self.requests.iter().filter(|(_, asked)| asked.source == id);
        let open: Vec<_> = open.map(|(request, _)| *request).collect();
        for request in open {
            self.close(request);
            self.actions.push(Action::Cancel(request));
        }
        if let Some(source) = self.sources.get_mut(&id) {
            source.claims = Groups::default();
            source.moved_ms = now_ms;
        }
    }
}

/// News are told so often: more often costs packets, less often delays the site.
const TELL_MS: u64 = 100;

/// How long a source that is busy is left alone.
const BUSY_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{GROUP_COUNT_MAX, RANGE_COUNT_MAX};

    /// A member may tell of every second group of the longest blob, a thousand at a time: each is a
    /// range, which would take a gigabyte. Only the first ranges are remembered.
    #[test]
    fn what_a_member_tells_bit_by_bit_takes_bounded_memory() {
        let plan = Plan {
            blob: Digest([7; 32]),
            len: GROUP_COUNT_MAX * GROUP_LEN as u64,
            me: "me".into(),
            have: Groups::default(),
            in_order: true,
            may_fetch: false,
            quiet_ms: 0,
            lease_ms: 8_000,
        };
        let (mut swarm, id) = (Swarm::new(plan, 0), SourceId(5));
        swarm.add(id, "liar", Kind::Site, false);
        for round in 0..20 {
            let first = round * 2 * RANGE_COUNT_MAX as u64;
            let groups = (0..RANGE_COUNT_MAX as u64).map(|i| first + 2 * i..first + 2 * i + 1);
            let groups = groups.collect();
            swarm.heard(id, &Notice::More { blob: Digest([7; 32]), groups }, 0);
        }
        assert_eq!(swarm.sources[&id].have.range_count(), HAVE_RANGES_MAX);
        assert!(!swarm.poll(0).is_empty(), "what it told first is asked of it");
    }
}
