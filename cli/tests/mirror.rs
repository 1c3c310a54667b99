//! `neap fetch` from a mirror: a release that no peer serves, over HTTP on loopback.

mod common;
#[path = "../../depot/tests/web/server.rs"]
mod server;
mod signing;

use std::fs;

use common::{Run, noise};
use neap_engine::digest::Digest;
use server::{Manner, Server};
use signing::Desk;

/// Some groups and a bit.
const LEN: usize = 700_001;

fn image() -> Vec<u8> {
    noise(5, LEN)
}

/// A desk with a release in `shore` and a device's identity.
fn desk() -> Desk {
    let desk = Desk::new();
    let run = |words: &str| desk.run(words).expect_code(0);
    for key in ["owner", "online", "fleet"] {
        run(&format!("key new {key}"));
    }
    run("repo init shore --root-key owner --targets-key owner --snapshot-key online \
         --timestamp-key online");
    run("repo add group shore bridge --key owner");
    let publish = |roles: &[&str]| {
        for role in roles {
            run(&format!("repo sign shore/staged/{role}.json --key owner --yes --output {role}"));
            run(&format!("repo merge shore {role}"));
        }
        run("repo publish shore --key online");
    };
    publish(&["root", "targets", "g.bridge"]);
    desk.write("image", &image());
    run("release create shore --group bridge --product radar --version 1 --image image");
    fs::remove_file(desk.path("g.bridge")).expect("it was written");
    publish(&["g.bridge"]);
    run("ca init ca --key fleet --name coast");
    let asked = run("ca request radar-7 --new-key radar.pem -o radar.csr --json").json();
    let digest = asked["key"].as_str().expect("a digest").to_owned();
    run(&format!("ca allow ca radar-7 --digest {digest}"));
    let issued = run("ca issue ca radar.csr --key fleet --json").json();
    let path = issued["issued"][0]["certificate"].as_str().expect("a path");
    fs::copy(desk.path(path), desk.path("radar.crt")).expect("copied");
    desk
}

/// Fetches over mirrors at these addresses.
fn fetch(desk: &Desk, mirrors: &[String], more: &str) -> Run {
    let at = |name: &str| desk.path(name);
    let mut config = format!(
        "depot = {:?}\nstate = {:?}\nlisten = \"127.0.0.1:0\"\ngroups = [\"bridge\"]\n\
         product = \"radar\"\nroot = {:?}\n\n[identity]\ncertificate = {:?}\nkey = {:?}\n\
         authority = {:?}\n\n[discovery]\nmdns = false\n\n[metrics]\ntextfile = {:?}\n{more}",
        at("cache"),
        at("state"),
        at("shore/metadata/1.root.json"),
        at("radar.crt"),
        at("radar.pem"),
        at("ca/ca.pem"),
        at("neap.prom"),
    );
    for mirror in mirrors {
        config += &format!("\n[[mirror]]\nurl = {mirror:?}\nlink = \"port\"\n");
    }
    desk.write("radar.toml", config.as_bytes());
    let config = at("radar.toml");
    desk.run(&format!("fetch --config {} --patience 3 --json", config.display()))
}

fn served(desk: &Desk, manner: Manner) -> Server {
    Server::start(&desk.path("shore"), manner)
}

/// The release's own file, whatever its coding is.
fn blob(desk: &Desk, json: &serde_json::Value) -> Vec<u8> {
    let name = json["files"][0]["blake3"].as_str().expect("a digest");
    let bytes = desk.read(&format!("cache/blobs/{name}"));
    assert_eq!(Digest::of(&bytes).to_string(), name);
    bytes
}

#[test]
fn a_release_comes_from_a_mirror_alone_and_is_counted() {
    let desk = desk();
    let server = served(&desk, Manner::Honest);
    let fetched = fetch(&desk, &[server.url()], "").expect_code(0).json();
    let bytes = blob(&desk, &fetched);
    let groups = fetched["files"][0]["groups_from"][server.url()].as_u64();
    assert_eq!(groups, Some(bytes.len().div_ceil(16 << 10) as u64), "{fetched}");
    let crossed = fetched["crossed_bytes"]["port"].as_u64().expect("counted");
    let sent = server.bytes();
    assert!((sent..sent + sent / 4 + 100_000).contains(&crossed), "{crossed} for {sent}");
    assert!(sent < bytes.len() as u64 * 21 / 20 + 60_000, "{sent} for {}", bytes.len());
    let metrics = desk.text("neap-fetch.prom");
    let line = "neap_bytes_total{verb=\"fetch\",source=\"wan\",class=\"port\"}";
    assert!(metrics.contains(&format!("{line} {}\n", bytes.len())), "{metrics}");
    assert!(metrics.contains("neap_info{verb=\"fetch\",version="), "{metrics}");
    let success = "neap_last_success_timestamp_seconds{verb=\"fetch\"} 1";
    assert!(metrics.contains(success), "{metrics}");
    desk.run("depot fsck cache").expect_code(0);
}

#[test]
fn a_mirror_with_wrong_bytes_is_blamed_and_the_next_one_is_asked() {
    let desk = desk();
    let liar = served(&desk, Manner::Flips);
    let honest = served(&desk, Manner::Honest);
    let fetched = fetch(&desk, &[liar.url(), honest.url()], "").expect_code(0).json();
    blob(&desk, &fetched);
    let blame = &fetched["files"][0]["blame"];
    assert_eq!(blame[0]["device"], liar.url(), "{fetched}");
    assert_eq!(blame[0]["what"], "WrongBytes", "{fetched}");
    assert!(desk.text("neap-fetch.prom").contains("reason=\"wrong_bytes\"} 1\n"));
}

#[test]
fn a_lying_mirror_alone_brings_nothing_that_is_wrong() {
    let desk = desk();
    let liar = served(&desk, Manner::Flips);
    fetch(&desk, &[liar.url()], "").expect_code(10);
    desk.run("depot fsck cache").expect_code(0);
    liar.set(Manner::Honest);
    let fetched = fetch(&desk, &[liar.url()], "").expect_code(0).json();
    blob(&desk, &fetched);
    assert!(fetched["files"][0]["groups_before"].as_u64() > Some(0), "what was right was kept");
}

#[test]
fn a_mirror_behind_a_spent_link_is_not_asked_for_the_release() {
    let desk = desk();
    let server = served(&desk, Manner::Honest);
    let link = "\n[link.port]\nday_bytes = 400000\n";
    let run = fetch(&desk, &[server.url()], link);
    run.expect_code(11);
    assert!(server.bytes() < 400_000, "{} bytes were asked for", server.bytes());
}
