//! `crash-sweep`: cuts the power at every tick of ever new runs until so many cuts were survived.
//!
//! `--points N` says how many; `--replay SIZE,PAIR,TICK,MOMENT,SEED` runs one chain again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::{env, thread};

use neap_sim::chain::{Chain, INTERVAL_WINDOWS};
use neap_sim::machine::Moment;
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;

/// What is counted and drawn from by all threads.
#[derive(Debug, Default)]
struct Sweep {
    points: u64,
    cuts: u64,
    chains: u64,
    failures: u64,
    pairs: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--points", points] => match points.parse() {
            Ok(points) => sweep(points),
            Err(error) => usage(&format!("--points {points}: {error}")),
        },
        ["--replay", chain] => replay(chain),
        _ => usage("one option is needed"),
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    eprintln!("usage: crash-sweep --points N | --replay SIZE,PAIR,TICK,MOMENT,SEED");
    ExitCode::from(2)
}

/// Sweeps pair after pair on all cores.
fn sweep(points: u64) -> ExitCode {
    let sweep = Mutex::new(Sweep { points, ..Sweep::default() });
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| while sweep_pair(&sweep) {});
        }
    });
    let Sweep { cuts, chains, failures, pairs, .. } =
        sweep.into_inner().expect("no thread panicked");
    println!("{cuts} power cuts in {chains} chains on {pairs} image pairs: {failures} failures");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cuts at every tick of one pair; `false` when there were cuts enough.
fn sweep_pair(sweep: &Mutex<Sweep>) -> bool {
    let number = {
        let mut sweep = sweep.lock().expect("no thread panics with the counts in hand");
        if sweep.cuts >= sweep.points {
            return false;
        }
        sweep.pairs += 1;
        sweep.pairs
    };
    let size = size(number);
    let pair = Pair::new(size, number);
    for tick in 0.. {
        let mut cuts_here = 0;
        for moment in Moment::ALL {
            let chain = Chain { tick, moment, seed: number << 32 | tick };
            let survived = chain.run(&pair);
            if let Err(why) = &survived {
                let (moment, seed) = (moment as u8, chain.seed);
                println!("failed: {why}: --replay {size},{number},{tick},{moment},{seed}");
            }
            let mut sweep = sweep.lock().expect("no thread panics with the counts in hand");
            sweep.chains += 1;
            sweep.failures += u64::from(survived.is_err());
            let cuts = survived.unwrap_or(1);
            sweep.cuts += cuts;
            cuts_here += cuts;
        }
        if cuts_here == 0 {
            break;
        }
    }
    true
}

/// Target size of a pair: around the ends of windows and checkpoints, or anything, in bytes.
fn size(number: u64) -> usize {
    let interval = INTERVAL_WINDOWS * WINDOW as u64;
    let mut random = Random::new(number);
    let count = 1 + random.below(3);
    let size = match random.below(6) {
        0 => count * interval,
        1 => count * interval + 1,
        2 => count * interval - 1,
        3 => count * WINDOW as u64 - random.below(2),
        _ => random.below(4 * interval),
    };
    usize::try_from(size).expect("images are small")
}

fn replay(chain: &str) -> ExitCode {
    let numbers: Option<Vec<u64>> = chain.split(',').map(|part| part.parse().ok()).collect();
    let Some([size, number, tick, moment, seed]) = numbers.as_deref() else {
        return usage("--replay needs five numbers");
    };
    let moment = usize::try_from(*moment).ok().and_then(|index| Moment::ALL.get(index));
    let (Some(moment), Ok(size)) = (moment, usize::try_from(*size)) else {
        return usage("there is no such moment or size");
    };
    let chain = Chain { tick: *tick, moment: *moment, seed: *seed };
    match chain.run(&Pair::new(size, *number)) {
        Ok(cuts) => {
            println!("{cuts} power cuts survived");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("failed: {why}");
            ExitCode::FAILURE
        }
    }
}
