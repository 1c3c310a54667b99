//! Staged metadata as a file: what is to be signed, and all that is needed to judge it on a
//! machine that has nothing else.
//!
//! It carries the metadata that it replaces and every root, so that the signer sees what changes
//! ([`super::changes`]). A request may have been made by an attacker to show less than it does:
//! what it says of the present is believed only as far as signatures go back to a root.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::{Change, describe};
use super::document::{Envelope, Signature, malformed, ordered};
use super::error::RepoError;
use super::{Authority, ROOT, Repo, TARGETS, check_roots};

/// What the files call themselves.
const SCHEMA: &str = "neap.staged.v1";

/// Metadata of one role to sign, with what it depends on.
#[derive(Debug)]
pub struct Request {
    /// The role.
    pub role: String,
    /// Of the repository, what the request carries.
    repo: Repo,
}

/// The file, member by member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    base: Option<Value>,
    profiles: BTreeMap<String, String>,
    role: String,
    roots: Vec<Value>,
    schema: String,
    signatures: Vec<Signature>,
    signed: Value,
    staged_root: Option<Value>,
    staged_targets: Option<Value>,
    targets: Option<Value>,
}

impl Request {
    /// The request to sign what is staged of a role.
    ///
    /// # Errors
    /// If nothing is.
    pub fn of(repo: &Repo, role: &str) -> Result<Self, RepoError> {
        let nothing = || RepoError::Impossible(format!("nothing of role {role} is staged"));
        let envelope = repo.staged.get(role).ok_or_else(nothing)?;
        let mut staged = BTreeMap::from([(role.to_owned(), envelope.clone())]);
        let is_group = ![ROOT, TARGETS].contains(&role);
        for (above, is_above) in [(ROOT, role == TARGETS), (TARGETS, is_group)] {
            let found = repo.staged.get(above).filter(|_| is_above).cloned();
            staged.extend(found.map(|found| (above.to_owned(), found)));
        }
        let mut published = BTreeMap::new();
        for name in [role, TARGETS].into_iter().filter(|_| role != ROOT) {
            let found = repo.published.get(name).cloned();
            published.extend(found.map(|found| (name.to_owned(), found)));
        }
        let named = envelope.targets().map(|targets| targets.targets).unwrap_or_default();
        let digests = named.values().filter_map(|file| file.hashes.get("sha256"));
        let profile = |digest| Some((String::clone(digest), repo.profiles.get(digest)?.clone()));
        let profiles = digests.filter_map(profile).collect();
        let roots = repo.roots.clone();
        let repo = Repo { roots, published, staged, profiles, ..Repo::default() };
        Ok(Self { role: role.to_owned(), repo })
    }

    /// Reads a request, called `file` in errors. It is not judged yet.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let read = File::parse(file, bytes)?;
        let envelope = |value: Value| Envelope::from_value(file, value);
        let roots = read.roots.into_iter().map(envelope).collect::<Result<_, _>>()?;
        let mut repo = Repo { roots, profiles: read.profiles, ..Repo::default() };
        for (role, value) in [(&*read.role, read.base), (TARGETS, read.targets)] {
            if let Some(value) = value {
                repo.published.insert(role.to_owned(), envelope(value)?);
            }
        }
        for (role, value) in [(ROOT, read.staged_root), (TARGETS, read.staged_targets)] {
            if let Some(value) = value {
                repo.staged.insert(role.to_owned(), envelope(value)?);
            }
        }
        let mut staged = Envelope::new(read.signed)?;
        staged.set_signatures(file, read.signatures)?;
        repo.staged.insert(read.role.clone(), staged);
        Ok(Self { role: read.role, repo })
    }

    /// The role and the metadata alone, of a file.
    ///
    /// # Errors
    /// If it is no request.
    pub fn envelope(file: &str, bytes: &[u8]) -> Result<(String, Envelope), RepoError> {
        let read = File::parse(file, bytes)?;
        let mut envelope = Envelope::new(read.signed)?;
        envelope.set_signatures(file, read.signatures)?;
        Ok((read.role, envelope))
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self { role, repo } = self;
        let value = |envelope: Option<&Envelope>| envelope.map(Envelope::value);
        let beside = |name: &str| value(repo.staged.get(name).filter(|_| name != role));
        let file = json!({
            "base": value(repo.published.get(role).filter(|_| role != TARGETS)),
            "profiles": repo.profiles,
            "role": role,
            "roots": repo.roots.iter().map(Envelope::value).collect::<Vec<_>>(),
            "schema": SCHEMA,
            "signatures": self.staged().signature_list(),
            "signed": ordered(self.staged().signed()),
            "staged_root": beside(ROOT),
            "staged_targets": beside(TARGETS),
            "targets": value(repo.published.get(TARGETS)),
        });
        file.to_string().into_bytes()
    }

    /// What is to be signed.
    #[must_use]
    pub fn staged(&self) -> &Envelope {
        &self.repo.staged[&self.role]
    }

    /// What it replaces.
    #[must_use]
    pub fn base(&self) -> Option<&Envelope> {
        self.repo.current(&self.role)
    }

    /// The newest root that the request carries.
    #[must_use]
    pub fn root(&self) -> Option<&Envelope> {
        self.repo.roots.last()
    }

    /// Who decides.
    ///
    /// # Errors
    /// If the role is not there.
    pub fn authorities(&self) -> Result<Vec<Authority>, RepoError> {
        self.repo.authorities(&self.role)
    }

    /// Judges the request and says what its metadata changes. `trusted` is a root that the signer
    /// has from elsewhere; with it, the present cannot be made up.
    ///
    /// # Errors
    /// If what it claims to replace is not signed by those who had to, does not come right before
    /// it, has expired already, or is of another repository.
    pub fn judge(
        &self,
        trusted: Option<&Envelope>,
        now: Timestamp,
    ) -> Result<Vec<Change>, RepoError> {
        let Self { role, repo } = self;
        check_roots(&repo.roots)?;
        if let Some(trusted) = trusted {
            let is_trusted = |root: &&Envelope| root.canonical() == trusted.canonical();
            if !repo.roots.iter().any(|root| is_trusted(&root)) {
                return Err(RepoError::WrongSignature(format!(
                    "the trusted root, version {}, is not of this repository",
                    trusted.version()
                )));
            }
        }
        for (name, envelope) in &repo.published {
            for authority in repo.authorities_now(name)? {
                authority.check(name, envelope)?;
            }
        }
        let base = self.base().map_or(0, Envelope::version);
        let staged = self.staged();
        let version = staged.version();
        if Some(version) != base.checked_add(1) {
            return Err(RepoError::StaleBase(format!(
                "version {version} of role {role} does not follow on version {base}"
            )));
        }
        if staged.expires()? <= now {
            return Err(RepoError::Expired(format!("role {role} version {version} has expired")));
        }
        describe(repo, role)
    }
}

impl File {
    fn parse(file: &str, bytes: &[u8]) -> Result<Self, RepoError> {
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| malformed(file, &format!("no staged metadata: {error}")))?;
        match read.schema == SCHEMA {
            true => Ok(read),
            false => Err(malformed(file, &format!("its schema is not {SCHEMA}"))),
        }
    }
}
