//! The verbs that stage a change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use neap_trust::key::{KeyId, PublicKey};
use neap_trust::repo::document::{NamedKey, TargetFile};
use neap_trust::repo::edit::{KeyChange, RoleSetup, Setup};
use neap_trust::repo::{ROOT, Repo, RepoError, TARGETS, is_key, staged_path};
use neap_trust::target::{Custom, Kind, Severity};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::directory::Directory;
use super::{AddFile, AddGroup, AddKey, Drop, Init, Renew, Revoke, Rotate, Withdraw};
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
    let directory = Directory::open_for_change(&args.depot)?;
    match Repo::load(&directory) {
        Err(RepoError::Missing) => {}
        Ok(_) => return Err(directory.failure(RepoError::Exists)),
        Err(error) => return Err(directory.failure(error)),
    }
    let repo = Repo::init(&setup, &args.expiry.when()).map_err(|e| directory.failure(e))?;
    saved(&directory, &repo, &args.depot)
}

pub(super) fn add_group(args: &AddGroup) -> Result<Outcome, Failure> {
    let setup = role(&args.key, args.threshold)?;
    staged(&args.depot, |repo| repo.set_group(&args.group, &setup, &args.expiry.when()))
}

pub(super) fn add_key(args: &AddKey) -> Result<Outcome, Failure> {
    let change = KeyChange { add: named(&args.key)?, remove: vec![], threshold: args.threshold };
    staged(&args.depot, |repo| repo.change_keys(&args.role, &change, &args.expiry.when()))
}

pub(super) fn rotate(args: &Rotate) -> Result<Outcome, Failure> {
    if args.remove.is_empty() && args.add.is_empty() && args.threshold.is_none() {
        let text = format!("{}: nothing to rotate was named", args.role);
        return Err(Failure::new(Exit::Usage, text, "give --remove and --add, or --threshold"));
    }
    let add = named(&args.add)?;
    staged(&args.depot, |repo| {
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
    staged(&args.depot, |repo| {
        let id = id_of(repo, &args.key)?;
        repo.revoke(&id, replacement.as_ref(), &args.expiry.when()).map(drop)
    })
}

pub(super) fn renew(args: &Renew) -> Result<Outcome, Failure> {
    staged(&args.depot, |repo| repo.renew(&args.role, &args.expiry.when()))
}

pub(super) fn withdraw(args: &Withdraw) -> Result<Outcome, Failure> {
    staged(&args.depot, |repo| repo.remove_targets(&args.group, &args.paths, &args.expiry.when()))
}

pub(super) fn drop_staged(args: &Drop) -> Result<Outcome, Failure> {
    staged(&args.depot, |repo| repo.drop_staged(&args.role))
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

    let directory = Directory::open_for_change(&args.depot)?;
    let mut repo = directory.load()?;
    let added = TargetFile::new(len, &sha256, &custom).and_then(|file| {
        let files = BTreeMap::from([(path, file)]);
        repo.add_targets(&args.group, files, &args.expiry.when())
    });
    added.map_err(|error| directory.failure(error))?;
    // The blob first: nothing names it yet.
    directory.write(&format!("blobs/{blake3}"), &bytes).map_err(failed)?;
    saved(&directory, &repo, &args.depot)
}

/// Changes what is staged, writes it and says what is to be signed.
fn staged(
    depot: &Path,
    change: impl FnOnce(&mut Repo) -> Result<(), RepoError>,
) -> Result<Outcome, Failure> {
    let directory = Directory::open_for_change(depot)?;
    let mut repo = directory.load()?;
    change(&mut repo).map_err(|error| directory.failure(error))?;
    saved(&directory, &repo, depot)
}

pub(super) fn saved(directory: &Directory, repo: &Repo, depot: &Path) -> Result<Outcome, Failure> {
    directory.save(repo)?;
    let (mut text, mut roles) = (String::new(), Vec::new());
    for role in repo.staged_roles() {
        let path = depot.join(staged_path(role)).display().to_string();
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
