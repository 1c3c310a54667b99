//! What the meter promises, whatever is called in whatever order, and wherever the power is cut.

use std::convert::Infallible;

use jiff::SignedDuration;

use super::*;
use crate::limits::{METER_DAY_COUNT_MAX, METER_UPDATE_COUNT_MAX};
use crate::link::Price;

const SAT: Charge<'static> = Charge { link: "sat", update: None };

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

pub(super) fn noon() -> Timestamp {
    at("2026-11-26T12:00:00Z")
}

fn day_of(bytes: u64) -> Limits {
    Limits { day_bytes: Some(bytes), ..Limits::default() }
}

pub(super) fn store(meter: &mut Meter) -> Vec<u8> {
    let mut disk = Vec::new();
    let stored = meter.persist(|bytes| {
        disk = bytes.to_vec();
        Ok::<(), Infallible>(())
    });
    stored.map(|()| disk).expect("memory takes it")
}

/// A meter that reserved and spent so much.
fn spent(charge: Charge<'_>, bytes: u64, now: Timestamp) -> Meter {
    let mut meter = Meter::default();
    meter.reserve(charge, bytes, &Limits::default(), now).expect("no limit");
    store(&mut meter);
    meter.spend(charge, bytes, now).expect("it was reserved");
    meter
}

#[test]
fn limit_is_reached_and_not_passed() {
    let mut meter = Meter::default();
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(100));
    meter.reserve(SAT, 100, &day_of(100), noon()).expect("all of it");
    let refused = meter.reserve(SAT, 1, &day_of(100), noon());
    assert!(matches!(
        refused,
        Err(BudgetError::Exceeded { period: Period::Day, used: 100, asked: 1, allowed: 100, .. })
    ));
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(0));
    assert_eq!(meter.left(SAT, &Limits::default(), noon()), Left::Unlimited);
    assert!(meter.reserve(SAT, u64::MAX, &day_of(u64::MAX), noon()).is_err());
}

#[test]
fn each_limit_holds_by_itself() {
    let update = Some(Digest::of(b"an image"));
    let charge = Charge { link: "sat", update };
    let meter = spent(charge, 60, noon());
    let of = |update_bytes, day_bytes, month_bytes| Limits { update_bytes, day_bytes, month_bytes };
    for (limits, left) in [
        (of(Some(100), None, None), Left::Bytes(40)),
        (of(None, Some(90), None), Left::Bytes(30)),
        (of(None, None, Some(80)), Left::Bytes(20)),
        (of(Some(100), Some(90), Some(80)), Left::Bytes(20)),
        (of(Some(10), None, None), Left::Bytes(0)),
    ] {
        assert_eq!(meter.left(charge, &limits, noon()), left, "{limits:?}");
    }
    let other = Charge { update: Some(Digest::of(b"another")), ..charge };
    assert_eq!(meter.left(other, &of(Some(100), None, None), noon()), Left::Bytes(100));
    let elsewhere = Charge { link: "port", ..charge };
    assert_eq!(meter.left(elsewhere, &of(None, Some(90), None), noon()), Left::Bytes(90));
}

#[test]
fn new_day_and_new_month_begin_at_midnight_utc() {
    let meter = spent(SAT, 60, noon());
    let month = Limits { month_bytes: Some(100), ..Limits::default() };
    let left = |limits: &Limits, now: &str| meter.left(SAT, limits, at(now));
    assert_eq!(left(&day_of(100), "2026-11-26T23:59:59.9Z"), Left::Bytes(40));
    assert_eq!(left(&day_of(100), "2026-11-27T00:00:00Z"), Left::Bytes(100));
    assert_eq!(left(&month, "2026-11-30T23:59:59Z"), Left::Bytes(40));
    assert_eq!(left(&month, "2026-12-01T00:00:00Z"), Left::Bytes(100));
}

#[test]
fn clock_that_goes_back_gives_nothing_back() {
    let mut meter = spent(SAT, 60, noon());
    for earlier in ["2026-11-25T12:00:00Z", "1970-01-01T00:00:00Z"] {
        assert_eq!(meter.left(SAT, &day_of(100), at(earlier)), Left::Bytes(40), "{earlier}");
        let mut again = Meter::load(Some(&store(&mut meter))).expect("what was stored");
        assert_eq!(again.left(SAT, &day_of(100), at(earlier)), Left::Bytes(40), "{earlier}");
        assert!(again.reserve(SAT, 41, &day_of(100), at(earlier)).is_err());
    }
}

#[test]
fn clock_that_was_ahead_for_a_while_gives_nothing_back() {
    let mut meter = spent(SAT, 60, noon());
    meter.tick(at("2030-01-01T00:00:00Z"));
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(40));
    assert_eq!(meter.latest_day().map(|day| day.to_string()).as_deref(), Some("2030-01-01"));
}

#[test]
fn what_crosses_while_the_clock_is_behind_counts_on_its_own_day_too() {
    let mut meter = Meter::default();
    meter.tick(at("2030-01-01T00:00:00Z"));
    meter.reserve(SAT, 60, &day_of(100), noon()).expect("room");
    store(&mut meter);
    meter.spend(SAT, 60, noon()).expect("ready");
    meter.tick(at("2031-01-01T00:00:00Z"));
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(40));
}

#[test]
fn day_that_was_forgotten_is_full() {
    let mut meter = spent(SAT, 60, noon());
    for days in 1..=i64::try_from(METER_DAY_COUNT_MAX).expect("few") {
        let now = noon() + SignedDuration::from_hours(24 * days);
        meter.spend(SAT, 1, now).expect_err("it was not reserved, and counts");
    }
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(0));
    assert!(meter.reserve(SAT, 1, &day_of(100), noon()).is_err());
}

#[test]
fn what_was_reserved_counts_as_spent_after_a_kill() {
    let mut meter = Meter::default();
    meter.reserve(SAT, 60, &day_of(100), noon()).expect("room");
    let disk = store(&mut meter);
    meter.spend(SAT, 10, noon()).expect("it was stored");
    let meter = Meter::load(Some(&disk)).expect("what was stored");
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(40));
    assert_eq!((meter.ready(SAT), meter.spent(SAT, noon()).day), (0, 60));
}

#[test]
fn nothing_is_ready_before_it_is_stored() {
    let mut meter = Meter::default();
    meter.reserve(SAT, 60, &day_of(100), noon()).expect("room");
    assert!(meter.tick(noon()), "there is something to store");
    let first = meter.save();
    assert_eq!(meter.ready(SAT), 0);
    meter.reserve(SAT, 10, &day_of(100), noon()).expect("room");
    let second = meter.save();
    meter.saved(&first);
    assert_eq!(meter.ready(SAT), 0, "the first file is not the last");
    assert_eq!(meter.persist(|_| Err("disk full")), Err("disk full"));
    meter.saved(&second);
    assert_eq!(meter.ready(SAT), 0);
    let unsaved = meter.spend(SAT, 1, noon());
    assert_eq!(unsaved, Err(BudgetError::Unsaved { link: "sat".into(), bytes: 1 }));
    assert!(meter.tick(noon()));
    store(&mut meter);
    assert!(!meter.tick(noon()));
    assert_eq!(meter.ready(SAT), 69);
}

#[test]
fn bytes_that_nobody_asked_for_are_counted_and_reported() {
    let mut meter = spent(SAT, 60, noon());
    let over = meter.spend(SAT, 15, noon());
    assert_eq!(over, Err(BudgetError::Unreserved { link: "sat".into(), bytes: 15 }));
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(25));
    assert!(meter.tick(noon()), "the count is to be stored");
}

#[test]
fn released_bytes_can_be_reserved_again_and_not_spent() {
    let update = Charge { update: Some(Digest::of(b"an image")), ..SAT };
    let mut meter = Meter::default();
    meter.reserve(update, 100, &day_of(100), noon()).expect("room");
    store(&mut meter);
    meter.spend(update, 30, noon()).expect("ready");
    meter.release(update);
    assert_eq!(meter.left(update, &day_of(100), noon()), Left::Bytes(70));
    assert_eq!(meter.spent(update, noon()), Spent { update: 30, day: 30, month: 30 });
    assert!(meter.spend(update, 1, noon()).is_err());
}

#[test]
fn what_is_held_at_midnight_counts_on_both_days_and_is_stored_again() {
    let mut meter = Meter::default();
    meter.reserve(SAT, 60, &day_of(100), noon()).expect("room");
    store(&mut meter);
    let tomorrow = at("2026-11-27T00:00:00Z");
    assert!(meter.tick(tomorrow), "the new day is to be stored");
    assert_eq!(meter.ready(SAT), 0);
    assert_eq!(meter.left(SAT, &day_of(100), tomorrow), Left::Bytes(40));
    store(&mut meter);
    assert_eq!(meter.spend(SAT, 60, tomorrow), Ok(()));
}

#[test]
fn what_is_held_does_not_follow_the_clock_back_to_a_day_that_was_used() {
    // Reserved on a day with room, spent on one without: the limit of the latter would be passed.
    let mut meter = spent(SAT, 90, noon());
    meter.reserve(SAT, 60, &day_of(100), at("2026-11-27T00:00:00Z")).expect("a new day");
    store(&mut meter);
    assert!(meter.tick(noon()));
    store(&mut meter);
    assert_eq!(meter.ready(SAT), 0);
    assert_eq!(meter.left(SAT, &day_of(100), noon()), Left::Bytes(10));
    assert!(meter.spend(SAT, 1, noon()).is_err());
}

#[test]
fn money_is_what_crossed_times_the_price() {
    let meter = spent(SAT, 1_500_000, noon());
    let price = Price::parse("5.00 USD/MB").expect("a price");
    assert_eq!(price.cents(meter.spent(SAT, noon()).month), 750);
}

#[test]
fn updates_of_this_month_are_never_forgotten_and_earlier_ones_make_room() {
    let mut meter = Meter::default();
    let charge =
        |number: usize| Charge { link: "sat", update: Some(Digest::of(&number.to_le_bytes())) };
    for number in 0..METER_UPDATE_COUNT_MAX {
        meter.reserve(charge(number), 1, &Limits::default(), noon()).expect("room");
        meter.release(charge(number));
    }
    let one_more = charge(METER_UPDATE_COUNT_MAX);
    let refused = meter.reserve(one_more, 1, &Limits::default(), noon());
    assert_eq!(refused, Err(BudgetError::Updates { link: "sat".into() }));
    let december = at("2026-12-01T00:00:00Z");
    meter.reserve(one_more, 1, &Limits::default(), december).expect("one made room");
    Meter::load(Some(&store(&mut meter))).expect("it fits");
}

#[test]
fn fullest_meter_fits_its_file() {
    let mut meter = Meter::default();
    for link in 0..METER_LINK_COUNT_MAX {
        let name = format!("{link:0>32}");
        for number in 0..METER_UPDATE_COUNT_MAX.max(METER_DAY_COUNT_MAX) {
            let days = i64::try_from(number % METER_DAY_COUNT_MAX).expect("few");
            let now = noon() + SignedDuration::from_hours(24 * days);
            let update = Some(Digest::of(&number.to_le_bytes()));
            let charge = Charge { link: &name, update };
            meter.reserve(charge, u64::MAX >> 7, &Limits::default(), now).expect("room");
            meter.spend(charge, u64::MAX >> 7, now).expect_err("not stored");
        }
    }
    let new = Charge { link: "one-more", update: None };
    let later = noon() + SignedDuration::from_hours(24 * 31);
    assert_eq!(meter.reserve(new, 1, &Limits::default(), later), Err(BudgetError::Links));
    Meter::load(Some(&store(&mut meter))).expect("it fits");
    let next_year = at("2027-12-01T00:00:00Z");
    assert_eq!(meter.reserve(new, 1, &Limits::default(), next_year), Ok(()));
}

#[test]
fn damaged_meter_is_refused_and_its_file_named() {
    let mut meter = spent(Charge { update: Some(Digest::of(b"a")), ..SAT }, 60, noon());
    let disk = String::from_utf8(store(&mut meter)).expect("JSON");
    for (from, to) in [
        ("60", "10"),
        ("sat", "sax"),
        ("\"neap_meter\":1", "\"neap_meter\":2"),
        ("\"neap_meter\":1,", ""),
        ("\"latest_day\":\"2026-11-26\"", "\"latest_day\":null"),
        ("}", ""),
        ("{", "{\"more\":1,"),
    ] {
        let damaged = disk.replacen(from, to, 1);
        assert_ne!(damaged, disk);
        let error = Meter::load(Some(damaged.as_bytes())).expect_err(&damaged).to_string();
        assert!(error.starts_with("meter.json: ") && error.contains("nothing is spent"), "{error}");
    }
    assert!(Meter::load(Some(b"")).is_err(), "a file that was cut to nothing is no first start");
    assert!(matches!(
        Meter::load(Some(&vec![b' '; METER_FILE_TOO_LONG])),
        Err(MeterError::TooLong(_))
    ));
}

const METER_FILE_TOO_LONG: usize = crate::limits::METER_LEN_MAX + 1;

#[test]
fn stricter_takes_of_each_limit_the_lower() {
    let of = |update_bytes, day_bytes, month_bytes| Limits { update_bytes, day_bytes, month_bytes };
    let (a, b) = (of(Some(5), Some(9), None), of(Some(7), None, None));
    assert_eq!(a.stricter(b), of(Some(5), Some(9), None));
    assert_eq!(a.stricter(b), b.stricter(a));
    assert!(!a.is_unlimited() && Limits::default().is_unlimited());
}
