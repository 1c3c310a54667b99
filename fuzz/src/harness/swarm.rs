//! A swarm among sources that say, send and do anything, in any order.

use std::collections::BTreeMap;

use neap_depot::limits::GROUP_LEN;
use neap_depot::tree;
use neap_engine::digest::Digest;
use neap_peer::groups::Groups;
use neap_peer::limits::{GROUP_COUNT_MAX, RANGE_COUNT_MAX, REQUEST_GROUPS_MAX, UNDER_WAY_MAX};
use neap_peer::swarm::{Action, End, Kind, Plan, RequestId, SourceId, Swarm};
use neap_peer::wire::Notice;

use super::choices::Choices;

/// Sources below this number are costly.
const COSTLY: u32 = 2;
const SOURCES: usize = 8;
const NAMES: [&str; 4] = ["a", "b", "pump-1", "pump-2"];
const BLOB: Digest = Digest([7; 32]);

/// A swarm and what an edge knows beside it.
struct Edge {
    swarm: Swarm,
    count: u64,
    now_ms: u64,
    /// What is asked and did not come.
    open: BTreeMap<RequestId, (SourceId, Groups)>,
    /// What was cancelled and may come all the same.
    late: BTreeMap<RequestId, Groups>,
    up: [bool; COSTLY as usize],
}

/// Nothing is asked twice at a time, or of nobody, or that is not there; and it stays small.
pub fn swarm(bytes: &[u8]) {
    let choices = &mut Choices::new(bytes);
    let len = match choices.below(4) {
        0 => choices.word() * 9,
        1 => choices.word() * GROUP_LEN as u64 / 64,
        2 => GROUP_COUNT_MAX * GROUP_LEN as u64,
        _ => (1 + choices.word() % 2000) * GROUP_LEN as u64,
    };
    let plan = Plan {
        blob: BLOB,
        len,
        me: "pump-3".into(),
        have: groups(choices),
        in_order: choices.below(2) == 0,
        may_fetch: choices.below(4) > 0,
        quiet_ms: choices.word() % 2000,
        lease_ms: choices.word() % 16_000,
    };
    let mut edge = Edge {
        swarm: Swarm::new(plan, 0),
        count: tree::groups(len),
        now_ms: 0,
        open: BTreeMap::new(),
        late: BTreeMap::new(),
        up: [false; COSTLY as usize],
    };
    // A long input is many events; each costs what all sources together say.
    for _ in 0..200 {
        let event = choices.byte();
        if event == 0 {
            break;
        }
        edge.event(event, choices);
        edge.poll();
    }
}

impl Edge {
    fn event(&mut self, event: u8, choices: &mut Choices<'_>) {
        let id = SourceId(choices.below(SOURCES) as u32);
        let now = self.now_ms;
        match event % 12 {
            0 if !self.swarm.knows(id) => {
                let name = NAMES[choices.below(NAMES.len())];
                let free = choices.below(4) == 0;
                let kind = match (id.0 < COSTLY, free) {
                    (true, _) => Kind::Costly,
                    (false, true) => Kind::Free,
                    (false, false) => Kind::Site,
                };
                self.swarm.add(id, name, kind, kind != Kind::Site);
            }
            1 => {
                self.swarm.remove(id, now);
                self.set_up(id, false);
            }
            2 if id.0 < COSTLY && self.swarm.knows(id) => {
                let up = choices.below(4) > 0;
                self.swarm.set_up(id, up, now);
                self.set_up(id, up);
            }
            3 if id.0 < COSTLY => self.swarm.set_costly(id, choices.word(), choices.number()),
            4 => self.swarm.set_may_fetch(choices.below(2) == 0),
            5..=7 => {
                let blob = if choices.below(16) == 0 { Digest([8; 32]) } else { BLOB };
                let groups = groups(choices);
                let notice = match choices.below(3) {
                    0 => Notice::Have { blob, may_fetch: choices.below(2) == 0, groups },
                    1 => Notice::More { blob, groups },
                    _ => Notice::Claim { blob, groups },
                };
                // What does not pass the wire is not heard.
                let heard = Notice::decode(&notice.encode()[4..]);
                if let Ok(notice) = heard {
                    self.swarm.heard(id, &notice, now);
                }
            }
            8 => self.arrive(choices),
            9 => self.end(choices),
            _ => self.now_ms += choices.word() / (1 + choices.below(64) as u64),
        }
    }

    fn set_up(&mut self, id: SourceId, up: bool) {
        if let Some(known) = self.up.get_mut(id.0 as usize) {
            *known = up;
        }
    }

    /// Some or all of what a question asks for comes; that of a cancelled one, too.
    fn arrive(&mut self, choices: &mut Choices<'_>) {
        let late = choices.below(4) == 0;
        let asked: Vec<_> = match late {
            true => self.late.iter().map(|(id, left)| (*id, left.clone())).collect(),
            false => self.open.iter().map(|(id, (_, left))| (*id, left.clone())).collect(),
        };
        let Some((id, left)) = asked.get(choices.byte() as usize % asked.len().max(1)) else {
            return;
        };
        let most = 1 + choices.word() % 70;
        let some: Groups = left.iter().map(|r| r.start..r.end.min(r.start + most)).collect();
        if let Some((_, left)) = self.open.get_mut(id) {
            left.subtract(&some);
        }
        self.late.remove(id);
        self.swarm.arrived(*id, some, self.now_ms);
    }

    fn end(&mut self, choices: &mut Choices<'_>) {
        let open: Vec<_> = self.open.keys().copied().collect();
        let Some(id) = open.get(choices.byte() as usize % open.len().max(1)) else { return };
        self.open.remove(id);
        let ends = [End::Done, End::Wrong, End::Lacking, End::Busy, End::Lost];
        self.swarm.ended(*id, ends[choices.below(ends.len())], self.now_ms);
    }

    fn poll(&mut self) {
        let mut tells = 0;
        for action in self.swarm.poll(self.now_ms) {
            match action {
                Action::Ask { request, source, groups } => self.asked(request, source, groups),
                Action::Cancel(request) => {
                    let (_, left) = self.open.remove(&request).expect("only open ones end");
                    self.late.insert(request, left);
                }
                Action::Tell(source, notice) => {
                    tells += 1;
                    assert!(source.0 >= COSTLY && source.0 < SOURCES as u32, "{source:?}");
                    assert!(Notice::decode(&notice.encode()[4..]).is_ok(), "{notice:?}");
                }
                Action::Dial(source) => assert!(source.0 < COSTLY, "{source:?} is dialled"),
                Action::Blame { name, .. } => {
                    assert!(NAMES.contains(&name.as_str()), "{name} is blamed");
                }
            }
        }
        assert!(tells <= 8 * SOURCES, "{tells} notices at once");
        // Of what was cancelled only the last may come late, so that this stays small, too.
        while self.late.len() > 64 {
            self.late.pop_first();
        }
    }

    fn asked(&mut self, request: RequestId, source: SourceId, groups: Groups) {
        assert!(!groups.is_empty() && groups.count() <= REQUEST_GROUPS_MAX, "{groups:?}");
        assert!(groups.range_count() <= RANGE_COUNT_MAX, "{groups:?}");
        assert!(groups.iter().all(|range| range.end <= self.count), "{groups:?} of {}", self.count);
        assert!(self.swarm.knows(source), "{source:?} is gone");
        let is_up = self.up.get(source.0 as usize).is_none_or(|up| *up);
        assert!(is_up, "{source:?} is not connected");
        let have = self.swarm.have();
        let meets = |other: &Groups| groups.iter().any(|r| other.within(r).next().is_some());
        assert!(!meets(have), "{groups:?} is here");
        assert!(!self.open.values().any(|(_, left)| meets(left)), "{groups:?} is asked twice");
        self.open.insert(request, (source, groups));
        let under_way: u64 = self.open.values().map(|(_, left)| left.count()).sum();
        let costly: u64 = u64::from(COSTLY) * 0x1_0000;
        let most = UNDER_WAY_MAX / GROUP_LEN as u64 + REQUEST_GROUPS_MAX + costly;
        assert!(under_way <= most, "{under_way} groups under way");
    }
}

/// Up to a thousand ranges of few bytes, ordered or not.
fn groups(choices: &mut Choices<'_>) -> Groups {
    if choices.below(4) == 0 {
        let (start, step) = (choices.number() % GROUP_COUNT_MAX, 2 + choices.word() % 9);
        let count = choices.word() % (RANGE_COUNT_MAX as u64 + 2);
        return (0..count).map(|i| start + i * step..start + i * step + 1).collect();
    }
    let ranges = (0..choices.below(6)).map(|_| {
        let start = choices.number() % if choices.below(8) == 0 { GROUP_COUNT_MAX } else { 2100 };
        start..(start + choices.word() % 2100).min(GROUP_COUNT_MAX)
    });
    ranges.collect()
}
