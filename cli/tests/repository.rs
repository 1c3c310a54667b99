//! Two release managers, a depot, and what `neap repo` lets them do, from init to publication.

mod common;
mod signing;

use signing::{Desk, Town};

#[test]
fn two_managers_publish_from_two_laptops_one_with_a_token() {
    let Some(bob) = Desk::with_token("release") else { return };
    let uri = bob.uri("release", "bob");
    bob.run(&format!("key new bob --token {uri}")).expect_code(0);
    let town = Town::of(bob);
    town.init();
    let request = town.staged("root");
    let signed = town.alice.run(&format!("repo sign {request} --key alice -o r.sig --yes"));
    let signed = signed.expect_code(0);
    assert!(signed.stderr.contains("let 2 of these keys decide who may sign"), "{}", signed.stderr);
    assert!(signed.stderr.contains("alice (") && signed.stderr.contains("bob ("));
    for role in ["root", "targets", "g.fleet"] {
        town.sign("bob", role);
        if role != "root" {
            town.sign("alice", role);
        }
    }
    let merged = town.depot.run("repo merge depot root.bob.sig").expect_code(0).stdout;
    assert!(merged.contains("1 of 2 signatures; 1 missing, of alice"), "{merged}");
    town.depot.run("repo publish depot --key online").expect_error(6, &["role root has 1 valid"]);
    town.take(&town.alice, "r.sig");
    town.depot.run("repo merge depot r.sig").expect_code(0);
    town.merge(&["targets.alice.sig", "targets.bob.sig", "g.fleet.alice.sig", "g.fleet.bob.sig"]);
    let published = town.depot.run("repo publish depot --key online --json").expect_code(0).json();
    assert_eq!(published["schema"], "neap.published.v1");
    assert!(town.depot.path("depot/metadata/timestamp.json").exists());
    let status = town.depot.run("repo status depot").expect_code(0).stdout;
    assert!(status.contains("nothing is staged"), "{status}");

    town.depot.write("sbom.json", b"{}");
    let add = "repo add file depot fleet sbom.json --product bridge-display --version 1.5";
    town.depot.run(add).expect_code(0);
    let shown = town.sign("alice", "g.fleet");
    assert!(shown.contains("You are about to let the devices of group `fleet` install"), "{shown}");
    assert!(shown.contains("bridge-display 1.5: document"), "{shown}");
    town.depot.run("repo merge depot g.fleet.alice.sig").expect_code(0);
    town.depot.run("repo publish depot --key online").expect_error(6, &["1 valid", "asks for 2"]);
    town.sign("bob", "g.fleet");
    town.depot.run("repo merge depot g.fleet.bob.sig").expect_code(0);
    town.depot.run("repo publish depot --key online").expect_code(0);
    assert!(town.depot.path("depot/metadata/2.g.fleet.json").exists());
    town.depot.run("repo publish depot --key online").expect_error(3, &["nothing is staged"]);
}

#[test]
fn keys_of_another_role_sign_nothing() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    let request = town.staged("g.fleet");
    let carol = Desk::new();
    carol.run("key new carol").expect_code(0);
    let signed = carol.run(&format!("repo sign {request} --key carol -o c.sig --yes"));
    signed.expect_error(6, &["may not sign for role g.fleet"]);
    assert!(!carol.path("c.sig").exists());
    // The online key has roles, but not this one; and a signature made by other means is refused.
    let signed = town.depot.run(&format!("repo sign {request} --key online -o o.sig --yes"));
    signed.expect_error(6, &["may not sign for role g.fleet"]);
    town.sign("alice", "g.fleet");
    let theirs = town.depot.run("key show keys/online.pub --json").json()["public"].to_string();
    let ours = town.alice.run("key show keys/alice.pub --json").json()["public"].to_string();
    let forged = town.depot.text("g.fleet.alice.sig").replace(&ours, &theirs);
    town.depot.write("forged.sig", forged.as_bytes());
    town.depot.run("repo merge depot forged.sig").expect_error(6, &["may not sign"]);
}

#[test]
fn one_key_counts_once() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    town.sign("alice", "g.fleet");
    let twice = "repo merge depot g.fleet.alice.sig g.fleet.alice.sig";
    let merged = town.depot.run(twice).expect_code(0).stdout;
    assert!(merged.contains("1 of 2 signatures"), "{merged}");
    town.depot.run("repo publish depot --key online").expect_error(6, &["1 valid"]);
    let same = "repo add group depot other --key alice.pub --key alice.pub";
    town.depot.run(same).expect_error(1, &["twice"]);

    // The same key under a second id, as metadata of other tools could have it.
    let path = "depot/staged/g.fleet.json";
    let mut request: serde_json::Value =
        serde_json::from_str(&town.depot.text(path)).expect("JSON");
    let targets = &mut request["targets"]["signed"]["delegations"];
    let key = targets["keys"].as_object().and_then(|keys| keys.values().next()).cloned();
    targets["keys"]["ff".repeat(32)] = key.expect("a key");
    town.depot.write("twice.json", request.to_string().as_bytes());
    let signed = town.alice.run(&format!(
        "repo sign {} --key alice -o t.sig --yes",
        town.depot.path("twice.json").display()
    ));
    signed.expect_error(1, &["goes under another id"]);
}

#[test]
fn changed_bytes_after_signing_are_refused() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    town.sign("alice", "g.fleet");
    let path = "depot/staged/g.fleet.json";
    let text = town.depot.text(path);
    let at = text.rfind("\"version\":2").expect("the staged version");
    let changed = format!("{}\"version\":3{}", &text[..at], &text[at + 11..]);
    town.depot.write(path, changed.as_bytes());
    let merged = town.depot.run("repo merge depot g.fleet.alice.sig");
    merged.expect_error(6, &["was changed after it was signed"]);
    let signed = town
        .alice
        .run(&format!("repo sign {} --key alice -o x.sig --yes", town.depot.path(path).display()));
    signed.expect_error(6, &["version 3 of role g.fleet does not follow on version 1"]);

    town.depot.write(path, text.as_bytes());
    let sig = town.depot.text("g.fleet.alice.sig");
    let at = sig.find("\"signature\": \"").expect("a signature") + 14;
    let flipped = if sig.as_bytes()[at] == b'0' { "1" } else { "0" };
    let broken = format!("{}{flipped}{}", &sig[..at], &sig[at + 1..]);
    town.depot.write("broken.sig", broken.as_bytes());
    town.depot.run("repo merge depot broken.sig").expect_error(6, &["signature"]);
    town.depot.run("repo merge depot g.fleet.alice.sig").expect_code(0);
}

#[test]
fn request_that_hides_what_is_published_is_refused() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    let text = town.depot.text("depot/staged/g.fleet.json");
    // What it replaces is said to be something that nobody signed.
    let mut request: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    request["base"]["signed"]["targets"]["g/fleet/p/1/full"] =
        serde_json::json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    town.depot.write("hides.json", request.to_string().as_bytes());
    let sign = |name: &str, more: &str| {
        let path = town.depot.path(name);
        town.alice.run(&format!("repo sign {} --key alice -o h.sig --yes {more}", path.display()))
    };
    sign("hides.json", "").expect_error(6, &["role g.fleet has 0 valid signatures"]);
    // A repository made up from the beginning passes only who has no root of the true one.
    let other = Town::founded();
    let root = other.depot.path("depot/metadata/1.root.json");
    town.depot.write("true.json", text.as_bytes());
    let trusted = format!("--trusted-root {}", root.display());
    sign("true.json", &trusted).expect_error(6, &["is not of this repository"]);
    let own = town.depot.path("depot/metadata/1.root.json");
    let shown = sign("true.json", &format!("--trusted-root {}", own.display())).expect_code(0);
    assert!(shown.stderr.contains("follows on the root that you trust"), "{}", shown.stderr);
}

#[test]
fn stale_base_is_refused() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    let stale = town.depot.text("depot/staged/g.fleet.json");
    town.sign_and_publish("g.fleet");
    // The old staged file comes back, as from a backup, with another content.
    let mut stale: serde_json::Value = serde_json::from_str(&stale).expect("JSON");
    stale["signed"]["expires"] = "2099-01-01T00:00:00Z".into();
    town.depot.write("depot/staged/g.fleet.json", stale.to_string().as_bytes());
    let published = town.depot.run("repo publish depot --key online");
    published.expect_error(6, &["version 2 of role g.fleet is staged, and version 2 is published"]);
    town.depot.run("repo drop depot g.fleet").expect_code(0);
    assert!(!town.depot.path("depot/staged/g.fleet.json").exists());
}

#[test]
fn threshold_that_is_lowered_is_said_aloud() {
    let town = Town::published();
    town.depot.run("repo rotate depot g.fleet --threshold 1").expect_code(0);
    let shown = town.sign("alice", "targets");
    assert!(shown.contains("WARNING: threshold of group `fleet` lowered from 2 to 1"), "{shown}");
    town.depot.run("repo drop depot targets").expect_code(0);
    let carol = Desk::new();
    carol.run("key new carol").expect_code(0);
    town.take(&carol, "keys/carol.pub");
    town.depot.run("repo add key depot g.fleet --key carol.pub").expect_code(0);
    let shown = town.sign("bob", "targets");
    assert!(shown.contains("WARNING: key added to group `fleet`: carol ("), "{shown}");
    town.depot.run("repo rotate depot root --threshold 3").expect_error(1, &["2 keys", "of 3"]);
}

#[test]
fn no_one_signs_without_being_asked() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet").expect_code(0);
    let request = town.staged("g.fleet");
    let signed = town.alice.run(&format!("repo sign {request} --key alice -o a.sig"));
    let signed = signed.expect_error(9, &["no terminal to ask on", "--yes"]);
    assert!(signed.stderr.contains("It expires"), "the changes are shown: {}", signed.stderr);
    assert!(!town.alice.path("a.sig").exists());
}

#[test]
fn expired_metadata_is_not_signed_and_not_published() {
    let town = Town::published();
    town.depot.run("repo renew depot g.fleet --expires 2020-01-01T00:00:00Z").expect_code(0);
    let request = town.staged("g.fleet");
    let signed = town.alice.run(&format!("repo sign {request} --key alice -o a.sig --yes"));
    signed.expect_error(8, &["has expired"]);
    town.depot.run("repo publish depot --key online").expect_error(8, &["expired at"]);
}

#[test]
fn root_and_online_keys_are_rotated_and_a_key_is_revoked() {
    let town = Town::published();
    let carol = Desk::new();
    carol.run("key new carol").expect_code(0);
    town.take(&carol, "keys/carol.pub");
    town.depot.run("key new online2").expect_code(0);
    town.depot.run("repo rotate depot timestamp --remove online --add online2").expect_code(0);
    town.depot.run("repo revoke depot bob.pub --replace carol.pub").expect_code(0);
    let status = town.depot.run("repo status depot --json").expect_code(0).json();
    let staged: Vec<_> = status["staged"].as_array().expect("a list").iter().collect();
    let roles: Vec<_> = staged.iter().map(|staged| staged["role"].as_str()).collect();
    assert_eq!(roles, [Some("g.fleet"), Some("root"), Some("targets")]);
    for role in ["root", "targets", "g.fleet"] {
        town.sign("alice", role);
        town.merge(&[&format!("{role}.alice.sig")]);
        let signed = carol
            .run(&format!("repo sign {} --key carol -o {role}.carol.sig --yes", town.staged(role)));
        signed.expect_code(0);
        town.take(&carol, &format!("{role}.carol.sig"));
        town.merge(&[&format!("{role}.carol.sig")]);
    }
    // The new root has its own two; of the old one's two, only alice has signed.
    let publish = "repo publish depot --key online --key online2";
    town.depot.run(publish).expect_error(6, &["role root has 1 valid", "root 1 asks for 2"]);
    town.sign("bob", "root");
    town.merge(&["root.bob.sig"]);
    let published = town.depot.run(publish).expect_code(0).stdout;
    assert!(published.contains("root version 2"), "{published}");
    for kept in ["1.root.json", "2.root.json", "2.targets.json", "2.g.fleet.json"] {
        assert!(town.depot.path(&format!("depot/metadata/{kept}")).exists(), "{kept}");
    }
    town.depot
        .run("repo publish depot --key online --timestamp-only")
        .expect_error(6, &["0 valid"]);
    town.depot.run("repo publish depot --key online2 --timestamp-only").expect_code(0);
    town.depot.run("repo revoke depot bob.pub").expect_error(3, &["no role has key"]);
    let lonely = "repo revoke depot carol.pub";
    town.depot.run(lonely).expect_error(1, &["would have 1 keys and a threshold of 2"]);
}

#[test]
fn collection_keeps_what_only_a_staged_file_names() {
    let town = Town::published();
    town.depot.write("notes.txt", b"not published yet");
    let add = "repo add file depot fleet notes.txt --product radar --version 1";
    town.depot.run(add).expect_code(0);
    let blob = blake3::hash(b"not published yet").to_hex();
    let is_there = || town.depot.path(&format!("depot/blobs/{blob}")).exists();
    town.depot.run("depot gc depot --keep 1").expect_code(0);
    assert!(is_there());
    town.sign_and_publish("g.fleet");
    town.depot.run("depot fsck depot").expect_code(0);
    town.depot.run("repo withdraw depot fleet g/fleet/radar/1/notes.txt").expect_code(0);
    town.depot.run("repo drop depot g.fleet").expect_code(0);
    town.depot.run("depot gc depot --keep 1").expect_code(0);
    assert!(is_there(), "it is published");
    town.depot.run("repo withdraw depot fleet g/fleet/radar/1/notes.txt").expect_code(0);
    town.sign_and_publish("g.fleet");
    town.depot.run("depot gc depot --keep 1").expect_code(0);
    assert!(!is_there(), "nothing names it any more");
}

#[test]
fn group_is_removed_and_devices_of_others_do_not_notice() {
    let town = Town::published();
    town.depot.run("repo add group depot north --key alice.pub").expect_code(0);
    town.depot.write("notes.txt", b"for the north");
    let add = "repo add file depot north notes.txt --product radar --version 1";
    town.depot.run(add).expect_code(0);
    town.sign("alice", "g.north");
    town.merge(&["g.north.alice.sig"]);
    town.sign_and_publish("targets");
    let check = |group: &str| {
        let root = "--root depot/metadata/1.root.json --state";
        town.depot.run(&format!("check depot --group {group} {root} device-{group}"))
    };
    assert!(check("north").expect_code(0).stdout.contains("radar"));
    check("fleet").expect_code(0);
    town.depot.run("repo remove group depot south").expect_error(1, &["there is no group south"]);
    town.depot.run("repo remove group depot north").expect_code(0);
    let shown = town.sign("alice", "targets");
    assert!(shown.contains("WARNING: group `north` is removed for good"), "{shown}");
    town.sign("bob", "targets");
    town.merge(&["targets.alice.sig", "targets.bob.sig"]);
    town.depot.run("repo publish depot --key online").expect_code(0);
    check("fleet").expect_code(0);
    check("north").expect_error(1, &["nothing is released to group north here"]);
    let again = town.depot.run("repo add group depot north --key alice.pub");
    again.expect_error(1, &["take another name"]);
    // What its last metadata names goes with the releases that still had it.
    let gone = town.depot.run("depot gc depot --keep 1").expect_code(0).stdout;
    let blob = blake3::hash(b"for the north").to_hex();
    assert!(gone.contains(&format!("removed blobs/{blob}")), "{gone}");
    town.depot.run("depot fsck depot").expect_code(0);
    check("fleet").expect_code(0);
}

#[test]
fn site_profile_is_signed_by_two_who_read_it_and_reaches_a_device() {
    let town = Town::published();
    let add = "repo add profile depot fleet --site MV\u{a0}Aurora";
    let allows = "--stale-days 180 --approval crew --update-budget 20M";
    town.depot.run(&format!("{add} --stale-days 3651")).expect_error(2, &["3650 allowed"]);
    town.depot.run(&format!("{add} {allows}")).expect_code(0);
    let shown = town.sign("alice", "g.fleet");
    let line = "site `MV Aurora`: metadata counts for 180 days after it expires; the crew approves \
                each update; at most 20.0 MiB";
    assert!(shown.contains(line), "{shown}");
    town.merge(&["g.fleet.alice.sig"]);
    town.depot.run("repo publish depot --key online").expect_error(6, &["1 valid"]);
    town.sign("bob", "g.fleet");
    town.merge(&["g.fleet.bob.sig"]);
    town.depot.run("repo publish depot --key online").expect_code(0);
    let check = "check depot --group fleet --root depot/metadata/1.root.json --json";
    let checked = town.depot.run(check).expect_code(0).json();
    let profile = &checked["groups"][0]["profile"];
    assert_eq!((&profile["site"], &profile["stale_days"]), (&"MV Aurora".into(), &180.into()));
    assert_eq!(profile["budget"]["update_bytes"], 20 << 20);
    assert_eq!(checked["staleness"]["allowed_days"], 180);
}

#[test]
fn commands_sign_too() {
    let desk = Desk::new();
    desk.run("key new alice").expect_code(0);
    desk.write("alice.pub", &desk.read("keys/alice.pub"));
    let init = "repo init depot --root-key alice.pub --targets-key alice.pub --snapshot-key \
                alice.pub --timestamp-key alice.pub";
    desk.run(init).expect_code(0);
    // As a service would: the message on standard input, the signature on standard output.
    desk.write(
        "service",
        b"cat > message; openssl pkeyutl -sign -rawin -in message -inkey keys/alice.pem \
          -passin env:NEAP_PASSPHRASE",
    );
    let key = "--key exec:alice.pub:sh\u{a0}service";
    for role in ["root", "targets"] {
        let sign = format!("repo sign depot/staged/{role}.json {key} -o {role}.sig --yes");
        desk.run(&sign).expect_code(0);
    }
    desk.run("repo merge depot root.sig targets.sig").expect_code(0);
    desk.run(&format!("repo publish depot {key}")).expect_code(0);
    let wrong = "repo publish depot --timestamp-only --key exec:alice.pub:date";
    desk.run(wrong).expect_error(1, &["the command that signs fails"]);
}

#[test]
fn help_of_every_verb_shows_an_example() {
    let desk = Desk::new();
    for verb in [
        "init",
        "add group",
        "add key",
        "add file",
        "add profile",
        "remove group",
        "sign",
        "merge",
        "publish",
        "rotate",
        "revoke",
        "renew",
        "withdraw",
        "drop",
        "status",
    ] {
        let help = desk.run(&format!("repo {verb} --help")).expect_code(0).stdout;
        assert!(help.contains(&format!("neap repo {verb} ")), "{help}");
    }
    desk.run("repo status nowhere").expect_error(1, &["cannot open the depot"]);
    desk.run("repo status .").expect_error(1, &["there is no repository here"]);
}
