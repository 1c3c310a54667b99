//! A shore, and devices of a ship that fetch from it and from each other: real processes, real
//! sockets on loopback. `bench/tests/site.rs` does the same behind an emulated satellite link.

mod common;
mod signing;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use neap_sim::real::Tmpfs;
use serde_json::Value;
use signing::{Desk, Town};

/// A town with a release of two versions, an authority, and nodes with certificates.
struct Ship {
    town: Town,
    ports: Vec<u16>,
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Bytes that no coder makes smaller, the later half of which depends on the version.
fn image(version: u64) -> Vec<u8> {
    let half = 2_000_000;
    [common::noise(7, half), common::noise(100 + version, half)].concat()
}

const NAMES: [&str; 4] = ["shore", "dev1", "dev2", "dev3"];

impl Ship {
    fn new() -> Self {
        let town = Town::published();
        for version in [1, 2] {
            let file = format!("{version}.img");
            town.depot.write(&file, &image(version));
            let from = if version == 2 { "--from last:1" } else { "" };
            let create = format!(
                "release create depot --group fleet --product radar --version {version}.0 \
                 --image {file} --quiet {from}"
            );
            town.depot.run(&create).expect_code(0);
            town.sign_and_publish("g.fleet");
        }
        town.depot.run("key new coast").expect_code(0);
        town.depot.run("ca init ca --key coast --name coast").expect_code(0);
        // Ports that were free a moment ago; each node has its own.
        let sockets: Vec<_> = NAMES.iter().map(|_| UdpSocket::bind("127.0.0.1:0")).collect();
        let port = |socket: &std::io::Result<UdpSocket>| {
            let socket = socket.as_ref().expect("loopback has ports");
            socket.local_addr().expect("it is bound").port()
        };
        let ports = sockets.iter().map(port).collect();
        let ship = Self { town, ports };
        for name in NAMES {
            ship.identify(name);
            ship.configure(name, "");
        }
        ship
    }

    fn desk(&self) -> &Desk {
        &self.town.depot
    }

    fn identify(&self, name: &str) {
        let ask = format!("ca request {name} --new-key {name}.key -o {name}.csr --json");
        let asked = self.desk().run(&ask).expect_code(0).json();
        let digest = asked["key"].as_str().expect("a digest").to_owned();
        self.desk().run(&format!("ca allow ca {name} --digest {digest}")).expect_code(0);
        let issue = format!("ca issue ca {name}.csr --key coast --json");
        let issued = self.desk().run(&issue).expect_code(0).json();
        let path = issued["issued"][0]["certificate"].as_str().expect("a path").to_owned();
        fs::copy(self.desk().path(&path), self.desk().path(&format!("{name}.crt")))
            .expect("copied");
    }

    /// A node's configuration: the shore is behind a link that costs, the others are near.
    fn configure(&self, name: &str, link: &str) {
        let path = |file: &str| self.desk().path(file);
        let me = NAMES.iter().position(|other| *other == name).expect("a node");
        let depot = if me == 0 { path("depot") } else { path(&format!("{name}.depot")) };
        let mut text = format!(
            "depot = {depot:?}\nstate = {:?}\nlisten = \"127.0.0.1:{}\"\nsite = \"{}\"\n\
             groups = [\"fleet\"]\nproduct = \"radar\"\nroot = {:?}\n[identity]\n\
             certificate = {:?}\nkey = {:?}\nauthority = {:?}\n[discovery]\nmdns = false\n",
            path(&format!("{name}.state")),
            self.ports[me],
            if me == 0 { "shore" } else { "ship" },
            path("depot/metadata/1.root.json"),
            path(&format!("{name}.crt")),
            path(&format!("{name}.key")),
            path("ca/ca.pem"),
        );
        for (other, port) in
            self.ports.iter().enumerate().filter(|(other, _)| *other != me && me > 0)
        {
            let link = if other == 0 { "sat" } else { "lan" };
            text += &format!("[[peer]]\naddress = \"127.0.0.1:{port}\"\nlink = \"{link}\"\n");
        }
        self.desk().write(&format!("{name}.toml"), format!("{text}{link}").as_bytes());
    }

    /// Lets a node write its counts to a file of its name.
    fn count(&self, name: &str) {
        let place = self.desk().path(&format!("{name}.prom"));
        let text = self.desk().text(&format!("{name}.toml"));
        let text = format!("{text}[metrics]\ntextfile = {place:?}\n");
        self.desk().write(&format!("{name}.toml"), text.as_bytes());
    }

    fn start(&self, arguments: &str, log: &str) -> Running {
        let file = |name: String| File::create(self.desk().path(&name)).expect("made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_neap"));
        command.args(arguments.split(' ')).current_dir(self.desk().path("."));
        command.stdout(file(format!("{log}.out"))).stderr(file(format!("{log}.err")));
        Running(command.stdin(Stdio::null()).spawn().expect("neap starts"))
    }

    fn serve(&self) -> Running {
        let running = self.start("serve --config shore.toml", "shore");
        self.until("the shore serves", || self.desk().text("shore.err").contains(" serves "));
        running
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ended(&self, running: &mut Running, log: &str) -> Value {
        let mut code = None;
        self.until(log, || {
            code = running.0.try_wait().expect("it is a child");
            code.is_some()
        });
        let said = self.desk().text(&format!("{log}.err"));
        assert!(code.expect("it ended").success(), "{log}: {said}");
        serde_json::from_slice(&self.desk().read(&format!("{log}.out"))).expect("JSON")
    }

    /// A device's first receipt, in a depot.
    fn receipt(&self, depot: &str, device: &str) {
        let create = format!(
            "receipt create {depot}/receipts/{device} --device {device} --key {device}.key \
             --outcome inventory --product radar --version 1.0"
        );
        self.desk().run(&create).expect_code(0);
    }

    fn sync(&self, device: &str) -> Value {
        let sync = format!("sync --config {device}.toml --json --quiet");
        self.desk().run(&sync).expect_code(0).json()
    }

    /// The one blob that a fetch brought.
    fn blob(&self, fetched: &Value) -> String {
        fetched["files"][0]["blake3"].as_str().expect("a digest").to_owned()
    }
}

fn crossed(fetched: &Value) -> u64 {
    let links = fetched["crossed_bytes"].as_object().expect("an object");
    links.values().filter_map(Value::as_u64).sum()
}

#[test]
fn three_devices_fetch_a_patch_for_the_price_of_about_one() {
    let ship = Ship::new();
    let _shore = ship.serve();
    let mut devices: Vec<_> = NAMES[1..]
        .iter()
        .map(|name| {
            let fetch = format!("fetch --config {name}.toml --version 1.0 --json --quiet");
            (name, ship.start(&fetch, name))
        })
        .collect();
    let fetched: Vec<_> =
        devices.iter_mut().map(|(name, running)| ship.ended(running, name)).collect();
    let len = fetched[0]["files"][0]["len"].as_u64().expect("a length");
    let all: u64 = fetched.iter().map(crossed).sum();
    // The link is as fast as loopback, so what is asked twice in the first moment is at its most.
    assert!(all > len && all < 2 * len, "{all} bytes crossed for {len}");
    for (name, fetched) in NAMES[1..].iter().zip(&fetched) {
        let blob = ship.blob(fetched);
        let kept = ship.desk().read(&format!("{name}.depot/blobs/{blob}"));
        assert_eq!(kept, ship.desk().read(&format!("depot/blobs/{blob}")), "{name}");
    }
    let again = ship.desk().run("fetch --config dev1.toml --version 2.0");
    again.expect_error(3, &["2.0 is there already"]);
}

#[test]
fn a_killed_fetch_goes_on_and_the_image_is_made_while_it_comes() {
    let ship = Ship::new();
    let shore = ship.serve();
    let fetch = "fetch --config dev1.toml --version 1.0 --json --source 1.img --target slot";
    let part = || {
        let blobs = fs::read_dir(ship.desk().path("dev1.depot/blobs"));
        blobs.into_iter().flatten().flatten().any(|file| {
            let long = file.metadata().is_ok_and(|found| found.len() > 300_000);
            long && file.path().extension().is_some_and(|partial| partial == "partial")
        })
    };
    let mut killed = ship.start(fetch, "killed");
    ship.until("a part came", || part() || killed.0.try_wait().expect("asked").is_some());
    drop(killed);
    // The shore is gone for a while, too, and comes back.
    drop(shore);
    let mut second = ship.start(fetch, "dev1");
    std::thread::sleep(Duration::from_millis(500));
    let _shore = ship.serve();
    let fetched = ship.ended(&mut second, "dev1");
    assert_eq!(ship.desk().read("slot"), image(2));
    assert_eq!(fetched["applied"]["schema"], "neap.apply.v1");
}

/// The value of a count; 0 where it is not shown.
fn count(text: &str, name: &str, label: &str) -> f64 {
    let named = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let found = text.lines().find(named).and_then(|line| line.rsplit(' ').next());
    found.map_or(0.0, |value| value.parse().expect("a number"))
}

#[test]
fn counts_say_what_was_fetched_given_saved_and_gone_on_with() {
    let ship = Ship::new();
    ship.count("dev1");
    let at = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let listen = format!("[metrics]\nlisten = \"{at}\"\n");
    let fetch = "fetch --config dev1.toml --version 1.0 --json --quiet";
    // A shore that gives a peer less than the patch in a day.
    ship.configure("shore", &listen);
    let bounded = format!("peer_day_bytes = 1200000\n{}", ship.desk().text("shore.toml"));
    ship.desk().write("shore.toml", bounded.as_bytes());
    {
        let _shore = ship.serve();
        let mut stopped = ship.start(&format!("{fetch} --patience 3"), "stopped");
        let is_met = || count(&metrics(at), "neap_peers", "class=\"lan\"") == 1.0;
        ship.until("a peer is counted", is_met);
        let ended = stopped.0.wait().expect("it is a child");
        assert_eq!(ended.code(), Some(10));
    }
    ship.configure("shore", &listen);
    let _shore = ship.serve();
    let mut fetching = ship.start(fetch, "dev1");
    ship.ended(&mut fetching, "dev1");
    let counts = ship.desk().text("dev1-fetch.prom");
    let of = |name: &str, label: &str| count(&counts, name, label);
    let (came, link) = (of("neap_bytes_total", "class=\"sat\""), "class=\"sat\"");
    // What the first shore did not give. Half of the image, 2 MB, is another in each version.
    assert!((5e5..1.6e6).contains(&came), "{counts}");
    assert!(of("neap_bytes_saved_total", "verb=") > 1.9e6, "{counts}");
    assert_eq!(of("neap_resume_total", "verb="), 1.0, "{counts}");
    assert!(of("neap_sent_bytes_total", link) > 1e3, "{counts}");
    for time in ["neap_last_check_timestamp_seconds", "neap_last_success_timestamp_seconds"] {
        assert!(of(time, "verb=") > 1.7e9, "{counts}");
    }
    let given = metrics(at);
    assert!(count(&given, "neap_sent_bytes_total", "class=\"lan\"") > came, "{given}");
}

/// What a node shows over HTTP; nothing while it does not listen.
fn metrics(at: SocketAddr) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(at) {
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
        stream.read_to_string(&mut text).expect("answered");
    }
    text
}

#[test]
fn a_spent_budget_stops_a_fetch_before_it_begins_and_fleets_do_not_mix() {
    let ship = Ship::new();
    let _shore = ship.serve();
    ship.configure("dev1", "[link.sat]\nday_bytes = 1000000\n");
    ship.count("dev1");
    let dear = ship.desk().run("fetch --config dev1.toml --version 1.0");
    dear.expect_error(11, &["radar", "of the budget"]);
    assert!(!ship.desk().path("dev1.depot/blobs").exists(), "nothing of it was fetched");
    let counts = ship.desk().text("dev1-fetch.prom");
    assert_eq!(count(&counts, "neap_rejected_total", "reason=\"budget\""), 1.0, "{counts}");
    let left = count(&counts, "neap_budget_remaining_bytes", "link=\"sat\"");
    assert!(left > 5e5 && left < 1e6, "{counts}");
    // What is set aside ahead is no less left: a budget for the patch and little more is enough.
    ship.configure("dev1", "[link.sat]\nday_bytes = 3000000\n");
    ship.desk().run("fetch --config dev1.toml --version 1.0 --quiet").expect_code(0);

    // A device of another fleet.
    ship.desk().run("key new other").expect_code(0);
    ship.desk().run("ca init other-ca --key other --name elsewhere").expect_code(0);
    let ask = "ca request dev2 --new-key stranger.key -o stranger.csr --json";
    let asked = ship.desk().run(ask).expect_code(0).json();
    let digest = asked["key"].as_str().expect("a digest").to_owned();
    ship.desk().run(&format!("ca allow other-ca dev2 --digest {digest}")).expect_code(0);
    let issue = "ca issue other-ca stranger.csr --key other --json";
    let issued = ship.desk().run(issue).expect_code(0).json();
    let path = issued["issued"][0]["certificate"].as_str().expect("a path").to_owned();
    fs::copy(ship.desk().path(&path), ship.desk().path("dev2.crt")).expect("copied");
    fs::copy(ship.desk().path("stranger.key"), ship.desk().path("dev2.key")).expect("copied");
    let text = ship.desk().text("dev2.toml").replace("/ca/ca.pem", "/other-ca/ca.pem");
    ship.desk().write("dev2.toml", text.as_bytes());
    let refused = ship.desk().run("fetch --config dev2.toml --version 1.0 --patience 1");
    refused.expect_error(10, &["refused: certificate of no device of this fleet"]);
    assert!(!ship.desk().text("shore.err").contains("dev2 connected"));
}

/// The disk was taken for a source that failed: the same was asked for again and again, over the
/// link that is paid for, until patience was over.
#[test]
fn a_full_depot_ends_a_fetch_and_is_nobodys_fault() {
    let ship = Ship::new();
    let _shore = ship.serve();
    let small = match Tmpfs::new(ship.desk().path("dev1.depot"), 700_000) {
        Ok(small) => small,
        Err(why) => return println!("skipped: no small disk, which takes root: {why}"),
    };
    let full = ship.desk().run("fetch --config dev1.toml --version 1.0 --quiet");
    full.expect_error(12, &["radar", "the depot: ", "make room"]);
    small.resize(16 << 20).expect("it grows");
    let fetched = ship.desk().run("fetch --config dev1.toml --version 1.0 --json --quiet");
    let blame = fetched.expect_code(0).json()["files"][0]["blame"].clone();
    assert_eq!(blame, serde_json::json!([]));
}

#[test]
fn a_ship_that_passes_takes_releases_and_leaves_receipts() {
    let ship = Ship::new();
    let _shore = ship.serve();
    ship.receipt("dev1.depot", "dev1");
    let synced = ship.sync("dev1");
    assert_eq!(synced["receipts_given"], 1, "{synced}");
    // Two whole images and a patch between them.
    assert_eq!(synced["files"].as_array().map(Vec::len), Some(3), "{synced}");
    assert!(ship.desk().path("depot/receipts/dev1/1.cose").exists());
    let again = ship.sync("dev1");
    assert_eq!((&again["bytes"], &again["receipts_given"]), (&0.into(), &0.into()));
}

#[test]
fn receipts_go_both_ways_and_what_nobody_vouches_for_goes_neither() {
    let ship = Ship::new();
    // Where the shore has the certificates of its fleet, a ship may bring receipts of others.
    let known = format!("authority = {:?}\n", ship.desk().path("ca/ca.pem"));
    let folder = format!("{known}certificates = {:?}\n", ship.desk().path("ca/certificates"));
    for node in ["shore.toml", "dev1.toml"] {
        let text = ship.desk().text(node).replace(&known, &folder);
        ship.desk().write(node, text.as_bytes());
    }
    ship.receipt("dev1.depot", "dev1");
    ship.receipt("dev1.depot", "dev2");
    ship.receipt("depot", "shore");
    ship.receipt("depot", "dev3");
    // Signed by a key that has no certificate.
    ship.desk().run("ca request dev4 --new-key dev4.key -o dev4.csr").expect_code(0);
    ship.receipt("dev1.depot", "dev4");
    ship.desk().run("ca request dev5 --new-key dev5.key -o dev5.csr").expect_code(0);
    ship.receipt("depot", "dev5");

    let _shore = ship.serve();
    let synced = ship.sync("dev1");
    let counts = ["receipts_taken", "receipts_given", "receipts_refused"];
    assert_eq!(counts.map(|count| synced[count].as_u64()), [Some(2); 3], "{synced}");
    for device in ["shore", "dev1", "dev2", "dev3"] {
        let receipt = |depot: &str| ship.desk().read(&format!("{depot}/receipts/{device}/1.cose"));
        assert_eq!(receipt("depot"), receipt("dev1.depot"), "{device}");
    }
    assert!(!ship.desk().path("depot/receipts/dev4").exists());
    assert!(!ship.desk().path("dev1.depot/receipts/dev5").exists());
}
