//! Congestion control over links in virtual time, as a Markdown table.
//!
//! `cargo bench -p neap-peer --bench satellite`; a name after `--` runs the links that contain it.

#[path = "../tests/link/mod.rs"]
mod link;

use link::{FlowPlan, Link, Loss, Sim, Wake};
use std::time::Duration;
use neap_peer::congestion::Satellite;
use std::sync::Arc;

fn s(x: u64) -> Duration { Duration::from_secs(x) }

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    println!("| link | controller | start-up s | goodput % | surplus % | dropped % | wait mean/p95/max ms |");
    let mut jitter = Link::new(10_000, 600, 10);
    jitter.jitter = Duration::from_millis(20);
    let mut burst = Link::new(10_000, 600, 0);
    burst.loss = Loss::Bursts { begin_ppm: 1000, end_ppm: 100_000 };
    for (name, link) in [
        ("10M 600 0", Link::new(10_000, 600, 0)),
        ("10M 600 1", Link::new(10_000, 600, 10)),
        ("10M 600 3", Link::new(10_000, 600, 30)),
        ("10M 600 5", Link::new(10_000, 600, 50)),
        ("10M 600 15", Link::new(10_000, 600, 150)),
        ("10M 600 jitter", jitter),
        ("10M 600 burst", burst),
        ("10M 600 0 deep", Link::new(10_000, 600, 0).queue_percent(400)),
        ("10M 600 0 shallow", Link::new(10_000, 600, 0).queue_percent(25)),
        ("10M 600 1 shallow", Link::new(10_000, 600, 10).queue_percent(25)),
        ("10M 600 0 policer", Link::new(10_000, 600, 0).queue_percent(3)),
        ("2M 600 1", Link::new(2_000, 600, 10)),
        ("512k 600 1", Link::new(512, 600, 10)),
        ("64k 600 1", Link::new(64, 600, 10)),
        ("64k 600 1 deep", Link::new(64, 600, 10).queue_percent(400)),
        ("10M 40 0", Link::new(10_000, 40, 0)),
        ("10M 100 1", Link::new(10_000, 100, 10)),
        ("50M 600 1", Link::new(50_000, 600, 10)),
    ] {
        if !name.contains(&only) {
            continue;
        }
        for (controller, plan) in [("ours", FlowPlan::satellite()), ("CUBIC", FlowPlan::cubic())] {
            if controller == "CUBIC" && std::env::var_os("CUBIC").is_none() { continue; }
            let report = Sim::new(link.clone(), vec![plan], 1).run(120);
            let start = report.start_up(0).unwrap_or(report.duration);
            let (mean, p95, _) = report.waits_ms(start, report.duration);
            let (_, _, max) = report.waits_ms(Duration::ZERO, report.duration);
            println!(
                "| {name} | {controller} | {:.1} | {:.1} | {:.1} | {:.1} | {mean:.0} / {p95:.0} / {max:.0} |",
                start.as_secs_f64(),
                report.goodput_after_start(0),
                report.surplus(0),
                report.dropped(0),
            );
        }
    }
    for (name, link, a, b) in [
        ("pair 600 ours cubic", Link::new(10_000, 600, 0), FlowPlan::satellite(), FlowPlan::cubic()),
        ("pair 100 ours cubic", Link::new(10_000, 100, 0), FlowPlan::satellite(), FlowPlan::cubic()),
        ("pair 600 ours late cubic", Link::new(10_000, 600, 0), FlowPlan::satellite(), FlowPlan::cubic().from(s(10))),
        ("pair 100 ours late cubic", Link::new(10_000, 100, 0), FlowPlan::satellite(), FlowPlan::cubic().from(s(10))),
        ("pair 600 late ours cubic", Link::new(10_000, 600, 0), FlowPlan::satellite().from(s(10)), FlowPlan::cubic()),
        ("pair 100 late ours cubic", Link::new(10_000, 100, 0), FlowPlan::satellite().from(s(10)), FlowPlan::cubic()),
        ("pair 600 cubic cubic", Link::new(10_000, 600, 0), FlowPlan::cubic(), FlowPlan::cubic()),
        ("pair 100 cubic cubic", Link::new(10_000, 100, 0), FlowPlan::cubic(), FlowPlan::cubic()),
        ("pair 600 cubic late cubic", Link::new(10_000, 600, 0), FlowPlan::cubic(), FlowPlan::cubic().from(s(10))),
        ("pair 100 cubic late cubic", Link::new(10_000, 100, 0), FlowPlan::cubic(), FlowPlan::cubic().from(s(10))),
        ("pair 600 ours ours", Link::new(10_000, 600, 0), FlowPlan::satellite(), FlowPlan::satellite()),
        ("pair 600 ours late ours", Link::new(10_000, 600, 0), FlowPlan::satellite(), FlowPlan::satellite().from(s(10))),
        ("pair 100 ours late ours", Link::new(10_000, 100, 0), FlowPlan::satellite(), FlowPlan::satellite().from(s(10))),
        ("pair 600 ours late ours 1", Link::new(10_000, 600, 10), FlowPlan::satellite(), FlowPlan::satellite().from(s(10))),
        ("pair 600 shallow ours cubic", Link::new(10_000, 600, 0).queue_percent(25), FlowPlan::satellite(), FlowPlan::cubic()),
        ("pair 600 deep ours cubic", Link::new(10_000, 600, 0).queue_percent(400), FlowPlan::satellite(), FlowPlan::cubic()),
    ] {
        if !name.contains(&only) {
            continue;
        }
        let runs: Vec<_> = (1..=4).map(|seed| Sim::new(link.clone(), vec![a.clone(), b.clone()], seed).run(150)).collect();
        for report in &runs { print!("({:.0} {:.0}) ", report.goodput(0, s(30), s(150)), report.goodput(1, s(30), s(150))); }
        let report = &runs[0];
        print!("| {name} | {:.1} / {:.1} |", report.goodput(0, s(30), s(150)), report.goodput(1, s(30), s(150)));
        for i in 0..15 { print!(" {:.0}/{:.0}", report.goodput(0, s(i*10), s(i*10+10)), report.goodput(1, s(i*10), s(i*10+10))); }
        println!(" surplus {:.1} {:.1}", report.surplus(0), report.surplus(1));
    }
    let mut steps = Link::new(10_000, 600, 0);
    steps.steps = vec![(s(40), 2_000_000), (s(80), 10_000_000)];
    let mut steps1 = Link::new(10_000, 600, 10);
    steps1.steps = steps.steps.clone();
    for (name, link) in [("steps 0", steps), ("steps 1", steps1)] {
        if !name.contains(&only) {
            continue;
        }
        let report = Sim::new(link, vec![FlowPlan::satellite()], 1).run(120);
        let (mean, p95, max) = report.waits_ms(s(40), s(80));
        println!("| {name} | after {:.1} / {:.1} | back up {:?} down {:?} | surplus {:.1} dropped {:.1} wait in step {mean:.0} {p95:.0} {max:.0}",
            report.goodput(0, s(50), s(80)), report.goodput(0, s(90), s(120)),
            report.back_up(0, s(80)).map(|x| x - s(80)), report.back_up(0, s(40)).map(|x| x - s(40)), report.surplus(0), report.dropped(0));
        for i in 0..24 { print!(" {:.0}", report.goodput(0, s(i*5), s(i*5+5))); }
        println!();
    }
    let mut outage = Link::new(2_000, 600, 10);
    outage.outages = (1..5).map(|i| (s(i * 120), s(i * 120 + 30))).collect();
    for (name, wake) in [("outage plain", Wake::Nothing), ("outage rebind", Wake::Rebind(s(5)))] {
        if !name.contains(&only) {
            continue;
        }
        let report = Sim::new(outage.clone(), vec![FlowPlan::satellite().wake(wake)], 1).run(600);
        for i in 1..5 {
            println!("| {name} | back {:?} | first s {} rest of outage {} ", report.back_up(0, s(i*120+30)).map(|x| x - s(i*120+30)), report.flows[0].sent_between(s(i*120), s(i*120+1)), report.flows[0].sent_between(s(i*120+1), s(i*120+30)));
        }
        println!("surplus {:.1} dropped {:.1}", report.surplus(0), report.dropped(0));
    }
    for (name, link) in [("conf 10M", Link::new(10_000, 600, 10)), ("conf 2M", Link::new(2_000, 600, 10)), ("conf 1M", Link::new(1_000, 600, 10))] {
        if !name.contains(&only) {
            continue;
        }
        let report = Sim::new(link, vec![FlowPlan::new(Arc::new(Satellite::default().rate(2_000_000)))], 1).run(60);
        let (mean, p95, max) = report.waits_ms(s(0), s(60));
        println!("| {name} | {:?} {:.1} {:.1} wait {mean:.0} {p95:.0} {max:.0}", report.start_up(0), report.goodput(0, s(5), s(60)), report.surplus(0));
        for i in 0..10 { print!(" {}", report.flows[0].sent_between(s(i), s(i+1)) * 8 / 1000); }
        println!();
    }
}
