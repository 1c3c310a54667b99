//! Congestion control over links in virtual time, as Markdown tables.
//!
//! `cargo bench -p neap-peer --bench satellite`; a word after `--` runs the rows whose name has it.
//! One seed is one run, and gives the same figures on every machine.

#[path = "../tests/link/mod.rs"]
mod link;

use link::{FlowPlan, Link, Loss, Report, Sim, Wake};
use neap_peer::congestion::Satellite;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    alone(&only);
    asked(&only);
    shares(&only);
    changes(&only);
    outages(&only);
    configured(&only);
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Links with one flow, of 120 s.
fn alone(only: &str) {
    let mut jitter = Link::new(10_000, 600, 10);
    jitter.jitter = Duration::from_millis(20);
    let mut bursts = Link::new(10_000, 600, 0);
    bursts.loss = Loss::Bursts { begin_ppm: 1_000, end_ppm: 100_000 };
    let links = [
        ("10 Mbit, 600 ms, 0 %", Link::new(10_000, 600, 0)),
        ("10 Mbit, 600 ms, 1 %", Link::new(10_000, 600, 10)),
        ("10 Mbit, 600 ms, 3 %", Link::new(10_000, 600, 30)),
        ("10 Mbit, 600 ms, 5 %", Link::new(10_000, 600, 50)),
        ("10 Mbit, 600 ms, 15 %", Link::new(10_000, 600, 150)),
        ("10 Mbit, 600 ms, runs of 10, 1 %", bursts),
        ("10 Mbit, 600 ms, 1 %, jitter 20 ms", jitter),
        ("10 Mbit, 600 ms, 0 %, queue 4", Link::new(10_000, 600, 0).queue_percent(400)),
        ("10 Mbit, 600 ms, 0 %, queue 0.25", Link::new(10_000, 600, 0).queue_percent(25)),
        ("10 Mbit, 600 ms, 0 %, queue 0.03", Link::new(10_000, 600, 0).queue_percent(3)),
        ("2 Mbit, 600 ms, 1 %", Link::new(2_000, 600, 10)),
        ("512 kbit, 600 ms, 1 %", Link::new(512, 600, 10)),
        ("64 kbit, 600 ms, 1 %, queue 4", Link::new(64, 600, 10).queue_percent(400)),
        ("10 Mbit, 100 ms, 1 %", Link::new(10_000, 100, 10)),
        ("10 Mbit, 40 ms, 0 %", Link::new(10_000, 40, 0)),
    ];
    println!(
        "| link, loss | start-up s | goodput % | surplus % | wait mean / p95 / max ms \
         | CUBIC: goodput, surplus, p95 wait | NewReno: the same |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, link) in links.into_iter().filter(|(name, _)| name.contains(only)) {
        let run = |plan| Sim::new(link.clone(), vec![plan], 1).run(120);
        let ours = run(FlowPlan::satellite());
        let (mean, p95) = waits_after_start(&ours);
        let (_, _, max) = ours.waits_ms(s(0), s(120));
        print!(
            "| {name} | {} | {:.1} | {:.1} | {mean:.0} / {p95:.0} / {max:.0} |",
            seconds(ours.start_up(0)),
            ours.goodput_after_start(0),
            ours.surplus(0),
        );
        for plan in [FlowPlan::cubic(), FlowPlan::new_reno()] {
            let report = run(plan);
            let (goodput, surplus) = (report.goodput_after_start(0), report.surplus(0));
            print!(" {goodput:.1}, {surplus:.1}, {:.0} |", waits_after_start(&report).1);
        }
        println!();
    }
}

/// Mean and 95th percentile, in ms.
fn waits_after_start(report: &Report) -> (f64, f64) {
    let from = report.start_up(0).unwrap_or(report.duration / 2);
    let (mean, p95, _) = report.waits_ms(from, report.duration);
    (mean, p95)
}

/// How much is asked for at a time, and taken by the receiver, in products of the link: ten seeds,
/// 60 s, median and worst.
fn asked(only: &str) {
    println!("\n| asked for at a time, loss | start-up s | goodput % from 12 s on |");
    println!("|---|---|---|");
    for (products, loss) in [2, 3, 4].into_iter().flat_map(|n| [10, 30, 50].map(|loss| (n, loss))) {
        let name = format!("{products} products, {} %", loss / 10);
        if !name.contains(only) {
            continue;
        }
        let bytes: u32 = products * 750_000 + (512 << 10);
        let streams = usize::try_from(bytes >> 18).expect("few");
        let plan = FlowPlan::satellite().parallel(streams).receive_window(bytes);
        let run = |seed| Sim::new(Link::new(10_000, 600, loss), vec![plan.clone()], seed).run(60);
        let reports: Vec<Report> = (1..=10).map(run).collect();
        let start_up = |report: &Report| report.start_up(0).unwrap_or(report.duration);
        let mut starts: Vec<_> = reports.iter().map(|it| start_up(it).as_secs_f64()).collect();
        let mut goodputs: Vec<_> = reports.iter().map(|it| it.goodput(0, s(12), s(60))).collect();
        starts.sort_by(f64::total_cmp);
        goodputs.sort_by(f64::total_cmp);
        println!(
            "| {name} | {:.1}, {:.1} | {:.1}, {:.1} |",
            starts[5], starts[9], goodputs[5], goodputs[0]
        );
    }
}

/// Two flows over one link of 10 Mbit/s, eight seeds, from 30 s to 150 s.
fn shares(only: &str) {
    let (ours, cubic) = (FlowPlan::satellite, FlowPlan::cubic);
    let told = || FlowPlan::new(Arc::new(Satellite::default().rate(10_000_000)));
    let rows = [
        ("600 ms, ours and CUBIC", 600, 100, ours(), cubic()),
        ("100 ms, ours and CUBIC", 100, 100, ours(), cubic()),
        ("600 ms, ours and CUBIC 10 s later", 600, 100, ours(), cubic().from(s(10))),
        ("100 ms, ours and CUBIC 10 s later", 100, 100, ours(), cubic().from(s(10))),
        ("600 ms, ours 10 s later and CUBIC", 600, 100, ours().from(s(10)), cubic()),
        ("100 ms, ours 10 s later and CUBIC", 100, 100, ours().from(s(10)), cubic()),
        ("600 ms, ours and CUBIC, queue 0.25", 600, 25, ours(), cubic()),
        ("600 ms, ours and CUBIC, queue 4", 600, 400, ours(), cubic()),
        ("600 ms, ours told the rate and CUBIC", 600, 100, told(), cubic()),
        ("600 ms, ours told the rate and CUBIC, queue 4", 600, 400, told(), cubic()),
        ("600 ms, CUBIC and CUBIC 10 s later", 600, 100, cubic(), cubic().from(s(10))),
        ("600 ms, ours twice", 600, 100, ours(), ours()),
        ("100 ms, ours twice", 100, 100, ours(), ours()),
        ("600 ms, ours and ours 10 s later", 600, 100, ours(), ours().from(s(10))),
        ("100 ms, ours and ours 10 s later", 100, 100, ours(), ours().from(s(10))),
    ];
    println!("\n| two flows | shares % (eight seeds) | least | surplus % |");
    println!("|---|---|---|---|");
    for (name, rtt_ms, queue, one, other) in rows.into_iter().filter(|row| row.0.contains(only)) {
        let run = |seed| {
            let link = Link::new(10_000, rtt_ms, 0).queue_percent(queue);
            Sim::new(link, vec![one.clone(), other.clone()], seed).run(150)
        };
        let reports: Vec<Report> = (1..=8).map(run).collect();
        let share = |report: &Report, flow| report.goodput(flow, s(30), s(150));
        let pairs = reports.iter().map(|report| (share(report, 0), share(report, 1)));
        let least = pairs.clone().map(|(one, other)| one.min(other)).fold(100.0, f64::min);
        let pairs: Vec<String> =
            pairs.map(|(one, other)| format!("{one:.0} / {other:.0}")).collect();
        let surplus = (reports[0].surplus(0), reports[0].surplus(1));
        let (one, other) = surplus;
        println!("| {name} | {} | {least:.0} | {one:.1} / {other:.1} |", pairs.join(", "));
    }
}

/// A link that changes at 40 s, and for the rate back at 80 s.
fn changes(only: &str) {
    println!(
        "\n| change at 40 s | controller | goodput % before, after \
         | wait p95 ms 40-80 s, 50-80 s | back up s | surplus % |"
    );
    println!("|---|---|---|---|---|---|");
    for loss in [0, 10] {
        let mut steps = Link::new(10_000, 600, loss);
        steps.steps = vec![(s(40), 2_000_000), (s(80), 10_000_000)];
        let mut detour = Link::new(10_000, 600, loss);
        detour.detour = Some((s(40), Duration::from_millis(100)));
        for (name, link) in [("10 to 2 Mbit and back", steps), ("200 ms longer", detour)] {
            let name = format!("{name}, {} %", loss / 10);
            let rows = [("ours", FlowPlan::satellite()), ("CUBIC", FlowPlan::cubic())];
            for (controller, plan) in rows {
                // With loss CUBIC has nothing to follow a change with.
                if !name.contains(only) || (loss > 0 && controller == "CUBIC") {
                    continue;
                }
                let report = Sim::new(link.clone(), vec![plan], 1).run(120);
                let (_, all, _) = report.waits_ms(s(40), s(80));
                let (_, later, _) = report.waits_ms(s(50), s(80));
                println!(
                    "| {name} | {controller} | {:.0}, {:.0} | {all:.0}, {later:.0} | {} | {:.1} |",
                    report.goodput(0, s(20), s(40)),
                    report.goodput(0, s(50), s(80)),
                    seconds(report.back_up(0, s(80)).map(|at| at - s(80))),
                    report.surplus(0),
                );
            }
        }
    }
}

/// 2 Mbit/s, 600 ms, 1 % loss, out for 30 s every two minutes.
fn outages(only: &str) {
    println!("\n| outages of 30 s | back at 80 % after s | sent in the first second, then |");
    println!("|---|---|---|");
    let mut link = Link::new(2_000, 600, 10);
    link.outages = (1..5).map(|count| (s(count * 120), s(count * 120 + 30))).collect();
    let rows = [
        ("ours", FlowPlan::satellite()),
        ("ours, receiver rebinds after 5 s", FlowPlan::satellite().wake(Wake::Rebind(s(5)))),
        ("CUBIC", FlowPlan::cubic()),
    ];
    for (name, plan) in rows.into_iter().filter(|(name, _)| name.contains(only)) {
        let report = Sim::new(link.clone(), vec![plan], 1).run(600);
        let mut back = Vec::new();
        let mut sent = Vec::new();
        for (from, to) in &link.outages {
            back.push(seconds(report.back_up(0, *to).map(|at| at - *to)));
            let first = report.flows[0].sent_between(*from, *from + s(1));
            let then = report.flows[0].sent_between(*from + s(1), *to);
            sent.push(format!("{:.0} + {:.0} kB", first as f64 / 1e3, then as f64 / 1e3));
        }
        println!("| {name} | {} | {} |", back.join(", "), sent.join(", "));
    }
}

/// A configured rate of 2 Mbit/s, on links that are faster, as fast, and slower.
fn configured(only: &str) {
    println!(
        "\n| 2 Mbit/s configured, link of | start-up s | sent Mbit/s from 5 s \
         | goodput % | surplus % | wait p95 / max ms |"
    );
    println!("|---|---|---|---|---|---|");
    for rate_kbit in [10_000, 2_000, 1_000] {
        let name = format!("{rate_kbit} kbit/s");
        if !name.contains(only) {
            continue;
        }
        let plan = FlowPlan::new(Arc::new(Satellite::default().rate(2_000_000)));
        let report = Sim::new(Link::new(rate_kbit, 600, 10), vec![plan], 1).run(60);
        let sent = report.flows[0].sent_between(s(5), s(60)) as f64 * 8.0 / 55e6;
        let (_, p95, max) = report.waits_ms(s(0), s(60));
        println!(
            "| {name} | {} | {sent:.2} | {:.1} | {:.1} | {p95:.0} / {max:.0} |",
            seconds(report.start_up(0)),
            report.goodput(0, s(5), s(60)),
            report.surplus(0),
        );
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}
