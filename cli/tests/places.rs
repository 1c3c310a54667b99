//! The ceremonies of a repository, in a folder and in a bucket: the same verbs, the same files, one
//! writer, and after each publication a device that sees what it should.

mod common;
#[path = "../../depot/tests/moto/mod.rs"]
mod moto;
mod signing;

use common::{Run, noise};
use moto::Server;
use neap_depot::depot::Depot;
use neap_depot::s3::{Place, S3};
use neap_trust::carrier::Carrier;
use neap_trust::client::{Ask, Checked, check};
use neap_trust::limits::ROOT_LEN_MAX;
use neap_trust::state::MemoryState;
use neap_trust::time::Clock;
use signing::Desk;

const BUCKET: &str = "depots";
const PREFIX: &str = "fleets/north";

/// People, the server of a depot, and where the depot is kept.
struct Harbour {
    alice: Desk,
    bob: Desk,
    server: Desk,
    place: String,
    /// The bucket's address, if it is one.
    endpoint: Option<String>,
    /// A device that looks after each publication.
    device: MemoryState,
}

impl Harbour {
    fn in_a_folder() -> Self {
        let server = Desk::new();
        let place = server.path("depot").display().to_string();
        Self::at(server, place, None)
    }

    fn in_a_bucket(bucket: &Server) -> Self {
        Self::at(Desk::new(), format!("s3://{BUCKET}/{PREFIX}"), Some(bucket.endpoint()))
    }

    fn at(server: Desk, place: String, endpoint: Option<String>) -> Self {
        let device = MemoryState::default();
        let (alice, bob) = (Desk::new(), Desk::new());
        let mut harbour = Self { alice, bob, server, place, endpoint, device };
        if let Some(endpoint) = &harbour.endpoint {
            let variables = [
                ("AWS_ENDPOINT", endpoint.as_str()),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
            ];
            let variables = variables.map(|(name, value)| (name, value.to_owned()));
            for desk in [&mut harbour.alice, &mut harbour.bob, &mut harbour.server] {
                desk.variables = variables.to_vec();
            }
        }
        for (desk, name) in [(&harbour.alice, "alice"), (&harbour.bob, "bob")] {
            desk.run(&format!("key new {name}")).expect_code(0);
            harbour.server.write(&format!("{name}.pub"), &desk.read(&format!("keys/{name}.pub")));
        }
        harbour.server.run("key new online").expect_code(0);
        harbour
    }

    /// Runs a verb at the depot; `DEPOT` is where it is.
    fn neap(&self, arguments: &str) -> Run {
        self.server.run(&arguments.replace("DEPOT", &self.place))
    }

    /// A person signs what is staged, from where it is staged, and the signature is merged.
    fn sign(&self, person: &str, role: &str) {
        let desk = if person == "alice" { &self.alice } else { &self.bob };
        let name = format!("{role}.{person}.sig");
        drop(std::fs::remove_file(desk.path(&name)));
        let request = format!("{}/staged/{role}.json", self.place);
        desk.run(&format!("repo sign {request} --key {person} -o {name} --yes")).expect_code(0);
        self.server.write(&name, &desk.read(&name));
        self.neap(&format!("repo merge DEPOT {name}")).expect_code(0);
    }

    fn publish(&mut self, roles: &[&str], keys: &str) {
        for role in roles {
            self.sign("alice", role);
            self.neap(&format!("repo publish DEPOT {keys}")).expect_error(6, &["valid signatures"]);
            self.sign("bob", role);
        }
        self.neap(&format!("repo publish DEPOT {keys}")).expect_code(0);
        self.seen();
    }

    fn depot(&self) -> Depot {
        let Some(endpoint) = &self.endpoint else {
            return Depot::open(&self.place).expect("a folder");
        };
        let place = Place {
            bucket: BUCKET.into(),
            prefix: PREFIX.into(),
            endpoint: Some(endpoint.clone()),
            key: Some(("id".into(), "secret".into())),
        };
        Depot::new(Box::new(S3::at(&place).expect("a place")))
    }

    /// What a new device sees, and the one that has looked before: the same.
    fn seen(&mut self) -> Checked {
        let depot = self.depot();
        let root = depot.metadata("1.root.json", ROOT_LEN_MAX).expect("read").expect("published");
        let clock = Clock { rtc: std::time::SystemTime::now().try_into().ok(), build: time(0) };
        let ask = Ask { groups: &["fleet"], root: Some(&root), clock, seen: None };
        let cold = check(&depot, &mut MemoryState::default(), &ask).expect("accepted");
        let warm = check(&depot, &mut self.device, &ask).expect("accepted");
        assert_eq!((cold.root, cold.timestamp), (warm.root, warm.timestamp));
        assert_eq!(cold.groups[0].offers.len(), warm.groups[0].offers.len());
        warm
    }
}

fn time(second: i64) -> neap_trust::time::Timestamp {
    neap_trust::time::Timestamp::from_second(second).expect("a time")
}

/// From init to withdrawal, with keys that change on the way.
fn ceremonies(mut harbour: Harbour) {
    harbour.neap("repo status DEPOT").expect_code(1);
    let both = |role: &str| format!("--{role}-key alice.pub --{role}-key bob.pub");
    let init = format!(
        "repo init DEPOT {} {} --snapshot-key online --timestamp-key online",
        both("root"),
        both("targets")
    );
    harbour.neap(&init).expect_code(0);
    harbour.neap(&init).expect_error(1, &["there is a repository here already"]);
    let group = "repo add group DEPOT fleet --key alice.pub --key bob.pub --threshold 2";
    harbour.neap(group).expect_code(0);
    harbour.publish(&["g.fleet", "root", "targets"], "--key online");

    harbour.server.write("notes.txt", b"a document");
    let add = "repo add file DEPOT fleet notes.txt --product radar --version 1.5";
    harbour.neap(add).expect_code(0);
    harbour.publish(&["g.fleet"], "--key online");
    harbour.server.write("radar.img", &noise(7, 300_000));
    let create = "release create DEPOT --group fleet --product radar --version 1.6 --image \
                  radar.img --quiet";
    harbour.neap(create).expect_code(0);
    harbour.publish(&["g.fleet"], "--key online");
    let offers = &harbour.seen().groups[0].offers;
    let paths: Vec<_> = offers.iter().map(|offer| offer.path.as_str()).collect();
    assert_eq!(paths, ["g/fleet/radar/1.5/notes.txt", "g/fleet/radar/1.6/full"]);

    // Both online keys sign while one takes the other's place, so the new root comes after.
    harbour.neap("key new online2").expect_code(0);
    for role in ["timestamp", "snapshot"] {
        let rotate = format!("repo rotate DEPOT {role} --remove online --add online2");
        harbour.neap(&rotate).expect_code(0);
    }
    harbour.publish(&["root"], "--key online --key online2");
    assert_eq!(harbour.seen().root, 2);
    let old = harbour.neap("repo publish DEPOT --key online --timestamp-only");
    old.expect_error(6, &["0 valid"]);
    harbour.neap("repo publish DEPOT --key online2 --timestamp-only").expect_code(0);

    harbour.neap("repo withdraw DEPOT fleet g/fleet/radar/1.5/notes.txt").expect_code(0);
    harbour.publish(&["g.fleet"], "--key online2");
    assert_eq!(harbour.seen().groups[0].offers.len(), 1);
    harbour.neap("repo renew DEPOT targets").expect_code(0);
    harbour.neap("repo drop DEPOT targets").expect_code(0);
    let nothing = harbour.neap("repo publish DEPOT --key online2");
    nothing.expect_error(3, &["nothing is staged"]);
    harbour.neap("repo add group DEPOT north --key bob.pub").expect_code(0);
    harbour.neap("repo revoke DEPOT bob.pub").expect_error(1, &["would have"]);
    let status = harbour.neap("repo status DEPOT").expect_code(0).stdout;
    assert!(status.contains("g.fleet          version 4"), "{status}");
    assert!(status.contains("staged targets"), "{status}");
    harbour.neap("depot fsck DEPOT").expect_code(0);
    harbour.neap("depot gc DEPOT --keep 1").expect_code(0);
    harbour.neap("depot fsck DEPOT").expect_code(0);
    harbour.seen();
}

/// While anybody writes, by whatever verb, nobody else does, by any other; readers read.
fn one_writer(harbour: &Harbour) {
    harbour.server.write("notes.txt", b"a document");
    harbour.server.write("radar.img", &noise(7, 100_000));
    let single = "--root-key alice.pub --targets-key alice.pub --snapshot-key online \
                  --timestamp-key online";
    harbour.neap(&format!("repo init DEPOT {single}")).expect_code(0);
    harbour.neap("repo add group DEPOT fleet --key alice.pub").expect_code(0);
    for role in ["root", "targets", "g.fleet"] {
        harbour.sign("alice", role);
    }
    harbour.neap("repo publish DEPOT --key online").expect_code(0);
    let depot = harbour.depot();
    let writer = depot.writer("somebody at work").expect("nobody else writes");
    for verb in [
        &format!("repo init DEPOT {single}"),
        "repo add group DEPOT north --key alice.pub",
        "repo add key DEPOT g.fleet --key bob.pub",
        "repo add file DEPOT fleet notes.txt --product radar --version 1.5",
        "repo merge DEPOT root.alice.sig",
        "repo publish DEPOT --key online --timestamp-only",
        "repo rotate DEPOT root --add bob.pub",
        "repo revoke DEPOT alice.pub --replace bob.pub",
        "repo renew DEPOT g.fleet",
        "repo withdraw DEPOT fleet g/fleet/radar/1.5/notes.txt",
        "repo drop DEPOT g.fleet",
        "depot gc DEPOT",
        "depot fsck DEPOT --repair",
        "release create DEPOT --group fleet --product radar --version 1 --image radar.img",
    ] {
        let refused = harbour.neap(verb);
        refused.expect_error(1, &["another writer is at work: somebody at work"]);
    }
    harbour.neap("repo status DEPOT").expect_code(0);
    harbour.neap("depot list DEPOT").expect_code(0);
    match harbour.endpoint.is_some() {
        true => {
            // As a writer whose process is gone: its lock stays until a person breaks it.
            std::mem::forget(writer);
            let broken = harbour.neap("depot unlock DEPOT").expect_code(0).stdout;
            assert!(broken.contains("somebody at work"), "{broken}");
        }
        false => drop(writer),
    }
    harbour.neap("repo renew DEPOT g.fleet").expect_code(0);
}

#[test]
fn ceremonies_work_on_a_folder() {
    ceremonies(Harbour::in_a_folder());
}

#[test]
fn ceremonies_work_on_a_bucket() {
    let Some(bucket) = Server::start(BUCKET) else { return };
    ceremonies(Harbour::in_a_bucket(&bucket));
}

#[test]
fn second_writer_of_a_folder_is_refused_across_verbs() {
    one_writer(&Harbour::in_a_folder());
}

#[test]
fn second_writer_of_a_bucket_is_refused_across_verbs() {
    let Some(bucket) = Server::start(BUCKET) else { return };
    one_writer(&Harbour::in_a_bucket(&bucket));
}
