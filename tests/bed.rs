//! The testbed itself: an emulated link does to real sockets what it was told to.
//!
//! Takes root and /dev/net/tun; says SKIPPED without.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use neap_sim::bed::link::{GATEWAY, Link, SHORE};
use neap_sim::bed::namespace::{Network, available, inside};
use neap_sim::bed::options::LinkOptions;
use neap_sim::bed::pump::Totals;
use neap_sim::bed::site::{Node, STATS, Site};
use neap_sim::bed::tally::{Way, lines};
use neap_sim::real::Folder;

type Done = Result<(), Box<dyn Error>>;

/// Headers of IPv4 and UDP: an IP packet is this much longer than what is sent.
const HEADERS: usize = 28;
const PORT: u16 = 9000;

/// A socket at each end of a link, the shore's first.
fn sockets(link: &Link) -> io::Result<[UdpSocket; 2]> {
    let bind = |namespace: &str, address: &str| {
        let address: Ipv4Addr = address.parse().map_err(io::Error::other)?;
        let socket = inside(namespace, || UdpSocket::bind(SocketAddrV4::new(address, PORT)))?;
        socket.set_read_timeout(Some(Duration::from_millis(1500)))?;
        Ok::<_, io::Error>(socket)
    };
    let ends = [bind(link.shore(), SHORE)?, bind(link.gateway(), GATEWAY)?];
    ends[0].connect((GATEWAY, PORT))?;
    ends[1].connect((SHORE, PORT))?;
    Ok(ends)
}

/// Sends `count` numbered packets of `len` IP bytes from shore, one every `every`, and returns
/// when each was sent, and number and time of those that came, both since the link's clock began.
fn stream(link: &Link, count: u32, len: usize, every: Duration) -> io::Result<Streamed> {
    let [shore, gateway] = sockets(link)?;
    let receiver = thread::spawn(move || -> io::Result<Vec<(u32, Instant)>> {
        let (mut buffer, mut came) = ([0; 2048], Vec::new());
        loop {
            match gateway.recv(&mut buffer) {
                Ok(_) => came.push((number(&buffer), Instant::now())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(came),
                Err(error) => return Err(error),
            }
        }
    });
    link.begin().map_err(io::Error::other)?;
    let (start, mut sent) = (Instant::now(), Vec::new());
    for index in 0..count {
        thread::sleep((start + every * index).saturating_duration_since(Instant::now()));
        let mut packet = vec![0; len - HEADERS];
        packet[..4].copy_from_slice(&index.to_be_bytes());
        sent.push(start.elapsed());
        shore.send(&packet)?;
    }
    let came = receiver.join().map_err(|_| io::Error::other("the receiver panicked"))??;
    let came = came.into_iter().map(|(index, at)| (index, at.saturating_duration_since(start)));
    Ok(Streamed { sent, came: came.collect() })
}

struct Streamed {
    sent: Vec<Duration>,
    came: Vec<(u32, Duration)>,
}

fn number(packet: &[u8]) -> u32 {
    packet.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// A link, or nothing and a word on why not.
fn link(options: &LinkOptions) -> Result<Option<Link>, Box<dyn Error>> {
    if let Err(why) = available() {
        println!("SKIPPED: {why}");
        return Ok(None);
    }
    Ok(Some(Link::start(options, None)?))
}

/// 100 Mbit/s, 20 ms, and a queue that takes what the tests send at once.
fn quick() -> LinkOptions {
    LinkOptions {
        delay_ms: 20.0,
        rate_kbit: 100_000,
        queue_bytes: Some(1 << 20),
        ..LinkOptions::default()
    }
}

fn assert_all_is_accounted_for(totals: &Totals) {
    for tally in [totals.down, totals.up] {
        let parts = [tally.delivered, tally.lost, tally.tail_dropped, tally.outage_dropped];
        assert_eq!(parts.iter().map(|part| part.packets).sum::<u64>(), tally.offered.packets);
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), tally.offered.bytes);
    }
}

#[test]
fn round_trips_take_what_was_asked_for() -> Done {
    let Some(link) = link(&LinkOptions::default())? else { return Ok(()) };
    let [shore, gateway] = sockets(&link)?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut buffer = [0; 2048];
        for _ in 0..8 {
            let len = gateway.recv(&mut buffer)?;
            gateway.send(&buffer[..len])?;
        }
        Ok(())
    });
    let mut times = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        shore.send(&[0; 100])?;
        shore.recv(&mut [0; 2048])?;
        times.push(begun.elapsed());
    }
    echo.join().map_err(|_| "the echo panicked")??;
    times.sort();
    println!("round trips: {times:?}");
    let middle = times[times.len() / 2];
    assert!(middle.abs_diff(Duration::from_millis(600)) < Duration::from_millis(10), "{middle:?}");
    // Nobody else speaks.
    let totals = link.finish()?;
    assert_eq!((totals.down.offered.packets, totals.up.offered.packets), (8, 8));
    Ok(())
}

#[test]
fn loss_is_that_of_the_seed() -> Done {
    let Some(link) = link(&LinkOptions { loss_percent: 5.0, ..quick() })? else { return Ok(()) };
    let streamed = stream(&link, 4000, 200, Duration::from_micros(200))?;
    let totals = link.finish()?;
    println!("{} of 4000 came", streamed.came.len());
    assert_all_is_accounted_for(&totals);
    assert_eq!(totals.down.delivered.packets, streamed.came.len() as u64);
    // 200 are lost on average; the standard deviation is 14.
    assert!((140..260).contains(&totals.down.lost.packets), "{totals:?}");
    assert!(streamed.came.is_sorted_by_key(|(index, _)| *index));
    Ok(())
}

#[test]
fn rate_is_kept_and_the_rest_is_dropped_at_the_tail() -> Done {
    let options =
        LinkOptions { rate_kbit: 8000, queue_bytes: Some(30_000), delay_ms: 10.0, ..quick() };
    let Some(link) = link(&options)? else { return Ok(()) };
    // 12 Mbit/s for two seconds.
    let streamed = stream(&link, 2000, 1500, Duration::from_millis(1))?;
    let totals = link.finish()?;
    let (first, last) = (streamed.came[0].1, streamed.came[streamed.came.len() - 1].1);
    let bits = (streamed.came.len() - 1) as f64 * 1500.0 * 8.0;
    let rate = bits / (last - first).as_secs_f64();
    println!("{rate:.0} bit/s of 8,000,000; {totals:?}");
    assert!((rate / 8e6 - 1.0).abs() < 0.03, "{rate}");
    assert_all_is_accounted_for(&totals);
    assert!(totals.down.tail_dropped.packets > 500, "{totals:?}");
    // The queue is full from the first half second on, and takes 30 ms to pass.
    let waits = streamed.came.iter().map(|(index, at)| *at - streamed.sent[*index as usize]);
    let mut waits: Vec<Duration> = waits.skip(500).collect();
    waits.sort();
    let middle = waits[waits.len() / 2];
    assert!(middle.abs_diff(Duration::from_millis(40)) < Duration::from_millis(10), "{middle:?}");
    Ok(())
}

#[test]
fn a_full_queue_takes_its_size_of_a_burst() -> Done {
    let options = LinkOptions { rate_kbit: 1000, queue_bytes: Some(15_000), ..quick() };
    let Some(link) = link(&options)? else { return Ok(()) };
    let streamed = stream(&link, 40, 1500, Duration::ZERO)?;
    println!("{} of 40 came", streamed.came.len());
    // Ten fit, and one more for each 12 ms that the burst took to send.
    assert!((10..=12).contains(&streamed.came.len()), "{:?}", streamed.came);
    assert!(
        streamed.came.iter().zip(0..).take(10).all(|((index, _), expected)| *index == expected)
    );
    assert_all_is_accounted_for(&link.finish()?);
    Ok(())
}

#[test]
fn an_outage_swallows_all_and_nothing_else() -> Done {
    let options = LinkOptions { outage: vec!["0.5:0.7".parse()?], ..quick() };
    let Some(link) = link(&options)? else { return Ok(()) };
    let streamed = stream(&link, 170, 200, Duration::from_millis(10))?;
    let totals = link.finish()?;
    println!("{} of 170 came; {totals:?}", streamed.came.len());
    let slack = Duration::from_millis(30);
    let (begin, end) = (Duration::from_millis(500), Duration::from_millis(1200));
    for (at, index) in streamed.sent.iter().zip(0..) {
        let came = streamed.came.iter().any(|(number, _)| *number == index);
        let dead = *at > begin + slack && *at + slack < end;
        let alive = *at + slack < begin || *at > end + slack;
        let wrong = if came { dead } else { alive };
        assert!(!wrong, "packet {index}, sent at {at:?}");
    }
    assert_all_is_accounted_for(&totals);
    Ok(())
}

#[test]
fn the_command_ends_with_its_input_and_by_a_signal() -> Done {
    if let Err(why) = available() {
        println!("SKIPPED: {why}");
        return Ok(());
    }
    let network = Network::new()?;
    let (shore, site) = (network.namespace("a")?, network.namespace("b")?);
    for by_signal in [false, true] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_link-emulator"));
        command.args(["--shore", &shore, "--site", &site, "--delay-ms", "10"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        assert_eq!(line, "READY\n");
        let sender = inside(&shore, || UdpSocket::bind("0.0.0.0:0"))?;
        sender.send_to(&[0; 100], (GATEWAY, PORT))?;
        thread::sleep(Duration::from_millis(200));
        if by_signal {
            let id = i32::try_from(child.id())?;
            let id = rustix::process::Pid::from_raw(id).ok_or("no process")?;
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        } else {
            drop(child.stdin.take());
        }
        assert!(child.wait()?.success());
        let mut totals = String::new();
        output.read_to_string(&mut totals)?;
        let totals: serde_json::Value = serde_json::from_str(&totals)?;
        // Nobody listens, and says so.
        assert_eq!(totals["down"]["delivered"]["bytes"], 128, "{totals}");
        assert_eq!(totals["up"]["offered"]["packets"], 1, "{totals}");
    }
    Ok(())
}

#[test]
fn devices_reach_each_other_and_over_the_link_the_shore() -> Done {
    if let Err(why) = available() {
        println!("SKIPPED: {why}");
        return Ok(());
    }
    let folder = Folder::new(
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bed-site-{}", std::process::id())),
    )?;
    let options = LinkOptions { delay_ms: 50.0, ..LinkOptions::default() };
    let site = Site::start(2, &options, &folder.path(""))?;
    let bind = |node| site.inside(node, || UdpSocket::bind("0.0.0.0:9000"));
    let [shore, one, two] = [bind(Node::Shore)?, bind(Node::Device(1))?, bind(Node::Device(2))?];
    site.link().begin()?;
    let trip = |from: &UdpSocket, to: &UdpSocket, node| -> io::Result<Duration> {
        to.set_read_timeout(Some(Duration::from_secs(2)))?;
        let begun = Instant::now();
        from.send_to(&[0; 1000], (Site::address(node).as_str(), 9000))?;
        to.recv(&mut [0; 2000])?;
        Ok(begun.elapsed())
    };
    let near = trip(&one, &two, Node::Device(2))?;
    let out = trip(&one, &shore, Node::Shore)?;
    let back = trip(&shore, &two, Node::Device(2))?;
    println!("LAN {near:?}, to shore {out:?}, from shore {back:?}");
    assert!(near < Duration::from_millis(20));
    assert!(
        [out, back].iter().all(|time| time.abs_diff(Duration::from_millis(50)).as_millis() < 15)
    );
    let lan = site.lan_bytes()?;
    assert!(lan[&Node::Device(1)].sent > 2000 && lan[&Node::Device(2)].received > 2000, "{lan:?}");

    let mut sleeper = site.spawn(Node::Device(1), "sleeper", &["sleep", "60"])?;
    thread::sleep(Duration::from_millis(100));
    assert!(sleeper.look()?.is_none());
    assert!(sleeper.peak_rss() > 100 << 10, "{}", sleeper.peak_rss());
    assert!(!sleeper.kill()?.status.success());
    assert!(sleeper.kill().is_err());
    let mut failing =
        site.spawn(Node::Device(2), "failing", &["sh", "-c", "echo why >&2; exit 3"])?;
    assert_eq!(failing.wait(Duration::from_secs(5))?.status.code(), Some(3));
    assert_eq!(failing.complaint(), "why");

    let namespace = site.namespace(Node::Shore);
    let totals = site.finish()?;
    assert_eq!((totals.down.delivered.bytes, totals.up.delivered.bytes), (1028, 1028));
    let told = lines(&std::fs::read_to_string(folder.path(STATS))?);
    let total = told.iter().find(|line| line.total && line.way == Way::Down);
    assert_eq!(total.map(|line| line.tally), Some(totals.down));
    assert!(!PathBuf::from("/run/netns").join(namespace).exists());
    Ok(())
}
