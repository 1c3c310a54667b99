//! What `neap serve` and `neap fetch` count, and where it goes: over HTTP, to a file.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use neap_peer::config::Config;
use neap_peer::metrics::{Metrics, Reason};
use neap_peer::quic::metrics_http::{self, Listener};
use neap_peer::quic::node::Node;
use neap_peer::tls::Refused;
use tokio::task::JoinHandle;

/// What a verb counts. Copies are the same.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    metrics: Arc<Mutex<Metrics>>,
}

impl Counts {
    pub(crate) fn new(verb: &str, site: &str) -> Self {
        let metrics = Metrics {
            version: env!("CARGO_PKG_VERSION").into(),
            site: site.into(),
            verb: verb.into(),
            ..Metrics::default()
        };
        Self { metrics: Arc::new(Mutex::new(metrics)) }
    }

    /// To count.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts who was not admitted.
    pub(crate) fn refused(&self, refused: &Refused) {
        self.lock().reject(match refused {
            Refused::Revoked { .. } => Reason::Revoked,
            _ => Reason::Identity,
        });
    }
}

/// Enters what the node itself counts.
pub(crate) fn enter_node(metrics: &mut Metrics, node: &Node) {
    metrics.sent = node.sent();
    for peer in node.peers() {
        *metrics.peers.entry(peer.class).or_default() += 1;
    }
    let malformed = node.served().malformed.load(Ordering::Relaxed);
    metrics.rejected.insert(Reason::Malformed, malformed);
    metrics.rejected.insert(Reason::Limit, node.turned_away());
}

/// Shows metrics for as long as it lives.
pub(crate) struct Exporter {
    tasks: Vec<JoinHandle<()>>,
    file: Option<PathBuf>,
    text: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Exporter {
    /// Begins as the configuration says. What does not work is said and no reason to stop.
    pub(crate) async fn start(
        config: &Config,
        verb: &str,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let text: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(text);
        let mut tasks = Vec::new();
        if let Some(address) = config.metrics.listen {
            match Listener::bind(address).await {
                Ok(listener) => {
                    let text = Arc::clone(&text);
                    tasks.push(tokio::spawn(listener.serve(move || text())));
                }
                Err(error) => eprintln!("no metrics at {address}: {error}"),
            }
        }
        let file = config.metrics.textfile.as_ref().map(|path| of_verb(path, verb));
        if let Some(path) = file.clone() {
            let text = Arc::clone(&text);
            tasks.push(tokio::spawn(async move {
                let mut told = false;
                loop {
                    told = put(&path, &text(), told);
                    tokio::time::sleep(EVERY).await;
                }
            }));
        }
        Self { tasks, file, text }
    }

    /// Ends it; the file keeps the last counts.
    pub(crate) fn end(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(path) = &self.file {
            put(path, &(self.text)(), false);
        }
    }
}

/// Writes the file. Whether people were told that it cannot be written.
fn put(path: &Path, text: &str, told: bool) -> bool {
    match metrics_http::write(path, text) {
        Ok(()) => false,
        Err(error) => {
            if !told {
                eprintln!("no metrics in {}: {error}", path.display());
            }
            true
        }
    }
}

/// `neap serve` has the file that is configured; other verbs have theirs beside it, for both may
/// run at a time: `neap.prom` and `neap-fetch.prom`.
fn of_verb(path: &Path, verb: &str) -> PathBuf {
    if verb == "serve" {
        return path.to_owned();
    }
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into();
    let (stem, ending): (String, String) = (part(path.file_stem()), part(path.extension()));
    let dot = if ending.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{verb}{dot}{ending}"))
}

/// How often the file is written. Prometheus asks that often where nothing else is said.
const EVERY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_file() {
        let of = |path: &str, verb: &str| of_verb(Path::new(path), verb).display().to_string();
        assert_eq!(of("/m/neap.prom", "serve"), "/m/neap.prom");
        assert_eq!(of("/m/neap.prom", "fetch"), "/m/neap-fetch.prom");
        assert_eq!(of("/m/neap", "fetch"), "/m/neap-fetch");
    }
}
