//! The verbs that stage a change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};

use neap_depot::depot::Depot;
use neap_depot::writer::{AddError, Present, Writer};
use neap_trust::key::{KeyId, PublicKey};
use neap_trust::profile::{Approval, Budget, Profile};
use neap_trust::repo::document::{NamedKey, TargetFile};
use neap_trust::repo::edit::{KeyChange, RoleSetup, Setup};
use neap_trust::repo::{ROOT, Repo, RepoError, TARGETS, is_key};
use neap_trust::target::{Custom, Kind, Severity};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::place::{self, of_repo};
use super::{
    AddFile, AddGroup, AddKey, AddProfile, Asked, Drop, Init, RemoveGroup, Renew, Revoke, Rotate,
    Withdraw,
};
use crate::exit::Exit;
use crate::failure::{Failure, io_exit};
use crate::keyring;
use crate::outcome::Outcome;

/// Longest document: what is larger is a release.
const DOCUMENT_LEN_MAX: u64 = 64 << 20;

pub(super) fn init(args: &Init) -> Result<Outcome, Failure> {
    let setup = Setup {
        root: role(&args.root_key, args.root_threshold)?,
        targets: role(&args.targets_key, args.targets_threshold)?,
        snapshot: role(&args.snapshot_key, Some(1))?,
        timestamp: role(&args.timestamp_key, Some(1))?,
    };
    let place = &args.depot;
    let failed = |error| of_repo(place, error);
    let repo = Repo::init(&setup, &args.expiry.when()).map_err(failed)?;
    let depot = Depot::make(place).map_err(|error| {
        let next = "name a folder that can be made, or s3://BUCKET/PREFIX";
        Failure::new(io_exit(&error), format!("{place}: {error}"), next)
    })?;
    let mut writer = crate::depot::writer(&depot, place, "repo init")?;
    match Repo::load(&depot) {
        Err(RepoError::Missing) => {}
        Ok(_) => return Err(failed(RepoError::Exists)),
        Err(error) => return Err(failed(error)),
    }
    saved(&mut writer, &repo, place)
}

pub(super) fn add_group(args: &AddGroup) -> Result<Outcome, Failure> {
    let setup = role(&args.key, args.threshold)?;
    staged(&args.depot, "add group", |repo| {
        repo.set_group(&args.group, &setup, &args.expiry.when())
    })
}

pub(super) fn remove_group(args: &RemoveGroup) -> Result<Outcome, Failure> {
    let when = args.expiry.when();
    staged(&args.depot, "remove group", |repo| repo.remove_group(&args.group, &when))
}

pub(super) fn add_profile(args: &AddProfile) -> Result<Outcome, Failure> {
    let place = &args.depot;
    let approval = match args.approval {
        Asked::None => Approval::None,
        Asked::Crew => Approval::Crew,
    };
    let budget = Budget {
        update_bytes: args.update_budget,
        day_bytes: args.day_budget,
        month_bytes: args.month_budget,
    };
    let profile = Profile::new(&args.site, args.stale_days, approval, budget);
    let profile = profile.map_err(|error| {
        let next = "neap repo add profile --help shows what there is";
        Failure::new(Exit::Usage, format!("{}: {error}", args.site), next)
    })?;
    let depot = crate::depot::open(place)?;
    let mut writer = crate::depot::writer(&depot, place, "repo add profile")?;
    let mut repo = place::load(&depot, place)?;
    let content = repo.set_profile(&args.group, &profile, &args.expiry.when());
    let content = content.map_err(|error| of_repo(place, error))?;
    add_blob(&writer, &content, place)?;
    saved(&mut writer, &repo, place)
}

pub(super) fn add_key(args: &AddKey) -> Result<Outcome, Failure> {
    let change = KeyChange { add: named(&args.key)?, remove: vec![], threshold: args.threshold };
    staged(&args.depot, "add key", |repo| {
        repo.change_keys(&args.role, &change, &args.expiry.when())
    })
}

pub(super) fn rotate(args: &Rotate) -> Result<Outcome, Failure> {
    if args.remove.is_empty() && args.add.is_empty() && args.threshold.is_none() {
        let text = format!("{}: nothing to rotate was named", args.role);
        return Err(Failure::new(Exit::Usage, text, "give --remove and --add, or --threshold"));
    }
    let add = named(&args.add)?;
    staged(&args.depot, "rotate", |repo| {
        let remove = args.remove.iter().map(|key| id_of(repo, key)).collect::<Result<_, _>>()?;
        let change = KeyChange { add, remove, threshold: args.threshold };
        repo.change_keys(&args.role, &change, &args.expiry.when())
    })
}

pub(super) fn revoke(args: &Revoke) -> Result<Outcome, Failure> {
    let replacement = match &args.replace {
        Some(key) => named(std::slice::from_ref(key))?.pop(),
        None => None,
    };
    staged(&args.depot, "revoke", |repo| {
        let id = id_of(repo, &args.key)?;
        repo.revoke(&id, replacement.as_ref(), &args.expiry.when()).map(drop)
    })
}

pub(super) fn renew(args: &Renew) -> Result<Outcome, Failure> {
    staged(&args.depot, "renew", |repo| repo.renew(&args.role, &args.expiry.when()))
}

pub(super) fn withdraw(args: &Withdraw) -> Result<Outcome, Failure> {
    staged(&args.depot, "withdraw", |repo| {
        repo.remove_targets(&args.group, &args.paths, &args.expiry.when())
    })
}

pub(super) fn drop_staged(args: &Drop) -> Result<Outcome, Failure> {
    staged(&args.depot, "drop", |repo| repo.drop_staged(&args.role))
}

pub(super) fn add_file(args: &AddFile) -> Result<Outcome, Failure> {
    let shown = args.file.display();
    let failed = |error: std::io::Error| {
        Failure::new(io_exit(&error), format!("{shown}: {error}"), format!("check {shown}"))
    };
    let mut bytes = Vec::new();
    let file = File::open(&args.file).map_err(failed)?;
    file.take(DOCUMENT_LEN_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if len > DOCUMENT_LEN_MAX {
        let text = format!("{shown}: longer than {DOCUMENT_LEN_MAX} bytes");
        return Err(Failure::new(Exit::Error, text, "make a release of it"));
    }
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    let custom = Custom {
        blake3: blake3.clone(),
        kind: Kind::Document,
        from: None,
        to: None,
        to_len: None,
        content: None,
        product: args.product.clone(),
        version: args.version.clone(),
        security_epoch: 0,
        severity: Severity::None,
        sbom: None,
        advisory: None,
        hardware: Vec::new(),
        requires: Vec::new(),
    };
    let digest = Sha256::digest(&bytes);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or(name).unwrap_or_default();
    let path = format!("g/{}/{}/{}/{name}", args.group, args.product, args.version);

    let place = &args.depot;
    let depot = crate::depot::open(place)?;
    let mut writer = crate::depot::writer(&depot, place, "repo add file")?;
    let mut repo = place::load(&depot, place)?;
    let added = TargetFile::new(len, &sha256, &custom).and_then(|file| {
        let files = BTreeMap::from([(path, file)]);
        repo.add_targets(&args.group, files, &args.expiry.when())
    });
    added.map_err(|error| of_repo(place, error))?;
    add_blob(&writer, &bytes, place)?;
    saved(&mut writer, &repo, place)
}

/// Adds a document, before anything that is written names it.
pub(super) fn add_blob(writer: &Writer<'_>, content: &[u8], place: &str) -> Result<(), Failure> {
    let added = writer.add(&mut Cursor::new(content), Present::Verify);
    added.map(drop).map_err(|error| {
        let exit = if let AddError::Store(error) = &error { io_exit(error) } else { Exit::Error };
        let next = format!("neap depot fsck {place}, then run the same command again");
        Failure::new(exit, format!("{place}: {error}"), next)
    })
}

/// Changes what is staged, writes it and says what is to be signed.
fn staged(
    place: &str,
    verb: &str,
    change: impl FnOnce(&mut Repo) -> Result<(), RepoError>,
) -> Result<Outcome, Failure> {
    let depot = crate::depot::open(place)?;
    let mut writer = crate::depot::writer(&depot, place, &format!("repo {verb}"))?;
    let mut repo = place::load(&depot, place)?;
    change(&mut repo).map_err(|error| of_repo(place, error))?;
    saved(&mut writer, &repo, place)
}

pub(super) fn saved(writer: &mut Writer<'_>, repo: &Repo, place: &str) -> Result<Outcome, Failure> {
    place::save(writer, repo, place)?;
    let (mut text, mut roles) = (String::new(), Vec::new());
    for role in repo.staged_roles() {
        let path = place::request(place, role);
        let version = repo.staged(role).map_or(0, |envelope| envelope.version());
        text += &format!("staged  {path}  version {version}\n");
        roles.push(json!({"role": role, "version": version, "request": path}));
    }
    let next = match roles.is_empty() {
        true => "nothing is staged\n",
        false => "Nobody sees it yet: sign each file (neap repo sign), merge, publish.\n",
    };
    Ok(Outcome {
        text: text + next,
        json: json!({"schema": "neap.staged-list.v1", "staged": roles}),
    })
}

/// Keys and a threshold: of more than one key, two must sign unless it is said.
fn role(keys: &[String], threshold: Option<usize>) -> Result<RoleSetup, Failure> {
    let keys = named(keys)?;
    let threshold = threshold.unwrap_or(keys.len().min(2));
    Ok(RoleSetup { keys, threshold })
}

fn named(keys: &[String]) -> Result<Vec<NamedKey>, Failure> {
    let named = |name: &String| {
        keyring::public(name).map(|key| NamedKey { key, name: keyring::title(name) })
    };
    keys.iter().map(named).collect()
}

/// The id of a key that a role has: by the key's file, or by the first digits of the id.
fn id_of(repo: &Repo, key: &str) -> Result<KeyId, RepoError> {
    let is_digits = key.len() >= 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digits {
        let public = keyring::public(key).map(|key| key.id());
        return public.map_err(|failure| RepoError::Impossible(failure.error));
    }
    let mut found: Vec<PublicKey> = Vec::new();
    let mut roles = vec![ROOT.to_owned(), TARGETS.to_owned()];
    roles.extend(["snapshot", "timestamp"].map(str::to_owned));
    roles.extend(repo.groups()?.iter().map(|group| neap_trust::target::role_of(group)));
    for role in roles {
        let keys = repo.authorities(&role)?.into_iter().flat_map(|authority| authority.keys);
        let keys = keys.filter_map(|(_, value)| PublicKey::from_tuf(&value));
        found.extend(keys.filter(|public| is_key(&public.id(), key)));
    }
    found.sort();
    found.dedup();
    match &found[..] {
        [one] => Ok(one.id()),
        [] => Err(RepoError::NothingToDo(format!("no role has a key {key}"))),
        _ => Err(RepoError::Impossible(format!("{} keys begin with {key}", found.len()))),
    }
}
