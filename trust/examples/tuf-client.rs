//! A client for the public TUF conformance suite: our workflow over plain HTTP. Not for devices.
//!
//! ```text
//! tuf-client --metadata-dir DIR init ROOT
//! tuf-client --metadata-dir DIR --metadata-url URL refresh
//! tuf-client --metadata-dir DIR --metadata-url URL --target-name PATH…
//!            --target-base-url URL --target-dir DIR download
//! ```

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use neap_trust::carrier::Carrier;
use neap_trust::client::Workflow;
use neap_trust::client::directory::StateFolder;
use neap_trust::state::MemoryState;
use neap_trust::time::Clock;
use sha2::{Digest, Sha256, Sha512};

/// Bytes of a target that this client holds in memory.
const TARGET_LEN_MAX: u64 = 64 << 20;
/// How long one file may take.
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match Args::parse().and_then(|args| args.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Args {
    metadata_dir: PathBuf,
    metadata_url: String,
    target_dir: PathBuf,
    target_base_url: String,
    target_names: Vec<String>,
    verb: Vec<String>,
}

impl Args {
    fn parse() -> Done<Self> {
        let (mut parsed, mut args) = (Self::default(), std::env::args().skip(1));
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--") else {
                parsed.verb.push(arg);
                continue;
            };
            let value = args.next().ok_or_else(|| format!("--{flag} needs a value"))?;
            match flag {
                "metadata-dir" => parsed.metadata_dir = value.into(),
                "metadata-url" => parsed.metadata_url = value,
                "target-dir" => parsed.target_dir = value.into(),
                "target-base-url" => parsed.target_base_url = value,
                "target-name" => parsed.target_names.push(value),
                _ => return Err(format!("unknown flag --{flag}").into()),
            }
        }
        Ok(parsed)
    }

    fn run(&self) -> Done<()> {
        match self.verb.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["init", root] => self.init(Path::new(root)),
            ["refresh"] => self.with_workflow(|_| Ok(())),
            ["download"] => self.with_workflow(|workflow| {
                self.target_names.iter().try_for_each(|path| self.download(workflow, path))
            }),
            _ => Err("one of init ROOT, refresh, download".into()),
        }
    }

    /// Keeps the root that the user trusts.
    fn init(&self, root: &Path) -> Done<()> {
        let bytes = fs::read(root)?;
        let mut probe = MemoryState::default();
        Workflow::open(&self.server(), &mut probe, Some(&bytes), clock())?;
        Ok(fs::write(self.metadata_dir.join("root.json"), bytes)?)
    }

    fn with_workflow(&self, then: impl FnOnce(&mut Workflow<'_>) -> Done<()>) -> Done<()> {
        let (server, mut state) = (self.server(), StateFolder::new(&self.metadata_dir));
        let mut workflow = Workflow::open(&server, &mut state, None, clock())?;
        workflow.refresh()?;
        then(&mut workflow)
    }

    fn download(&self, workflow: &mut Workflow<'_>, path: &str) -> Done<()> {
        let target = workflow.find(path)?.ok_or_else(|| format!("{path}: no such target"))?;
        let is_it = |bytes: &[u8]| {
            let known = target.hashes.iter().filter_map(|(name, digest)| match name.as_str() {
                "sha256" => Some(hex::encode(Sha256::digest(bytes)).eq_ignore_ascii_case(digest)),
                "sha512" => Some(hex::encode(Sha512::digest(bytes)).eq_ignore_ascii_case(digest)),
                _ => None,
            });
            let known: Vec<_> = known.collect();
            bytes.len() as u64 == target.length && !known.is_empty() && known.iter().all(|is| *is)
        };
        let to = self.target_dir.join(path.replace('/', "%2F"));
        if fs::read(&to).is_ok_and(|bytes| is_it(&bytes)) {
            return Ok(());
        }
        let digest = target.hashes.get("sha256").or_else(|| target.hashes.values().next());
        let digest = digest.ok_or("a target without a digest")?;
        let name = match (workflow.root().consistent_snapshot, path.rsplit_once('/')) {
            (false, _) => path.to_owned(),
            (true, Some((folder, name))) => format!("{folder}/{digest}.{name}"),
            (true, None) => format!("{digest}.{path}"),
        };
        let server = Server { base: self.target_base_url.clone(), agent: agent() };
        let bytes = server.metadata(&name, target.length.min(TARGET_LEN_MAX))?;
        let bytes = bytes.ok_or_else(|| format!("{name}: not on the server"))?;
        if !is_it(&bytes) {
            return Err(format!("{path}: not what was signed").into());
        }
        Ok(fs::write(to, bytes)?)
    }

    fn server(&self) -> Server {
        Server { base: self.metadata_url.clone(), agent: agent() }
    }
}

/// A folder of files behind HTTP.
struct Server {
    base: String,
    agent: ureq::Agent,
}

impl Carrier for Server {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let url = format!("{}/{name}", self.base.trim_end_matches('/'));
        let found = match self.agent.get(&url).call() {
            Ok(found) => found,
            // Object stores say 403 where there is nothing.
            Err(ureq::Error::StatusCode(404 | 403)) => return Ok(None),
            Err(ureq::Error::Timeout(_)) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut bytes = Vec::new();
        let body = found.into_body().into_reader();
        body.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > len_max {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(Some(bytes)),
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into()
}

/// The clock as the suite sets it. It is believed for twenty years from the build on.
fn clock() -> Clock {
    let build = Timestamp::from_second(BUILD_S).unwrap_or_default();
    Clock { rtc: Some(Timestamp::now()), build }
}

/// 2020-01-01, in seconds since 1970: before all that the suite holds.
const BUILD_S: i64 = 1_577_836_800;
