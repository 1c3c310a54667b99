//! A site in virtual time: members with a LAN between them and one slow link to the shore. What
//! members say and send is what they would say and send: notices as bytes, groups as slices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use neap_depot::limits::GROUP_LEN;
use neap_depot::tree::{Builder, PAIR_LEN};
use neap_engine::digest::Digest;
use neap_peer::groups::Groups;
use neap_peer::slice::{Decoder, SliceError, Step, Steps, Verified};
use neap_peer::swarm::{Action, End, Fault, Kind, Plan, RequestId, SourceId, Swarm};
use neap_peer::wire::Notice;

use super::random::Random;

/// The blob that all want.
pub struct Blob {
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub tree: Vec<u8>,
}

/// How a member or the shore behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Sends wrong bytes.
    Corrupts,
    /// Takes questions and never answers.
    Withholds,
    /// Says that it has all, and then that it has nothing.
    Boasts,
    /// Claims all of the blob over the costly link and fetches nothing, but says again and again
    /// that its first group has come.
    Hogs,
}

/// What is drawn for a site.
#[derive(Debug, Clone)]
pub struct Setup {
    pub members: usize,
    pub groups: u64,
    /// Groups a second over the costly link.
    pub rate: f64,
    pub manners: Vec<Manner>,
    /// Of each of the shore's two sources.
    pub shores: Vec<Manner>,
    /// From and until when nothing passes the costly link, in milliseconds.
    pub outages: Vec<(u64, u64)>,
    /// When which member is killed, and when it is back.
    pub kills: Vec<(u64, usize, u64)>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// When the last honest member had all of it; nothing if that did not happen.
    pub complete_ms: Option<u64>,
    /// Groups that crossed the costly link, wasted ones included.
    pub crossed: u64,
    /// Names that an honest member blamed for wrong bytes.
    pub blamed: BTreeSet<String>,
    /// Whether a member holds a group that is not the blob's.
    pub wrong: bool,
}

struct Member {
    swarm: Option<Swarm>,
    groups: BTreeMap<u64, Vec<u8>>,
    pairs: BTreeMap<(u64, u64), [u8; PAIR_LEN]>,
    open: BTreeMap<RequestId, Open>,
    /// Counts lives: what was sent to an earlier one does not reach a later.
    life: u32,
}

struct Open {
    source: usize,
    decoder: Decoder,
}

/// A group that waits to cross the costly link.
struct Far {
    me: usize,
    life: u32,
    request: RequestId,
    shore: usize,
    bytes: Vec<u8>,
    last: bool,
}

enum Event {
    Tick,
    Far,
    Hear { to: usize, life: u32, from: usize, frame: Vec<u8> },
    Bytes { to: usize, life: u32, request: RequestId, bytes: Vec<u8>, last: bool },
    Say { to: usize, life: u32, request: RequestId, end: End },
    Up { to: usize, life: u32, shore: usize },
    Meet { one: usize, other: usize },
    Lost { to: usize, life: u32, from: usize },
    Kill { member: usize },
    Back { member: usize },
}

pub struct World<'a> {
    setup: Setup,
    blob: &'a Blob,
    random: Random,
    now_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    members: Vec<Member>,
    far: VecDeque<Far>,
    far_busy: bool,
    outcome: Outcome,
}

const TICK_MS: u64 = 100;
const LONGEST_MS: u64 = 3_600_000;
/// One way over the costly link.
const FAR_MS: u64 = 300;

impl Blob {
    pub fn new(len: usize, random: &mut Random) -> Self {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        let (mut builder, mut tree) = (Builder::default(), Vec::new());
        builder.update(&bytes, &mut tree);
        let (digest, _) = builder.finish(&mut tree);
        Self { digest, bytes, tree }
    }
}

impl<'a> World<'a> {
    pub fn new(setup: Setup, blob: &'a Blob, random: Random) -> Self {
        let member = |_| Member {
            swarm: None,
            groups: BTreeMap::new(),
            pairs: BTreeMap::new(),
            open: BTreeMap::new(),
            life: 0,
        };
        let members = (0..setup.members).map(member).collect();
        let outcome =
            Outcome { complete_ms: None, crossed: 0, blamed: BTreeSet::new(), wrong: false };
        Self {
            setup,
            blob,
            random,
            now_ms: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            members,
            far: VecDeque::new(),
            far_busy: false,
            outcome,
        }
    }

    pub fn run(mut self) -> Outcome {
        for member in 0..self.members.len() {
            let start = self.random.below(400);
            self.at(start, Event::Back { member });
        }
        for (at, member, back) in self.setup.kills.clone() {
            self.at(at, Event::Kill { member });
            self.at(back, Event::Back { member });
        }
        self.at(TICK_MS, Event::Tick);
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now_ms = at;
            let event = self.events.remove(&number).expect("queued");
            self.take(event);
            if self.is_done() {
                self.outcome.complete_ms = Some(self.now_ms);
                break;
            }
            if self.now_ms > LONGEST_MS {
                break;
            }
        }
        self.outcome.wrong = self.members.iter().any(|member| {
            member.groups.iter().any(|(index, bytes)| {
                let at = usize::try_from(*index).expect("short") * GROUP_LEN;
                !self.blob.bytes[at..].starts_with(bytes)
            })
        });
        self.outcome
    }

    fn is_done(&self) -> bool {
        let honest = self.members.iter().zip(&self.setup.manners);
        let mut honest = honest.filter(|(_, manner)| **manner == Manner::Honest);
        let last_kill = self.setup.kills.iter().map(|kill| kill.2).max().unwrap_or(0);
        self.now_ms > last_kill
            && honest.all(|(member, _)| member.swarm.as_ref().is_some_and(Swarm::is_complete))
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.queue.push(Reverse((at_ms, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    fn lives(&self, member: usize, life: u32) -> bool {
        self.members[member].swarm.is_some() && self.members[member].life == life
    }

    fn take(&mut self, event: Event) {
        let now = self.now_ms;
        match event {
            Event::Tick => {
                for member in 0..self.members.len() {
                    self.hog(member);
                    self.poll(member);
                }
                self.at(now + TICK_MS, Event::Tick);
            }
            Event::Far => self.next_far(),
            Event::Hear { to, life, from, frame } if self.lives(to, life) => {
                let notice = Notice::decode(&frame[4..]).expect("members speak the protocol");
                self.swarm(to).heard(member_id(from), &notice, now);
                self.poll(to);
            }
            Event::Bytes { to, life, request, bytes, last } if self.lives(to, life) => {
                self.receive(to, request, &bytes, last);
            }
            Event::Say { to, life, request, end }
                if self.lives(to, life) && self.members[to].open.remove(&request).is_some() =>
            {
                self.swarm(to).ended(request, end, now);
                self.poll(to);
            }
            Event::Up { to, life, shore } if self.lives(to, life) => {
                self.swarm(to).set_up(shore_id(shore), true, now);
                self.poll(to);
            }
            Event::Meet { one, other } => self.meet(one, other),
            Event::Lost { to, life, from } if self.lives(to, life) => {
                self.swarm(to).remove(member_id(from), now);
                self.poll(to);
            }
            Event::Kill { member } => self.kill(member),
            Event::Back { member } => self.start(member),
            _ => {}
        }
    }

    fn swarm(&mut self, member: usize) -> &mut Swarm {
        self.members[member].swarm.as_mut().expect("it lives")
    }

    /// A member starts: with what it stored, hashed again.
    fn start(&mut self, member: usize) {
        let have = self.members[member].groups.keys().map(|index| *index..index + 1).collect();
        let plan = Plan {
            blob: self.blob.digest,
            len: self.blob.bytes.len() as u64,
            me: name(member),
            have,
            in_order: self.random.below(2) == 0,
            may_fetch: true,
            quiet_ms: 2_000,
            lease_ms: 8_000,
        };
        let mut swarm = Swarm::new(plan, self.now_ms);
        for shore in 0..self.setup.shores.len() {
            swarm.add(shore_id(shore), &format!("shore-{shore}"), Kind::Costly, true);
        }
        self.members[member].swarm = Some(swarm);
        self.members[member].life += 1;
        for other in 0..self.members.len() {
            if other != member && self.members[other].swarm.is_some() {
                let at = self.now_ms + 50 + self.random.below(1_200);
                self.at(at, Event::Meet { one: member, other });
            }
        }
    }

    /// A killed member loses what had not reached its disk.
    fn kill(&mut self, member: usize) {
        self.members[member].swarm = None;
        self.members[member].open.clear();
        let mut groups = std::mem::take(&mut self.members[member].groups);
        groups.retain(|_, _| self.random.below(5) > 0);
        self.members[member].groups = groups;
        for other in 0..self.members.len() {
            let (life, at) = (self.members[other].life, self.now_ms + 3_000);
            self.at(at, Event::Lost { to: other, life, from: member });
        }
    }

    fn meet(&mut self, one: usize, other: usize) {
        for (me, peer) in [(one, other), (other, one)] {
            if self.members[me].swarm.is_none() || self.members[peer].swarm.is_none() {
                return;
            }
            self.swarm(me).remove(member_id(peer), 0);
        }
        for (me, peer) in [(one, other), (other, one)] {
            self.swarm(me).add(member_id(peer), &name(peer), Kind::Site, false);
            self.lie(me, peer);
        }
        self.poll(one);
        self.poll(other);
    }

    /// What a lying member tells one that it meets.
    fn lie(&mut self, me: usize, peer: usize) {
        let all = Groups::of(0..self.setup.groups);
        let blob = self.blob.digest;
        let notice = match self.setup.manners[me] {
            Manner::Honest => return,
            Manner::Hogs => Notice::Claim { blob, groups: all },
            _ => Notice::Have { blob, may_fetch: true, groups: all },
        };
        let (life, at) = (self.members[peer].life, self.now_ms + 5);
        self.at(at, Event::Hear { to: peer, life, from: me, frame: notice.encode() });
    }

    /// A member that hogs says to all that it gets on, within each lease.
    fn hog(&mut self, me: usize) {
        let is_time = self.now_ms % 5_000 < TICK_MS && self.members[me].swarm.is_some();
        if self.setup.manners[me] != Manner::Hogs || !is_time {
            return;
        }
        let (blob, at) = (self.blob.digest, self.now_ms + 5);
        let all = Groups::of(0..self.setup.groups);
        let first = Notice::More { blob, groups: Groups::of(0..1) };
        for to in (0..self.members.len()).filter(|to| *to != me) {
            for notice in [Notice::Claim { blob, groups: all.clone() }, first.clone()] {
                let life = self.members[to].life;
                self.at(at, Event::Hear { to, life, from: me, frame: notice.encode() });
            }
        }
    }

    fn poll(&mut self, me: usize) {
        let now = self.now_ms;
        let manner = self.setup.manners[me];
        let Some(swarm) = self.members[me].swarm.as_mut() else { return };
        for action in swarm.poll(now) {
            match action {
                Action::Ask { request, source, groups } => self.ask(me, request, source, groups),
                Action::Cancel(request) => drop(self.members[me].open.remove(&request)),
                Action::Tell(to, notice) => {
                    // A liar's true words would contradict it.
                    let to = member_of(to);
                    if manner == Manner::Honest || matches!(notice, Notice::Have { .. }) {
                        let (life, at) = (self.members[to].life, now + 1 + self.random.below(3));
                        let frame = notice.encode();
                        self.at(at, Event::Hear { to, life, from: me, frame });
                    }
                }
                Action::Dial(source) => {
                    let (shore, life) = (shore_of(source), self.members[me].life);
                    let at = now + 4 * FAR_MS;
                    if manner == Manner::Honest && !self.is_out(now) && !self.is_out(at) {
                        self.at(at, Event::Up { to: me, life, shore });
                    }
                }
                Action::Blame { name, what } => {
                    if manner == Manner::Honest && what == Fault::WrongBytes {
                        self.outcome.blamed.insert(name);
                    }
                }
            }
        }
    }

    fn ask(&mut self, me: usize, request: RequestId, source: SourceId, groups: Groups) {
        let len = self.blob.bytes.len() as u64;
        let decoder = Decoder::new(&self.blob.digest, len, groups.clone());
        let open = Open { source: usize::try_from(source.0).expect("few"), decoder };
        self.members[me].open.insert(request, open);
        let (life, now) = (self.members[me].life, self.now_ms);
        if source.0 < SHORES {
            self.send_far(me, life, request, shore_of(source), &groups);
            return;
        }
        let peer = member_of(source);
        let manner = self.setup.manners[peer];
        if self.members[peer].swarm.is_none() || manner == Manner::Withholds {
            return;
        }
        let slice = match manner {
            Manner::Corrupts => Some(self.whole_slice(&groups)),
            Manner::Boasts => None,
            _ => self.slice_of(peer, &groups),
        };
        let Some(mut slice) = slice else {
            let event = Event::Say { to: me, life, request, end: End::Lacking };
            return self.at(now + 2, event);
        };
        if manner == Manner::Corrupts {
            let at = self.random.index(slice.len());
            slice[at] ^= 4;
        }
        let took = 2 + slice.len() as u64 / 50_000;
        self.at(now + took, Event::Bytes { to: me, life, request, bytes: slice, last: true });
    }

    /// Group by group over the costly link, each behind what is under way.
    fn send_far(
        &mut self,
        me: usize,
        life: u32,
        request: RequestId,
        shore: usize,
        groups: &Groups,
    ) {
        if self.setup.shores[shore] == Manner::Withholds {
            return;
        }
        let slice = self.whole_slice(groups);
        let count = usize::try_from(groups.count()).expect("few");
        let pieces = slice.chunks(slice.len().div_ceil(count));
        let last = pieces.len() - 1;
        for (index, bytes) in pieces.enumerate() {
            let bytes = bytes.to_vec();
            self.far.push_back(Far { me, life, request, shore, bytes, last: index == last });
        }
        if !self.far_busy {
            self.far_busy = true;
            self.at(self.now_ms + 2 * FAR_MS, Event::Far);
        }
    }

    /// The next group leaves the shore. Streams that were reset are not sent on.
    fn next_far(&mut self) {
        let open = |far: &Far| {
            let member = &self.members[far.me];
            member.life == far.life && member.open.contains_key(&far.request)
        };
        while self.far.front().is_some_and(|far| !open(far)) {
            self.far.pop_front();
        }
        let Some(Far { me, life, request, shore, mut bytes, last }) = self.far.pop_front() else {
            self.far_busy = false;
            return;
        };
        let at = self.now_ms + (1000.0 / self.setup.rate).ceil() as u64;
        self.at(at, Event::Far);
        self.outcome.crossed += 1;
        if self.setup.shores[shore] == Manner::Corrupts {
            bytes[0] ^= 1;
        }
        if !self.is_out(at) {
            self.at(at, Event::Bytes { to: me, life, request, bytes, last });
        }
    }

    fn is_out(&self, at_ms: u64) -> bool {
        self.setup.outages.iter().any(|(from, until)| (*from..*until).contains(&at_ms))
    }

    fn receive(&mut self, me: usize, request: RequestId, bytes: &[u8], last: bool) {
        let now = self.now_ms;
        let member = &mut self.members[me];
        let Some(open) = member.open.get_mut(&request) else { return };
        let mut came = Groups::default();
        let pushed = open.decoder.push::<SliceError>(bytes, &mut |verified| {
            match verified {
                Verified::Pair { first, groups, pair } => {
                    member.pairs.insert((first, groups), *pair);
                }
                Verified::Group { index, bytes } => {
                    member.groups.insert(index, bytes.to_vec());
                    came.insert(index..index + 1);
                }
            }
            Ok(())
        });
        // A group that was cut out of the middle of a stream leaves the rest worthless.
        let end = match pushed {
            Err(_) if open.source < 2 && self.setup.shores[open.source] == Manner::Honest => {
                Some(End::Lost)
            }
            Err(_) => Some(End::Wrong),
            Ok(()) => last.then_some(End::Done),
        };
        let swarm = member.swarm.as_mut().expect("it lives");
        if !came.is_empty() {
            swarm.arrived(request, came, now);
        }
        if let Some(end) = end {
            member.open.remove(&request);
            swarm.ended(request, end, now);
        }
        self.poll(me);
    }

    /// What a member can prove of these groups.
    fn slice_of(&self, peer: usize, groups: &Groups) -> Option<Vec<u8>> {
        let member = &self.members[peer];
        let mut slice = Vec::new();
        for step in Steps::new(self.blob.bytes.len() as u64, groups.clone()) {
            match step {
                Step::Pair(at) => slice.extend(member.pairs.get(&(at.first, at.groups))?),
                Step::Group { index, .. } => slice.extend(member.groups.get(&index)?),
            }
        }
        Some(slice)
    }

    fn whole_slice(&self, groups: &Groups) -> Vec<u8> {
        let mut slice = Vec::new();
        for step in Steps::new(self.blob.bytes.len() as u64, groups.clone()) {
            match step {
                Step::Pair(at) => {
                    let offset = usize::try_from(at.pair_offset().expect("a pair"));
                    let offset = offset.expect("short");
                    slice.extend_from_slice(&self.blob.tree[offset..offset + PAIR_LEN]);
                }
                Step::Group { index, len } => {
                    let offset = usize::try_from(index).expect("short") * GROUP_LEN;
                    slice.extend_from_slice(&self.blob.bytes[offset..offset + len]);
                }
            }
        }
        slice
    }
}

/// Sources below this number are the shore's.
const SHORES: u32 = 2;

fn shore_id(shore: usize) -> SourceId {
    SourceId(u32::try_from(shore).expect("few"))
}

fn shore_of(id: SourceId) -> usize {
    usize::try_from(id.0).expect("few")
}

fn member_id(member: usize) -> SourceId {
    SourceId(SHORES + u32::try_from(member).expect("few"))
}

fn member_of(id: SourceId) -> usize {
    usize::try_from(id.0 - SHORES).expect("few")
}

pub fn name(member: usize) -> String {
    format!("member-{member}")
}
