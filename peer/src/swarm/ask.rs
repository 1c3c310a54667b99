//! Which groups are asked of whom.

use neap_depot::limits::GROUP_LEN;

use super::source::{Kind, Source};
use super::{Action, Asked, Fault, RequestId, SourceId, Swarm};
use crate::groups::Groups;
use crate::limits::{REQUEST_GROUPS_MAX, SPAN_GROUPS, UNDER_WAY_MAX};

impl Swarm {
    /// Gives up questions that come no further.
    pub(super) fn drop_stalled(&mut self, now_ms: u64) {
        let mut costly = None;
        let mut stalled = Vec::new();
        for (request, asked) in &self.requests {
            let Some(source) = self.sources.get(&asked.source) else { continue };
            // Over a costly link the questions wait for each other: it stalls as a whole.
            let moved = match source.kind {
                Kind::Costly => asked.moved_ms.max(source.moved_ms),
                Kind::Site | Kind::Free => asked.moved_ms,
            };
            let patience = match source.kind {
                // Another costly source is tried before it is another member's turn.
                Kind::Costly => self.plan.lease_ms / 4 * 3,
                Kind::Site | Kind::Free => STALL_MS,
            };
            if now_ms < moved + patience {
                continue;
            }
            match source.kind {
                Kind::Costly => costly = Some(asked.source),
                Kind::Site | Kind::Free => stalled.push((*request, asked.source)),
            }
        }
        if let Some(id) = costly {
            self.set_up(id, false, now_ms);
            if let Some(source) = self.sources.get_mut(&id) {
                source.rest(now_ms);
            }
        }
        for (request, id) in stalled {
            self.close(request);
            self.actions.push(Action::Cancel(request));
            if let Some(source) = self.sources.get_mut(&id) {
                source.rest(now_ms);
                let name = source.name.clone();
                self.actions.push(Action::Blame { name, what: Fault::Stalled });
            }
        }
    }

    /// Asks members of the site, and free sources, for what they have and we lack.
    pub(super) fn ask_site(&mut self, now_ms: u64) {
        let from = if self.plan.in_order { 0 } else { self.start() };
        for window in [from..self.count, 0..from] {
            let mut at = window.start;
            while let Some(gap) = self.open(at..window.end) {
                if self.under_way.count() >= UNDER_WAY_MAX / GROUP_LEN as u64 {
                    return;
                }
                at = gap.start + 1;
                let Some(id) = self.nearest(gap.start, now_ms) else {
                    at = self.next_given(gap, now_ms);
                    continue;
                };
                let source = &self.sources[&id];
                let end = (gap.start + REQUEST_GROUPS_MAX).min(gap.end);
                let mut groups: Groups = source.have.within(gap.start..end).collect();
                groups.subtract(&source.lacking);
                self.ask(id, groups, now_ms);
            }
        }
    }

    /// Fetches over the costly link what nobody on the site has or claims.
    pub(super) fn ask_costly(&mut self, now_ms: u64) {
        self.step_back();
        let mut taken = self.claimed_by_others();
        for source in self.sources.values() {
            let is_near = source.kind != Kind::Costly && self.is_usable(source, now_ms);
            if is_near {
                taken.extend(&source.have);
                taken.subtract(&source.lacking);
            }
        }
        let mut at = 0;
        while let Some(gap) = self.open(at..self.count) {
            let Some(gap) = taken.gaps(gap.clone()).next() else {
                at = gap.end;
                continue;
            };
            let end = (gap.start / SPAN_GROUPS + 1) * SPAN_GROUPS;
            let span = gap.start..end.min(gap.end);
            at = span.end;
            let Some(id) = self.costly(&span, now_ms) else { return };
            self.ask(id, Groups::of(span), now_ms);
        }
    }

    /// Where another member that comes before us fetches the same, we do not.
    fn step_back(&mut self) {
        let before = self.claimed_before_us();
        if before.is_empty() {
            return;
        }
        let doubled = self.requests.iter().filter(|(_, asked)| {
            let kind = self.sources.get(&asked.source).map(|source| source.kind);
            kind == Some(Kind::Costly)
                && asked.left.iter().any(|range| before.within(range).next().is_some())
        });
        let doubled: Vec<_> = doubled.map(|(request, _)| *request).collect();
        for request in doubled {
            self.close(request);
            self.actions.push(Action::Cancel(request));
        }
    }

    /// The costly source to ask for this span, if one can take it now; else it may be dialled.
    fn costly(&mut self, span: &std::ops::Range<u64>, now_ms: u64) -> Option<SourceId> {
        let len = span.end - span.start;
        // Pairs, packets and handshakes cost as well.
        let affords = |source: &Source| {
            let bytes = (source.asked_groups + len) * GROUP_LEN as u64;
            bytes + bytes / 8 <= source.budget_left
        };
        let able = self.sources.iter().filter(|(_, source)| {
            let is_banned = self.banned.contains(&source.name);
            source.kind == Kind::Costly && !is_banned && source.gives(span.start) && affords(source)
        });
        let able: Vec<_> = able.collect();
        let others = able.iter().any(|(_, source)| !source.is_last && !source.is_given_up());
        let mut best: Option<((u32, u64), SourceId)> = None;
        for (id, source) in able {
            let has_room = source.asked_groups + len <= source.window_groups.max(len);
            if source.rests(now_ms) || !has_room || (source.is_last && others) {
                continue;
            }
            let order = (source.strikes, source.asked_groups);
            if best.is_none_or(|(first, _)| order < first) {
                best = Some((order, *id));
            }
        }
        let (_, id) = best?;
        let source = self.sources.get_mut(&id)?;
        if source.up {
            return Some(id);
        }
        if now_ms >= source.dial_at_ms {
            source.dial_at_ms = now_ms + DIAL_MS;
            // If it is not reached by then, another one may be.
            source.strikes += 1;
            self.actions.push(Action::Dial(id));
        }
        None
    }

    fn ask(&mut self, id: SourceId, groups: Groups, now_ms: u64) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.under_way.extend(&groups);
        if let Some(source) = self.sources.get_mut(&id) {
            source.asked_groups += groups.count();
            // Its time begins when it is first asked for something.
            if source.asked_groups == groups.count() {
                source.moved_ms = source.moved_ms.max(now_ms);
            }
        }
        let asked = Asked { source: id, left: groups.clone(), moved_ms: now_ms };
        self.requests.insert(request, asked);
        self.actions.push(Action::Ask { request, source: id, groups });
    }

    /// The first range that is neither here nor under way.
    fn open(&self, window: std::ops::Range<u64>) -> Option<std::ops::Range<u64>> {
        let mut at = window.start;
        loop {
            let gap = self.have.gaps(at..window.end).next()?;
            if let Some(open) = self.under_way.gaps(gap.clone()).next() {
                return Some(open);
            }
            at = gap.end;
        }
    }

    /// The site's or free source of a group that has the least to do.
    fn nearest(&self, group: u64, now_ms: u64) -> Option<SourceId> {
        let usable = self.sources.iter().filter(|(_, source)| {
            source.kind != Kind::Costly
                && self.is_usable(source, now_ms)
                && source.gives(group)
                && source.asked_groups < SITE_GROUPS
        });
        // Among equals each node and each group begins elsewhere.
        let turn =
            |id: &SourceId| (u64::from(id.0) + group / REQUEST_GROUPS_MAX + self.start()) % 64;
        usable.min_by_key(|(id, source)| (source.asked_groups, turn(id))).map(|(id, _)| *id)
    }

    /// The next group of a gap that a source could give now, or the gap's end.
    fn next_given(&self, gap: std::ops::Range<u64>, now_ms: u64) -> u64 {
        let usable = self.sources.values().filter(|source| {
            source.kind != Kind::Costly
                && self.is_usable(source, now_ms)
                && source.asked_groups < SITE_GROUPS
        });
        let next = usable.filter_map(|source| {
            let mut given = source.have.within(gap.start + 1..gap.end);
            given.find_map(|range| source.lacking.gaps(range).next()).map(|range| range.start)
        });
        next.min().unwrap_or(gap.end)
    }

    fn is_usable(&self, source: &Source, now_ms: u64) -> bool {
        source.up && !source.rests(now_ms) && !self.banned.contains(&source.name)
    }

    /// Where this node begins when order does not matter, so that a site's members fetch different
    /// parts and have something for each other.
    fn start(&self) -> u64 {
        let digest = blake3::hash(self.plan.me.as_bytes());
        let draw =
            digest.as_bytes().iter().take(7).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let parts = self.count.div_ceil(REQUEST_GROUPS_MAX).max(1);
        draw % parts * REQUEST_GROUPS_MAX
    }
}

/// A question on the LAN that nothing comes of for so long is given up.
const STALL_MS: u64 = 3_000;

/// A costly source that is not reached is tried so often. A try costs about 1.3 kB.
const DIAL_MS: u64 = 5_000;

/// Most groups under way from one member of the site: 4 MiB.
const SITE_GROUPS: u64 = 256;

#[cfg(test)]
mod tests {
    use neap_engine::digest::Digest;

    use super::*;
    use crate::swarm::{End, Plan};

    const SHORE: SourceId = SourceId(0);
    const MIRROR: SourceId = SourceId(1);

    fn swarm() -> Swarm {
        let plan = Plan {
            blob: Digest::of(b"a blob"),
            len: 1000 * GROUP_LEN as u64,
            me: "radar-7".into(),
            have: Groups::default(),
            in_order: false,
            may_fetch: true,
            quiet_ms: 0,
            lease_ms: 8_000,
        };
        let mut swarm = Swarm::new(plan, 0);
        swarm.add(SHORE, "shore", Kind::Costly, true);
        swarm.add(MIRROR, "mirror", Kind::Costly, true);
        swarm.set_last(MIRROR);
        swarm.set_up(MIRROR, true, 0);
        swarm
    }

    fn asked(swarm: &mut Swarm, now_ms: u64) -> Vec<(RequestId, SourceId)> {
        let actions = swarm.poll(now_ms).into_iter();
        let asked = actions.filter_map(|action| match action {
            Action::Ask { request, source, .. } => Some((request, source)),
            _ => None,
        });
        asked.collect()
    }

    #[test]
    fn last_source_is_asked_where_no_other_is_reached() {
        let mut swarm = swarm();
        let mut times = (0..10_000).step_by(100);
        let first = times.find(|now| !asked(&mut swarm, *now).is_empty());
        assert_eq!(first, Some(DIAL_MS + 100), "after the second try");
        assert!(swarm.requests.values().all(|asked| asked.source == MIRROR));
    }

    #[test]
    fn last_source_is_not_asked_where_another_one_is_busy_or_full() {
        let mut swarm = swarm();
        assert_eq!(asked(&mut swarm, 0), []);
        swarm.set_up(SHORE, true, 900);
        let open = asked(&mut swarm, 1_000);
        assert!(!open.is_empty() && open.iter().all(|(_, source)| *source == SHORE));
        assert_eq!(asked(&mut swarm, 1_100), [], "its window is full");
        swarm.ended(open[0].0, End::Busy, 1_200);
        assert_eq!(asked(&mut swarm, 1_300), [], "it rests");
    }

    #[test]
    fn last_source_is_asked_where_the_budget_of_others_is_spent() {
        let mut swarm = swarm();
        swarm.set_costly(SHORE, 128, 0);
        let open = asked(&mut swarm, 0);
        assert!(!open.is_empty() && open.iter().all(|(_, source)| *source == MIRROR));
    }
}
