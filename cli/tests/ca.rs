//! What a fleet's authority issues, refuses, revokes and publishes, and what receipts are worth by
//! its certificates.

mod common;
mod signing;

use std::fs;
use std::process::Command;

use signing::{Desk, Town};

/// A desk with an authority in `ca`, whose key is `fleet`.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.run("key new fleet").expect_code(0);
    desk.run("ca init ca --key fleet --name coast").expect_code(0);
    desk
}

/// A device's key and request, as `NAME.pem` and `NAME.csr`; the digest of its key.
fn ask(desk: &Desk, device: &str, file: &str, kind: &str) -> String {
    let ask =
        format!("ca request {device} --new-key {file}.pem --kind {kind} -o {file}.csr --json");
    let asked = desk.run(&ask).expect_code(0).json();
    asked["key"].as_str().expect("a digest").to_owned()
}

/// Allows and issues; the path of the certificate.
fn issued(desk: &Desk, device: &str, file: &str) -> String {
    let digest = ask(desk, device, file, "ed25519");
    desk.run(&format!("ca allow ca {device} --digest {digest}")).expect_code(0);
    let run = desk.run(&format!("ca issue ca {file}.csr --key fleet --json")).expect_code(0);
    run.json()["issued"][0]["certificate"].as_str().expect("a path").to_owned()
}

fn openssl(desk: &Desk, arguments: &str) -> (bool, String) {
    let mut openssl = Command::new("openssl");
    let run = openssl.args(arguments.split(' ')).current_dir(desk.path(".")).output();
    let run = run.expect("openssl is installed");
    let text = [run.stdout, run.stderr].concat();
    (run.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn allowed_device_gets_a_certificate_and_its_key_stays_its_own() {
    let desk = desk();
    assert_eq!(desk.mode("ca") & 0o077, 0, "requests and names are the fleet's own");
    for (device, kind) in [("radar-7", "ed25519"), ("sonar", "p256")] {
        let digest = ask(&desk, device, device, kind);
        assert_eq!(desk.mode(&format!("{device}.pem")), 0o600);
        desk.run(&format!("ca allow ca {device} --digest {digest}")).expect_code(0);
        let issue = format!("ca issue ca {device}.csr --key fleet --json");
        let first = desk.run(&issue).expect_code(0).json();
        let path = first["issued"][0]["certificate"].as_str().expect("a path");
        assert_eq!(first["issued"][0]["key"], digest.as_str());
        let (is_content, text) = openssl(&desk, &format!("verify -CAfile ca/ca.pem {path}"));
        assert!(is_content, "{text}");
        let shown = desk.run(&format!("ca show {path} --ca ca/ca.pem")).expect_code(0).stdout;
        assert!(shown.contains(device) && shown.contains(&digest), "{shown}");
        // A replayed request brings the same certificate, even where its file was lost.
        let before = desk.read(path);
        fs::remove_file(desk.path(path)).expect("removed");
        let again = desk.run(&issue).expect_code(0).json();
        assert_eq!(again["issued"], first["issued"]);
        assert_eq!(desk.read(path), before);
    }
    let listed = desk.run("ca list ca --json").expect_code(0).json();
    assert_eq!(listed["issued"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["allowed"].as_array().map(Vec::len), Some(0), "allowances are used up");
    let shown = desk.run("ca show radar-7.csr").expect_code(0).stdout;
    assert!(shown.contains("signed by its own key"), "{shown}");
    let shown = desk.run("ca show ca/ca.pem").expect_code(0).stdout;
    assert!(shown.contains("authority") && shown.contains("coast"), "{shown}");
    desk.run("ca show ca/fleet.crl").expect_error(1, &["no certificate request", "give --ca"]);
    desk.run("ca show ca/fleet.crl --ca ca/ca.pem").expect_code(0);
}

#[test]
fn request_of_a_device_that_nobody_allowed_waits_for_a_person() {
    let desk = desk();
    let digest = ask(&desk, "radar-7", "radar", "ed25519");
    let issue = "ca issue ca radar.csr --key fleet";
    desk.run(issue).expect_error(9, &["radar-7", "nobody has accepted", "neap ca accept"]);
    assert!(!desk.path("ca/certificates").exists());
    let waiting = desk.run("ca list ca --waiting").expect_code(0).stdout;
    assert!(waiting.contains(&digest), "{waiting}");
    // Without a terminal nobody can be asked.
    let accept = "ca accept ca radar-7 --key fleet";
    desk.run(accept).expect_error(9, &["no terminal", "compare the digest"]);
    let run = desk.run(&format!("{accept} --yes")).expect_code(0);
    assert!(run.stderr.contains(&digest) && run.stderr.contains("Compare"), "{}", run.stderr);
    desk.run(&format!("{accept} --yes")).expect_error(1, &["no request of radar-7"]);
    ask(&desk, "sonar", "sonar", "p256");
    desk.run("ca issue ca sonar.csr --key fleet").expect_code(9);
    desk.run("ca reject ca sonar").expect_code(0);
    desk.run("ca accept ca sonar --key fleet --yes").expect_code(1);
}

#[test]
fn other_key_for_a_device_is_refused_unless_it_replaces_the_old_one() {
    let desk = desk();
    let old = issued(&desk, "radar-7", "old");
    ask(&desk, "radar-7", "new", "p256");
    let issue = "ca issue ca new.csr --key fleet";
    desk.run(issue).expect_error(6, &["valid certificate", "another key", "--replace"]);
    // Even allowed in advance, the old certificate is not silently replaced.
    desk.run("ca allow ca radar-7").expect_code(0);
    desk.run(issue).expect_error(6, &["--replace"]);
    let run = desk.run(&format!("{issue} --replace --json")).expect_code(0).json();
    assert_eq!(run["revoked"], true);
    let crl = desk.run("ca show ca/fleet.crl --ca ca/ca.pem --json").expect_code(0).json();
    assert_eq!(crl["number"], 2);
    assert_eq!(crl["revoked"][0]["reason"], "superseded");
    let shown = desk.run(&format!("ca show {old} --ca ca/ca.pem --json")).expect_code(0).json();
    assert_eq!(crl["revoked"][0]["number"], shown["number"]);
    desk.run("ca issue ca old.csr --key fleet --replace")
        .expect_error(6, &["was revoked", "new key"]);
    // Its key under another name.
    desk.run("ca request radar-8 --key new.pem -o other.csr").expect_code(0);
    desk.run("ca issue ca other.csr --key fleet").expect_error(6, &["key is that of the device"]);
}

#[test]
fn requests_that_are_damaged_forged_or_weak_are_refused_and_others_are_met() {
    let desk = desk();
    ask(&desk, "radar-7", "good", "ed25519");
    desk.run("ca allow ca radar-7").expect_code(0);
    let pem = desk.text("good.csr");
    desk.write("cut.csr", &pem.as_bytes()[..pem.len() / 2]);
    let key = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem";
    assert!(openssl(&desk, key).0);
    assert!(openssl(&desk, "req -new -key rsa.pem -subj /serialNumber=a -out rsa.csr").0);
    let refused = desk.run("ca issue ca rsa.csr --key fleet");
    refused.expect_error(6, &["RSA is not taken", "nothing was written", "neap ca request"]);
    let run = desk.run("ca issue ca cut.csr good.csr rsa.csr --key fleet");
    run.expect_error(1, &["cut.csr", "no PEM", "1 certificates are there", "RSA"]);
    let listed = desk.run("ca list ca --json").expect_code(0).json();
    assert_eq!(listed["issued"][0]["device"], "radar-7");
}

#[test]
fn another_key_than_the_authoritys_signs_nothing() {
    let desk = desk();
    desk.run("key new other").expect_code(0);
    ask(&desk, "radar-7", "radar", "ed25519");
    desk.run("ca allow ca radar-7").expect_code(0);
    let before = desk.read("ca/ledger.json");
    let refused = desk.run("ca issue ca radar.csr --key other");
    refused.expect_error(6, &["not that of the authority", "nothing was written"]);
    desk.run("ca crl ca --key other").expect_error(6, &["not that of the authority"]);
    assert_eq!(desk.read("ca/ledger.json"), before);
    desk.run("ca init ca --key fleet --name coast").expect_error(1, &["an authority already"]);
    desk.run("ca list nothing").expect_error(1, &["there is no authority", "neap ca init"]);
}

#[test]
fn authoritys_key_may_be_on_a_token() {
    let Some(desk) = Desk::with_token("fleet") else { return };
    let uri = desk.uri("fleet", "ca");
    desk.run(&format!("key new fleet --token {uri}")).expect_code(0);
    desk.run("ca init ca --key fleet --name coast").expect_code(0);
    let path = issued(&desk, "radar-7", "radar");
    assert!(openssl(&desk, &format!("verify -CAfile ca/ca.pem {path}")).0);
    desk.run("ca revoke ca radar-7 --reason key-compromise --key fleet").expect_code(0);
}

#[test]
fn lists_of_devices_are_read_strictly() {
    let desk = desk();
    let digest = "ab".repeat(32);
    desk.write("list", format!("radar-7 {digest}\n\n# sonar\nsonar  # any key\n").as_bytes());
    desk.run("ca allow ca --list list").expect_code(0);
    let listed = desk.run("ca list ca --json").expect_code(0).json();
    assert_eq!(listed["allowed"][0]["key"], digest.as_str());
    assert_eq!(listed["allowed"][1]["device"], "sonar");
    desk.run("ca allow ca sonar").expect_error(3, &["allowed already"]);
    desk.run("ca allow ca sonar --remove").expect_code(0);
    desk.run("ca allow ca sonar --remove").expect_error(3, &["not allowed"]);
    let before = desk.read("ca/ledger.json");
    for line in ["Radar", "radar xyz", &format!("radar {digest} more")] {
        desk.write("list", format!("a\n{line}\n").as_bytes());
        desk.run("ca allow ca --list list").expect_error(1, &["line 2", "nothing was written"]);
    }
    assert_eq!(desk.read("ca/ledger.json"), before);
    desk.write("ca/ledger.json", b"{}");
    desk.run("ca list ca").expect_error(1, &["no ledger of an authority"]);
}

// A cut between the ledger and the list: the list on disk was older than what the ledger counted.
#[test]
fn list_that_a_cut_left_behind_is_told_and_made_again() {
    let desk = desk();
    issued(&desk, "radar-7", "radar");
    let old = desk.read("ca/fleet.crl");
    desk.run("ca revoke ca radar-7 --reason key-compromise --key fleet").expect_code(0);
    desk.write("ca/fleet.crl", &old);
    let told = desk.run("ca list ca").expect_code(0).stdout;
    assert!(told.contains("fleet.crl is not that list"), "{told}");
    let made = desk.run("ca crl ca --key fleet --json").expect_code(0).json();
    assert_eq!((&made["number"], &made["count"]), (&3.into(), &1.into()));
    desk.run("ca revoke ca radar-7 --reason superseded --key fleet").expect_error(3, &["revoked"]);
    desk.run("ca revoke ca sonar --reason superseded --key fleet").expect_error(1, &["sonar"]);
    desk.run("ca revoke ca radar-7 --reason bored --key fleet").expect_code(2);
}

/// A desk with a device's three receipts in `receipts`, and its certificate's path.
fn with_receipts() -> (Desk, String) {
    let desk = desk();
    let certificate = issued(&desk, "radar-7", "radar");
    for version in ["1.4", "1.5", "1.6"] {
        let create = "receipt create receipts --device radar-7 --key radar.pem --product radar";
        desk.run(&format!("{create} --outcome committed --version {version}")).expect_code(0);
    }
    (desk, certificate)
}

#[test]
fn receipts_verify_by_the_certificate_of_their_device() {
    let (desk, certificate) = with_receipts();
    for by in [&certificate, "ca/certificates"] {
        let verify = format!("receipt verify receipts --ca ca/ca.pem --certificate {by}");
        let run = desk.run(&verify).expect_code(0);
        assert!(run.stdout.contains("3 receipts, none missing; runs radar 1.6"), "{}", run.stdout);
        assert!(run.stdout.contains("no --crl was given"), "{}", run.stdout);
        let run = desk.run(&format!("{verify} --crl ca/fleet.crl --json")).expect_code(0).json();
        assert_eq!(run["standing"][0]["within"], "valid");
        assert_eq!(run["standing"][2]["revocation_checked"], true);
    }
    let export = "receipt export receipts --ca ca/ca.pem --certificate ca/certificates";
    let table = desk.run(&format!("{export} --format csv")).expect_code(0).stdout;
    assert_eq!(table.lines().count(), 4);
    desk.run("receipt verify receipts --ca ca/ca.pem").expect_code(2);
    desk.run("receipt verify receipts").expect_code(2);
    // A device that was offline past its certificate, and one whose clock lags.
    let create = "receipt create receipts --device radar-7 --key radar.pem --outcome inventory";
    desk.run(&format!("{create} --at 2099-01-01T00:00:00Z")).expect_code(0);
    desk.run(&format!("{create} --at 1999-01-01T00:00:00Z")).expect_code(0);
    let verify = format!("receipt verify receipts --ca ca/ca.pem --certificate {certificate}");
    let text = desk.run(&verify).expect_code(0).stdout;
    assert!(text.contains("receipt 4 is from after the certificate ran out"), "{text}");
    assert!(text.contains("receipt 5 is from before the certificate was valid"), "{text}");
}

#[test]
fn receipts_of_another_device_or_authority_are_refused() {
    let (desk, certificate) = with_receipts();
    let sonar = issued(&desk, "sonar", "sonar");
    let verify = "receipt verify receipts --ca ca/ca.pem --certificate";
    let refused = desk.run(&format!("{verify} {sonar}"));
    refused.expect_error(6, &["no certificate is for the key"]);
    // A device that signs in the name of another.
    let create = "receipt create forged --device radar-7 --key sonar.pem --outcome inventory";
    desk.run(create).expect_code(0);
    let verify = "receipt verify forged --ca ca/ca.pem --certificate ca/certificates";
    desk.run(verify).expect_error(6, &["of the device radar-7, the certificate of sonar"]);
    desk.run("ca init other --key fleet --name coast").expect_code(0);
    desk.run("key new second").expect_code(0);
    desk.run("ca init third --key second --name coast").expect_code(0);
    let verify = format!("receipt verify receipts --ca third/ca.pem --certificate {certificate}");
    desk.run(&verify).expect_error(6, &["not signed by the authority"]);
    desk.write("device.pem", &desk.read("radar.pem"));
    let create = "receipt create receipts --device sonar --key sonar.pem --outcome inventory";
    desk.run(create).expect_error(13, &["is of radar-7"]);
}

#[test]
fn receipts_from_before_the_revocation_keep_their_worth_and_later_ones_have_none() {
    let (desk, _) = with_receipts();
    // Revocations are of whole seconds: the next receipt is from another one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    desk.run("ca revoke ca radar-7 --reason key-compromise --key fleet").expect_code(0);
    let verify = "receipt verify receipts --ca ca/ca.pem --certificate ca/certificates";
    let verify = format!("{verify} --crl ca/fleet.crl");
    let text = desk.run(&verify).expect_code(0).stdout;
    assert!(text.contains("receipt 3 is from before") && text.contains("key-compromise"), "{text}");
    // Who stole the key goes on with it.
    let create = "receipt create receipts --device radar-7 --key radar.pem --outcome inventory";
    desk.run(create).expect_code(0);
    desk.run(&verify).expect_error(6, &["4.cose", "was revoked", "key-compromise"]);
}

#[test]
fn receipts_go_on_under_a_new_key() {
    let (desk, _) = with_receipts();
    ask(&desk, "radar-7", "next", "p256");
    desk.run("ca allow ca radar-7").expect_code(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    desk.run("ca issue ca next.csr --key fleet --replace").expect_code(0);
    let create = "receipt create receipts --device radar-7 --key next.pem --outcome inventory";
    desk.run(create).expect_code(0);
    let verify = "receipt verify receipts --ca ca/ca.pem --certificate ca/certificates";
    let text = desk.run(&format!("{verify} --crl ca/fleet.crl")).expect_code(0).stdout;
    assert!(text.contains("4 receipts, none missing"), "{text}");
    assert!(text.contains("superseded"), "{text}");
}

#[test]
fn list_is_offered_as_a_signed_target_and_never_goes_back() {
    let town = Town::published();
    let depot = &town.depot;
    depot.run("key new fleet").expect_code(0);
    depot.run("ca init ca --key fleet --name coast").expect_code(0);
    issued(depot, "radar-7", "radar");
    let first = depot.read("ca/fleet.crl");
    depot.write("first.crl", &first);
    depot.run("repo add crl depot fleet first.crl --ca ca/ca.pem").expect_code(0);
    let shown = town.sign("alice", "g.fleet");
    assert!(shown.contains("list of revoked devices"), "{shown}");
    town.sign_and_publish("g.fleet");
    let check = "check depot --group fleet --root depot/metadata/1.root.json --json";
    let offers = depot.run(check).expect_code(0).json();
    let offer = &offers["groups"][0]["offers"][0];
    assert_eq!(offer["path"], "g/fleet/crl/1/coast");
    assert_eq!(offer["custom"]["kind"], "crl");
    let blob = offer["custom"]["blake3"].as_str().expect("a digest");
    assert_eq!(depot.read(&format!("depot/blobs/{blob}")), first);
    depot.run("repo add crl depot fleet first.crl --ca ca/ca.pem").expect_code(3);

    depot.run("ca revoke ca radar-7 --reason key-compromise --key fleet").expect_code(0);
    depot.run("repo add crl depot fleet ca/fleet.crl --ca ca/ca.pem").expect_code(0);
    // Neither what is staged nor what is published goes back.
    let back = "repo add crl depot fleet first.crl --ca ca/ca.pem";
    depot.run(back).expect_error(7, &["has list 2 of coast, and this is 1", "neap ca crl"]);
    town.sign_and_publish("g.fleet");
    depot.run(back).expect_error(7, &["has list 2 of coast"]);
    let offers = depot.run(check).expect_code(0).json();
    let offers = offers["groups"][0]["offers"].as_array().expect("a list");
    assert_eq!(offers.len(), 1, "one list of each fleet");
    assert_eq!(offers[0]["path"], "g/fleet/crl/2/coast");
    // It is nothing to install.
    let plan = "plan depot --group fleet --root depot/metadata/1.root.json --product crl";
    depot.run(&format!("{plan} --version 0")).expect_error(1, &["crl"]);
    // A list that another authority signed.
    depot.run("key new other").expect_code(0);
    depot.run("ca init third --key other --name coast").expect_code(0);
    let forged = "repo add crl depot fleet third/fleet.crl --ca ca/ca.pem";
    depot.run(forged).expect_error(6, &["not signed by the authority"]);
}

#[test]
fn second_writer_is_refused_while_the_first_one_works() {
    let desk = desk();
    let lock = fs::File::open(desk.path("ca/lock")).expect("there is a lock");
    lock.try_lock().expect("nobody has it");
    desk.run("ca allow ca radar-7").expect_error(1, &["another neap is changing it"]);
    desk.run("ca list ca").expect_code(0);
    drop(lock);
    desk.run("ca allow ca radar-7").expect_code(0);
}

/// A device had two certificates of one key, only the one that was named was revoked, and receipts
/// were judged by the other: the key was good for whoever had stolen it.
#[test]
fn revoking_one_certificate_of_a_key_ends_the_others_of_that_key() {
    let (desk, first) = with_receipts();
    let shown = desk.run(&format!("ca show {first} --ca ca/ca.pem --json")).expect_code(0).json();
    let number = shown["number"].as_str().expect("a number").to_owned();
    desk.run("ca issue ca radar.csr --key fleet --renew").expect_code(0);
    desk.run("ca allow ca radar-7").expect_code(0);
    desk.run(&format!("ca revoke ca {number} --key fleet --reason key-compromise")).expect_code(0);
    let crl = desk.run("ca show ca/fleet.crl --ca ca/ca.pem --json").expect_code(0).json();
    assert_eq!(crl["revoked"].as_array().map(Vec::len), Some(2), "{crl}");
    let create = "receipt create receipts --device radar-7 --key radar.pem --outcome inventory";
    desk.run(create).expect_code(0);
    let verify = "receipt verify receipts --ca ca/ca.pem --certificate ca/certificates";
    desk.run(&format!("{verify} --crl ca/fleet.crl")).expect_error(6, &["revoked"]);
    let listed = desk.run("ca list ca --json").expect_code(0).json();
    assert_eq!(listed["allowed"].as_array().map(Vec::len), Some(0), "allowed no longer: {listed}");
}

/// `init` was advised where the ledger was lost, and made an empty list in place of the last record
/// of what was revoked.
#[test]
fn authority_whose_ledger_is_lost_is_not_begun_anew() {
    let desk = desk();
    fs::remove_file(desk.path("ca/ledger.json")).expect("removed");
    let before = fs::read(desk.path("ca/fleet.crl")).expect("read");
    for verb in ["init ca --key fleet --name coast", "crl ca --key fleet", "list ca"] {
        desk.run(&format!("ca {verb}")).expect_error(1, &["ledger.json is lost", "restore"]);
    }
    assert_eq!(fs::read(desk.path("ca/fleet.crl")).expect("read"), before);
}

/// A list of devices that was given again allowed those whose certificates had been revoked.
#[test]
fn list_that_is_given_again_allows_no_device_that_had_a_certificate() {
    let desk = desk();
    issued(&desk, "radar-7", "radar");
    desk.run("ca revoke ca radar-7 --reason cessation-of-operation --key fleet").expect_code(0);
    desk.write("fleet.txt", b"radar-7\nsonar\n");
    let run = desk.run("ca allow ca --list fleet.txt --json").expect_code(0).json();
    assert_eq!((&run["changed"], &run["left_out"][0]), (&1.into(), &"radar-7".into()), "{run}");
    desk.write("fleet.txt", b"sonar\nradar-8\nsonar\n");
    desk.run("ca allow ca --list fleet.txt").expect_error(1, &["line 3", "sonar is there twice"]);
}

/// Certificates are valid from a day before they are made: what ended in that day was issued.
#[test]
fn certificate_that_would_have_ended_is_not_issued() {
    let desk = desk();
    let digest = ask(&desk, "radar-7", "radar", "ed25519");
    desk.run(&format!("ca allow ca radar-7 --digest {digest}")).expect_code(0);
    let issue = "ca issue ca radar.csr --key fleet --expires";
    desk.run(&format!("{issue} 1s")).expect_error(8, &["less than 60 s from now"]);
    desk.run(&format!("{issue} 30d")).expect_code(0);
}

/// A cut between the ledger and the list of revoked certificates was not mended by doing the same
/// again: a key that was replaced stayed off the list.
#[test]
fn issuing_again_after_a_cut_writes_the_list_that_is_missing() {
    let desk = desk();
    issued(&desk, "radar-7", "old");
    let before = fs::read(desk.path("ca/fleet.crl")).expect("read");
    ask(&desk, "radar-7", "new", "ed25519");
    desk.run("ca allow ca radar-7").expect_code(0);
    desk.run("ca issue ca new.csr --key fleet --replace").expect_code(0);
    desk.write("ca/fleet.crl", &before);
    desk.run("ca issue ca new.csr --key fleet --replace").expect_code(0);
    let crl = desk.run("ca show ca/fleet.crl --ca ca/ca.pem --json").expect_code(0).json();
    assert_eq!(crl["revoked"].as_array().map(Vec::len), Some(1), "{crl}");
}
