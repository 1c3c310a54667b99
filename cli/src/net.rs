//! Verbs that speak with peers: `serve`, `fetch`, `sync`, `peers`. What they share: the node of a
//! configuration.

pub(crate) mod fetch;
mod ledger;
mod metrics;
mod painter;
pub(crate) mod peers;
mod purse;
pub(crate) mod serve;
pub(crate) mod sync;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use neap_depot::depot::Depot;
use neap_peer::config::{self, Config, MirrorPlace};
use neap_peer::link::{Class, Profile};
use neap_peer::quic::mirror::Mirror;
use neap_peer::quic::node::{Event, Node, Settings};
use neap_peer::quic::site::{Place, Purse, Site};
use neap_peer::shelf::{Shelf, Use};
use neap_peer::tls::{Admission, Identity};
use neap_trust::device_key::DeviceSigner;
use neap_trust::device_key::file::DeviceFileKey;
use neap_trust::identity::{Authority, Certificate, IdentityError};
use neap_trust::time::Timestamp;
use tokio::sync::mpsc;

use crate::ca;
use crate::check;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::receipt::keys::certificates_at;
use metrics::Counts;

/// A node that was started.
pub(crate) struct Started {
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) shelf: Shelf,
    pub(crate) depot: Arc<Depot>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) counts: Counts,
}

/// Where a verb's configuration is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Configuration {
    /// The configuration [default: /usr/lib/neap/config.toml, /etc/neap/config.toml, config.d]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Configuration {
    /// Reads it.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        config::file::load(self.config.as_deref()).map_err(|error| {
            let next = "docs/links.md describes the configuration".to_owned();
            Failure::new(Exit::Usage, error.to_string(), next)
        })
    }
}

/// Threads of the network: one for sockets and cryptography, one beside it.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).enable_all().build();
    built.map_err(|error| Failure::new(Exit::Error, format!("no threads: {error}"), "try again"))
}

/// Starts the node of a configuration. To be called in the runtime.
pub(crate) fn start(config: Config, usage: Use) -> Result<Started, Failure> {
    let counts = Counts::new(if usage == Use::Reads { "serve" } else { "fetch" }, &config.site);
    let (identity, admission) = identity(&config, counts.clone())?;
    let place = config.depot.display().to_string();
    let failed = |error: std::io::Error| {
        let next = format!("check {place}, or name another depot in the configuration");
        Failure::new(Exit::Error, format!("{place}: {error}"), next)
    };
    let depot = Arc::new(Depot::make(&place).map_err(failed)?);
    let shelf = Shelf::open(Arc::clone(&depot), usage).map_err(|error| {
        let next = "wait for the other writer, or stop it";
        Failure::new(Exit::Error, format!("{place}: {error}"), next)
    })?;
    let mut settings = Settings {
        listen: config.listen,
        site: config.site.clone(),
        identity,
        admission: Arc::clone(&admission),
        lan: built_in(&config, Class::Lan),
        incoming: built_in(&config, Class::Sat),
        peer_day_bytes: config.peer_day_bytes,
    };
    let started = Node::start(settings.clone(), shelf.clone()).or_else(|error| {
        // `neap serve` has the port; members of the site are told ours.
        let taken = error.kind() == std::io::ErrorKind::AddrInUse && usage == Use::Writes;
        let Some(listen) = settings.listen.as_mut().filter(|_| taken) else { return Err(error) };
        listen.set_port(0);
        Node::start(settings.clone(), shelf.clone())
    });
    let (node, events) = started.map_err(|error| {
        let at = config.listen.map_or_else(|| "a socket".to_owned(), |at| at.to_string());
        let next = "stop what listens there, or set `listen` in the configuration";
        Failure::new(Exit::Error, format!("{at}: {error}"), next)
    })?;
    Ok(Started { config, node, events, shelf, depot, admission, counts })
}

impl Started {
    /// The node among its site, with what may cross links that cost.
    pub(crate) fn site(self, purse: Box<dyn Purse>) -> (Site, Config) {
        let places = self.config.peers.iter().map(place).collect();
        let mut site = Site::new(self.node, self.events, self.shelf, places, purse);
        site.set_mirrors(self.config.mirrors.iter().filter_map(mirror).collect());
        (site, self.config)
    }
}

/// How long members of the site are waited for before a link that costs is used. Discovery took
/// 0.8 to 1.0 s where it was measured.
pub(crate) const QUIET: Duration = Duration::from_millis(1_500);

/// The link that a configuration always has of this class.
fn built_in(config: &Config, class: Class) -> Profile {
    let link = config.links.get(class.name()).cloned();
    link.unwrap_or_else(|| Profile::of_class(class.name(), class))
}

fn place(peer: &config::Peer) -> Place {
    let host = &peer.address.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Place {
        address: format!("{host}:{}", peer.address.port),
        device: peer.device.as_ref().map(ToString::to_string),
        link: peer.link.clone(),
    }
}

/// A mirror that cannot be used is no reason to ask nobody.
fn mirror(mirror: &config::Mirror) -> Option<Mirror> {
    let opened = Mirror::open(&mirror.place, &mirror.link);
    opened.inspect_err(|error| eprintln!("{}: not used: {error}", named(&mirror.place))).ok()
}

fn named(place: &MirrorPlace) -> String {
    match place {
        MirrorPlace::Web(url) | MirrorPlace::Bucket(url) => url.clone(),
        MirrorPlace::Folder(path) => path.display().to_string(),
    }
}

/// Who this node is and whom it admits.
fn identity(config: &Config, counts: Counts) -> Result<(Identity, Arc<Admission>), Failure> {
    let Some(files) = &config.identity else {
        let error = "no `[identity]` in the configuration: peers admit devices of their fleet only";
        let next = "neap ca request, then name certificate, key and authority (docs/identity.md)";
        return Err(Failure::new(Exit::Usage, error.into(), next));
    };
    let authority = ca::authority(&files.authority)?;
    let (certificate, key) = own(files, &authority)?;
    let crl = files.crl.as_ref().map(|path| ca::list_of(path, &authority)).transpose()?;
    let known = files.certificates.as_ref().map(|path| certificates_at(path, &authority));
    let known = known.transpose()?.unwrap_or_default();
    let admission = Admission::new(
        authority,
        crl,
        Box::new(now),
        Box::new(move |refused| {
            counts.refused(refused);
            eprintln!("refused: {refused}");
        }),
    );
    known.into_iter().for_each(|certificate| admission.add(certificate));
    Ok((Identity { certificate, signer: Arc::new(key) }, Arc::new(admission)))
}

/// A device's own certificate and key.
pub(crate) fn own(
    files: &config::Identity,
    authority: &Authority,
) -> Result<(Certificate, DeviceFileKey), Failure> {
    let of = |path: &PathBuf, error: IdentityError| ca::of_identity(path, error);
    let shown = ca::limited(&files.certificate, CERTIFICATE_LEN_MAX)?;
    let certificate =
        authority.certificate(&shown).map_err(|error| of(&files.certificate, error))?;
    let pem = ca::limited(&files.key, CERTIFICATE_LEN_MAX)?;
    let key = String::from_utf8(pem).ok().and_then(|pem| DeviceFileKey::from_pem(&pem).ok());
    let wrong = |fact: &str| {
        let next = "name the key that the certificate was requested with";
        Failure::new(Exit::Usage, format!("{}: {fact}", files.key.display()), next)
    };
    let key = key.ok_or_else(|| wrong("no private key of Ed25519 or P-256 in PEM"))?;
    match key.device_key() == *certificate.key() {
        true => Ok((certificate, key)),
        false => Err(wrong("not the key of the certificate")),
    }
}

/// The known time: never before this program was built.
pub(crate) fn now() -> Timestamp {
    let clock = check::clock();
    clock.rtc.unwrap_or(clock.build).max(clock.build)
}

/// Longest file of a certificate or key.
const CERTIFICATE_LEN_MAX: u64 = 64 << 10;
