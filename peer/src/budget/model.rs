//! A node and the truth beside it: no order of calls, kills and clocks passes a limit.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::tests::{noon, store};
use super::*;

/// What may happen to a node.
#[derive(Debug, Clone)]
enum Event {
    Reserve(usize, u64),
    /// Stored; or the power is cut, and the disk has the file or has it not.
    Store {
        cut: bool,
        reaches_disk: bool,
    },
    /// As many bytes as are ready, and no more, cross.
    Spend(usize, u64),
    Release(usize),
    Clock(i64),
    /// The clock is set to one of few days, so that it comes back to them.
    Day(i64),
    Kill,
}

fn event() -> impl Strategy<Value = Event> {
    let hours = prop_oneof![-800_i64..800, -30_i64..30, Just(24), Just(-24)];
    prop_oneof![
        4 => (0..3_usize, 0..60_u64).prop_map(|(who, bytes)| Event::Reserve(who, bytes)),
        4 => Just(Event::Store { cut: false, reaches_disk: true }),
        1 => any::<bool>().prop_map(|reaches_disk| Event::Store { cut: true, reaches_disk }),
        4 => (0..3_usize, 0..80_u64).prop_map(|(who, bytes)| Event::Spend(who, bytes)),
        1 => (0..3_usize).prop_map(Event::Release),
        1 => hours.prop_map(Event::Clock),
        2 => (0..5_i64).prop_map(Event::Day),
        1 => Just(Event::Kill),
    ]
}

/// A node that asks before it spends, and the truth beside it: what crossed, by its clock.
struct Node {
    meter: Meter,
    disk: Option<Vec<u8>>,
    now: Timestamp,
    by_day: BTreeMap<Date, u64>,
    by_month: BTreeMap<Date, u64>,
    by_update: BTreeMap<Option<Digest>, u64>,
}

const LIMITS: Limits =
    Limits { update_bytes: Some(300), day_bytes: Some(100), month_bytes: Some(250) };

impl Node {
    fn new() -> Self {
        Self {
            meter: Meter::default(),
            disk: None,
            now: noon(),
            by_day: BTreeMap::new(),
            by_month: BTreeMap::new(),
            by_update: BTreeMap::new(),
        }
    }

    fn restart(&mut self) {
        self.meter = Meter::load(self.disk.as_deref()).expect("what was stored");
    }

    fn happen(&mut self, event: &Event) {
        let charge = |who: usize| Charge {
            link: "sat",
            update: (who > 0).then(|| Digest::of(&who.to_le_bytes())),
        };
        match *event {
            Event::Reserve(who, bytes) => {
                let left = self.meter.left(charge(who), &LIMITS, self.now);
                let granted = self.meter.reserve(charge(who), bytes, &LIMITS, self.now).is_ok();
                assert_eq!(granted, left.at_most(bytes) == bytes, "left says what is granted");
            }
            Event::Store { cut: false, .. } => self.disk = Some(store(&mut self.meter)),
            Event::Store { cut: true, reaches_disk } => {
                let saving = self.meter.save();
                if reaches_disk {
                    self.disk = Some(saving.bytes);
                }
                self.restart();
            }
            Event::Spend(who, bytes) => {
                self.meter.tick(self.now);
                let bytes = bytes.min(self.meter.ready(charge(who)));
                self.meter.spend(charge(who), bytes, self.now).expect("what is ready");
                let day = self.now.to_zoned(TimeZone::UTC).date();
                *self.by_day.entry(day).or_default() += bytes;
                *self.by_month.entry(day.first_of_month()).or_default() += bytes;
                *self.by_update.entry(charge(who).update).or_default() += bytes;
            }
            Event::Release(who) => self.meter.release(charge(who)),
            Event::Clock(hours) => self.now += SignedDuration::from_hours(hours),
            Event::Day(days) => self.now = noon() + SignedDuration::from_hours(24 * 3 * days),
            Event::Kill => self.restart(),
        }
    }

    fn check(&self) {
        let by_update = self.by_update.iter().filter(|(update, _)| update.is_some());
        assert!(by_update.into_iter().all(|(_, bytes)| *bytes <= 300), "{:?}", self.by_update);
        assert!(self.by_day.values().all(|bytes| *bytes <= 100), "{:?}", self.by_day);
        assert!(self.by_month.values().all(|bytes| *bytes <= 250), "{:?}", self.by_month);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_day_month_or_update_ever_gets_more_than_its_limit(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut node = Node::new();
        for event in &events {
            node.happen(event);
            node.check();
        }
    }

    #[test]
    fn what_is_stored_is_what_is_loaded(events in prop::collection::vec(event(), 1..40)) {
        let mut node = Node::new();
        events.iter().for_each(|event| node.happen(event));
        let disk = store(&mut node.meter);
        let mut again = Meter::load(Some(&disk)).expect("what was stored");
        prop_assert_eq!(again.save().bytes, disk);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Meter::load(Some(&bytes)).is_err());
    }
}
