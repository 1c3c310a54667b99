//! A client of TUF looks at a repository after every single write of its publications.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use crate::key::Signer;
use crate::key::sealed::FileKey;
use crate::profile::{Approval, Budget, Profile};
use crate::repo::document::{NamedKey, TargetFile};
use crate::repo::edit::{KeyChange, RoleSetup, Setup};
use crate::repo::publish::{OnlineExpiry, Publication};
use crate::repo::request::Request;
use crate::repo::signature::SignatureFile;
use crate::repo::{Files, Repo, RepoError, Step, When};
use crate::target::{Custom, Kind, Severity};
use jiff::Timestamp;
use sigstore_tuf::{Snapshot, Timestamp as TufTimestamp, TrustedMetadataSet};

/// A depot in memory.
#[derive(Debug, Default, Clone)]
struct Memory(RefCell<BTreeMap<String, Vec<u8>>>);

impl Files for Memory {
    fn read(&self, path: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let found = self.0.borrow().get(path).cloned();
        assert!(found.as_ref().is_none_or(|bytes| bytes.len() as u64 <= len_max));
        Ok(found)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let files = self.0.borrow();
        Ok(files.keys().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
    }
}

impl Memory {
    fn apply(&self, step: &Step) {
        let mut files = self.0.borrow_mut();
        match step {
            Step::Write(path, bytes) => drop(files.insert(path.clone(), bytes.clone())),
            Step::Remove(path) => drop(files.remove(path)),
        }
    }

    fn metadata(&self, name: &str) -> Option<Vec<u8>> {
        self.0.borrow().get(&format!("metadata/{name}")).cloned()
    }

    fn save(&self, repo: &Repo) {
        repo.save_staged().expect("saved").iter().for_each(|step| self.apply(step));
    }
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn when() -> When {
    When { now: now(), expires: None }
}

fn key(seed: u8) -> FileKey {
    FileKey::from_seed(&[seed; 32])
}

fn named(seed: u8) -> NamedKey {
    NamedKey { key: key(seed).public().clone(), name: format!("key-{seed}") }
}

fn role(seeds: &[u8], threshold: usize) -> RoleSetup {
    RoleSetup { keys: seeds.iter().map(|seed| named(*seed)).collect(), threshold }
}

fn signed(repo: &mut Repo, role: &str, seeds: &[u8]) {
    for seed in seeds {
        let envelope = repo.staged(role).expect("staged");
        let file = SignatureFile::make(role, envelope, &key(*seed)).expect("signed");
        repo.merge(&[file]).expect("merged");
    }
}

fn publish(repo: &Repo, seeds: &[u8]) -> Result<Publication, RepoError> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    repo.publish(&signers, now(), OnlineExpiry::default())
}

/// What a client that trusts the first root sees: versions of root, timestamp, targets, group.
fn seen(depot: &Memory) -> Result<[u64; 4], String> {
    crate::provider::install();
    let text = |error: sigstore_tuf::Error| error.to_string();
    let get = |name: &str| depot.metadata(name).ok_or_else(|| format!("{name} is missing"));
    let mut set = TrustedMetadataSet::from_root(&get("1.root.json")?).map_err(text)?;
    for version in 2.. {
        let Some(root) = depot.metadata(&format!("{version}.root.json")) else { break };
        set.update_root(&root).map_err(text)?;
    }
    set.check_root_expired(now()).map_err(text)?;
    set.update_timestamp(&get("timestamp.json")?, now()).map_err(text)?;
    let timestamp: &TufTimestamp = set.timestamp().expect("updated");
    let (time, version) = (timestamp.version, timestamp.meta["snapshot.json"].version);
    set.update_snapshot(&get(&format!("{version}.snapshot.json"))?, now()).map_err(text)?;
    let snapshot: &Snapshot = set.snapshot().expect("updated");
    let version = |role: &str| snapshot.meta.get(role).map_or(0, |file| file.version);
    let (targets, group) = (version("targets.json"), version("g.fleet.json"));
    set.update_targets(&get(&format!("{targets}.targets.json"))?, now()).map_err(text)?;
    let file = get(&format!("{group}.g.fleet.json"))?;
    set.update_delegated_targets(&file, "g.fleet", "targets", now()).map_err(text)?;
    Ok([set.root().version, time, targets, group])
}

/// Does a publication step by step; after each, the client sees no less than before and is not
/// refused, and a publication that was cut off there can be done again.
fn stepwise(depot: &Memory, publication: &Publication) {
    let mut last = seen(depot);
    for step in &publication.steps {
        depot.apply(step);
        let now = seen(depot);
        if let Ok(before) = &last {
            let is_less = |now: &[u64; 4]| before.iter().zip(now).any(|(old, new)| old > new);
            assert!(now.as_ref().is_ok_and(|now| !is_less(now)), "{now:?} after {step:?}");
        }
        last = now;
        Repo::load(depot).expect("an editor reads every state");
    }
    assert!(last.is_ok(), "{last:?}");
}

/// Root and targets by keys 1 and 2, both; online by key 3; group `fleet` by keys 1 and 2.
fn published() -> Memory {
    let both = role(&[1, 2], 2);
    let setup = Setup {
        root: both.clone(),
        targets: both.clone(),
        snapshot: role(&[3], 1),
        timestamp: role(&[3], 1),
    };
    let mut repo = Repo::init(&setup, &when()).expect("a repository");
    repo.set_group("fleet", &both, &when()).expect("a group");
    for role in ["root", "targets", "g.fleet"] {
        signed(&mut repo, role, &[1, 2]);
    }
    let depot = Memory::default();
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    stepwise(&depot, &publish(&repo, &[3]).expect("published"));
    depot
}

fn release(version: &str) -> BTreeMap<String, TargetFile> {
    let custom = Custom {
        blake3: "ab".repeat(32),
        kind: Kind::Full,
        from: None,
        to: Some("cd".repeat(32)),
        to_len: Some(5),
        content: None,
        product: "display".into(),
        version: version.into(),
        security_epoch: 0,
        severity: Severity::Critical,
        sbom: None,
        advisory: Some("line one\nline \"two\" \u{1b}[2K".into()),
        hardware: vec!["rev-b".into()],
        requires: Vec::new(),
    };
    let file = TargetFile::new(5, &"ef".repeat(32), &custom).expect("a file");
    BTreeMap::from([(format!("g/fleet/display/{version}/full"), file)])
}

#[test]
fn client_accepts_every_state_of_a_release() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    repo.add_targets("fleet", release("1.5"), &when()).expect("staged");
    signed(&mut repo, "g.fleet", &[1, 2]);
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    stepwise(&depot, &publish(&repo, &[3]).expect("published"));
    assert_eq!(seen(&depot), Ok([1, 2, 1, 2]));
    let repo = Repo::load(&depot).expect("loaded");
    assert!(matches!(publish(&repo, &[3]), Err(RepoError::NothingToDo(_))));
}

#[test]
fn client_accepts_every_state_while_root_keys_change() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let change =
        KeyChange { add: vec![named(4)], remove: vec![named(2).key.id()], threshold: None };
    repo.change_keys("root", &change, &when()).expect("staged");
    signed(&mut repo, "root", &[1, 4]);
    let refused = publish(&repo, &[3]).expect_err("the old root's threshold is not met");
    assert!(matches!(refused, RepoError::BelowThreshold { count: 1, threshold: 2, .. }));
    signed(&mut repo, "root", &[2]);
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    stepwise(&depot, &publish(&repo, &[3]).expect("published"));
    assert_eq!(seen(&depot), Ok([2, 2, 1, 1]));
}

#[test]
fn client_accepts_every_state_while_online_keys_change_if_both_sign() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let change =
        KeyChange { add: vec![named(5)], remove: vec![named(3).key.id()], threshold: None };
    repo.change_keys("timestamp", &change, &when()).expect("staged");
    repo.change_keys("snapshot", &change, &when()).expect("staged");
    signed(&mut repo, "root", &[1, 2]);
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    let alone = publish(&repo, &[5]).expect("published");
    assert_eq!(alone.warnings.len(), 1, "without the old key some look in vain: {alone:?}");
    assert!(publish(&repo, &[3]).is_err(), "the old key alone is not enough");
    let both = publish(&repo, &[3, 5]).expect("published");
    assert_eq!(both.warnings, [""; 0]);
    stepwise(&depot, &both);
    assert_eq!(seen(&depot), Ok([2, 2, 1, 1]));
}

#[test]
fn key_that_is_revoked_signs_nothing_any_more() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let gone = named(2);
    let roles = repo.revoke(&gone.key.id(), Some(&named(4)), &when()).expect("staged");
    assert_eq!(roles, ["root", "targets", "g.fleet"]);
    for role in ["root", "targets", "g.fleet"] {
        signed(&mut repo, role, &[1]);
    }
    let file = SignatureFile::make("g.fleet", repo.staged("g.fleet").expect("staged"), &key(2));
    let refused = repo.merge(&[file.expect("signed")]).expect_err("refused");
    assert!(matches!(refused, RepoError::WrongRole(..)), "{refused}");
    for role in ["root", "targets", "g.fleet"] {
        signed(&mut repo, role, &[4]);
    }
    signed(&mut repo, "root", &[2]);
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    // Devices that look at the new root and the old targets wait for the switch; none sees less.
    let done = publish(&repo, &[3]).expect("published");
    done.steps.iter().for_each(|step| depot.apply(step));
    assert_eq!(seen(&depot), Ok([2, 2, 2, 2]));
}

#[test]
fn what_expires_is_published_until_then_and_not_a_second_later() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let expires: Timestamp = "2026-07-01T00:00:00Z".parse().expect("a time");
    repo.renew("g.fleet", &When { now: now(), expires: Some(expires) }).expect("staged");
    signed(&mut repo, "g.fleet", &[1, 2]);
    let at = |seconds: i64| {
        let time = Timestamp::from_second(expires.as_second() + seconds).expect("a time");
        repo.publish(&[&key(3)], time, OnlineExpiry::default()).map(drop)
    };
    assert!(at(-1).is_ok());
    assert!(matches!(at(0), Err(RepoError::Expired(_))));
    let late = OnlineExpiry { timestamp: Some(now()), ..OnlineExpiry::default() };
    assert!(matches!(repo.publish(&[&key(3)], now(), late), Err(RepoError::Expired(_))));
    assert!(matches!(repo.refresh(&[&key(3)], now(), late), Err(RepoError::Expired(_))));
}

#[test]
fn what_is_written_is_the_same_each_time() {
    let (one, two) = (published(), published());
    assert!(one.0 == two.0);
    let names: Vec<_> = one.0.borrow().keys().cloned().collect();
    let expected = [
        "metadata/1.g.fleet.json",
        "metadata/1.root.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "metadata/timestamp.json",
    ];
    assert_eq!(names, expected, "nothing staged is left");
}

#[test]
fn paths_and_words_outside_the_group_are_refused() {
    let mut repo = Repo::load(&published()).expect("loaded");
    let file = release("1.5").into_values().next().expect("a file");
    for path in [
        "g/other/display/1.5/full",
        "g/fleet/display/1.5",
        "g/fleet/display/1.5/full/more",
        "g/fleet/Display/1.5/full",
        "g/fleet/display/../full",
        "g/fleet/display/1.6/full",
        "g/fleet/display/1.5/fu ll",
        "/g/fleet/display/1.5/full",
    ] {
        let files = BTreeMap::from([(path.to_owned(), file.clone())]);
        let refused = repo.add_targets("fleet", files, &when());
        assert!(matches!(refused, Err(RepoError::Impossible(_))), "{path}");
    }
    assert!(repo.add_targets("none", release("1.5"), &when()).is_err());
    assert!(repo.set_group("Fleet", &role(&[1], 1), &when()).is_err());
    assert!(repo.set_group("../x", &role(&[1], 1), &when()).is_err());
    assert!(repo.set_group("other", &role(&[1], 0), &when()).is_err());
    assert!(repo.set_group("other", &role(&[1], 2), &when()).is_err());
    assert!(repo.staged_roles().next().is_none(), "what is refused stages nothing");
}

#[test]
fn group_that_is_removed_is_named_for_ever_and_followed_by_nobody() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let soon = When { now: now(), expires: Some("2026-06-02T00:00:00Z".parse().expect("a time")) };
    repo.set_group("north", &role(&[6], 1), &when()).expect("a group");
    repo.renew("g.north", &soon).expect("staged");
    signed(&mut repo, "targets", &[1, 2]);
    signed(&mut repo, "g.north", &[6]);
    depot.save(&repo);
    stepwise(&depot, &publish(&Repo::load(&depot).expect("loaded"), &[3]).expect("published"));

    let mut repo = Repo::load(&depot).expect("loaded");
    assert!(repo.remove_group("south", &when()).is_err());
    repo.renew("g.north", &when()).expect("staged");
    repo.remove_group("north", &when()).expect("staged");
    assert!(repo.staged("g.north").is_none(), "nobody could sign it");
    let request = Request::of(&repo, "targets").expect("staged");
    let changes = request.judge(None, now()).expect("judged");
    let says = |text: &str| changes.iter().any(|change| change.text.contains(text));
    assert!(says("group `north` is removed for good"), "{changes:?}");
    signed(&mut repo, "targets", &[1, 2]);
    depot.save(&repo);
    let repo = Repo::load(&depot).expect("loaded");
    let late: Timestamp = "2026-06-03T00:00:00Z".parse().expect("a time");
    let done = repo.publish(&[&key(3)], late, OnlineExpiry::default()).expect("published");
    assert_eq!(done.warnings, [""; 0], "that its role has expired is no matter");
    stepwise(&depot, &done);
    let snapshot = depot.metadata("3.snapshot.json").expect("published");
    assert!(String::from_utf8_lossy(&snapshot).contains("g.north.json"));

    let mut repo = Repo::load(&depot).expect("loaded");
    assert_eq!(repo.groups().expect("groups"), ["fleet"]);
    assert!(repo.renew("g.north", &when()).is_err());
    let again = repo.set_group("north", &role(&[6], 1), &when()).expect_err("refused");
    assert!(again.to_string().contains("devices remember its versions"), "{again}");
    assert!(repo.staged_roles().next().is_none());
}

#[test]
fn signers_read_what_a_site_profile_allows() {
    let depot = published();
    let mut repo = Repo::load(&depot).expect("loaded");
    let budget = Budget { month_bytes: Some(200 << 20), ..Budget::default() };
    let profile =
        |days| Profile::new("MV Aurora\u{202e}", days, Approval::Crew, budget).expect("a profile");
    let shown = |repo: &Repo| {
        let request = Request::of(repo, "g.fleet").expect("staged");
        // What the signer has is the file.
        let request = Request::parse("request", &request.bytes()).expect("a request");
        let changes = request.judge(None, now()).expect("judged");
        changes.iter().map(|change| format!("{}\n", change.text)).collect::<String>()
    };
    let allows = "site `MV Aurora\\u{202e}`: metadata counts for 180 days after it expires; the \
                  crew approves each update; at most 200.0 MiB (209715200 bytes) a month";
    let content = repo.set_profile("fleet", &profile(180), &when()).expect("staged");
    assert!(shown(&repo).contains(allows), "{}", shown(&repo));
    signed(&mut repo, "g.fleet", &[1, 2]);
    depot.save(&repo);
    let without = shown(&Repo::load(&depot).expect("loaded"));
    assert!(without.contains("not in this file: do not sign"), "{without}");
    let put = |content: &[u8]| {
        let path = format!("blobs/{}", blake3::hash(&profile(180).bytes()).to_hex());
        depot.apply(&Step::Write(path, content.to_vec()));
    };
    put(&profile(3650).bytes());
    let other = shown(&Repo::load(&depot).expect("loaded"));
    assert!(other.contains("not in this file: do not sign"), "{other}");
    put(&content);
    assert!(shown(&Repo::load(&depot).expect("loaded")).contains(allows));
    stepwise(&depot, &publish(&Repo::load(&depot).expect("loaded"), &[3]).expect("published"));

    // The next takes its place, under the next number.
    let mut repo = Repo::load(&depot).expect("loaded");
    repo.set_profile("fleet", &profile(30), &when()).expect("staged");
    let targets = repo.staged("g.fleet").expect("staged").targets().expect("targets").targets;
    assert_eq!(targets.keys().collect::<Vec<_>>(), ["g/fleet/site/2/profile"]);
    assert!(Profile::new("A", 3651, Approval::None, budget).is_err());
    assert!(Profile::new("", 1, Approval::None, budget).is_err());
}
