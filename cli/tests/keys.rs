//! What `neap key` makes, shows and refuses, with files and with a real token.

mod common;
mod signing;

use common::Bench;
use signing::Desk;

#[test]
fn key_is_made_listed_shown_and_exported() {
    let desk = Desk::new();
    let made = desk.run("key new alice --json").expect_code(0).json();
    assert_eq!(desk.mode("keys/alice.pem"), 0o600);
    assert_eq!(desk.mode("keys") & 0o077, 0);
    let listed = desk.run("key list --json").expect_code(0).json();
    assert_eq!(listed["keys"][0]["name"], "alice");
    assert_eq!(listed["keys"][0]["id"], made["id"]);
    for object in ["alice", "keys/alice.pem", "keys/alice.pub"] {
        let shown = desk.run(&format!("key show {object} --json")).expect_code(0).json();
        assert_eq!(shown["id"], made["id"], "{object}");
    }
    let pem = desk.run("key export-public alice").expect_code(0).stdout;
    assert_eq!(pem.as_bytes(), desk.read("keys/alice.pub"));
    let tuf = desk.run("key export-public alice --form tuf").expect_code(0).json();
    assert_eq!(tuf, made["tuf"]);
    desk.run("key new alice").expect_error(1, &["never overwritten"]);
}

#[test]
fn passphrases_are_needed_right_and_long_enough() {
    let desk = Desk::new();
    desk.run("key new --output a.pem").expect_code(0);
    assert!(desk.read("a.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    desk.secret("other", "another one");
    desk.run("key show a.pem --passphrase-file other").expect_error(1, &["does not open"]);
    desk.secret("short", "1234567");
    desk.run("key new b --passphrase-file short").expect_error(1, &["shorter than 8"]);
    desk.write("open", b"correct horse\n");
    desk.run("key show a.pem --passphrase-file open").expect_error(1, &["only the owner"]);
    desk.set_mode("a.pem", 0o644);
    desk.run("key show a.pem").expect_error(1, &["0644", "chmod 600"]);
}

#[test]
fn key_is_made_on_a_token_and_signs_there() {
    let Some(desk) = Desk::with_token("release") else { return };
    let uri = desk.uri("release", "alice");
    let made = desk.run(&format!("key new alice --token {uri} --json")).expect_code(0).json();
    for object in ["alice", &uri, "keys/alice.pub"] {
        let shown = desk.run(&format!("key show {object} --json")).expect_code(0).json();
        assert_eq!(shown["id"], made["id"], "{object}");
    }
    let listed = desk.run("key list").expect_code(0).stdout;
    assert!(listed.contains("alice") && listed.contains("token"), "{listed}");
    desk.run(&format!("key new bob --token {uri}")).expect_error(1, &["never overwritten"]);
    desk.secret("wrong", "0000");
    let wrong = format!("key show {uri} --pin-file wrong");
    desk.run(&wrong).expect_error(1, &["wrong PIN for `release`"]);
    let none = desk.uri("release", "carol");
    desk.run(&format!("key show {none}")).expect_error(1, &["no such Ed25519 private key"]);
    let no_token = desk.uri("other", "alice");
    desk.run(&format!("key show {no_token}")).expect_error(1, &["no such token"]);
}

#[test]
fn help_of_every_verb_shows_an_example() {
    let bench = Bench::new();
    for verb in ["new", "list", "show", "export-public"] {
        let help = bench.run(&format!("key {verb} --help")).expect_code(0).stdout;
        assert!(help.contains(&format!("neap key {verb}")), "{help}");
    }
}
