//! Metadata from a peer, verified by the client of `neap_trust`, and then kept for others to read.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;
use neap_trust::client::directory::StateFolder;
use neap_trust::client::{Ask, Checked, Refusal, check};
use neap_trust::limits::{ROOT_LEN_MAX, ROOTS_PROBED, TIMESTAMP_LEN_MAX};
use neap_trust::state::{MemoryState, State};
use neap_trust::time::Clock;
use quinn::Connection;
use tokio::runtime::Handle;

use super::ask::{self, AskError};
use crate::limits::LATEST_GROUPS_MAX;
use crate::shelf::Shelf;
use crate::slice;

/// What is asked for, by whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Groups whose roles are read.
    pub groups: Vec<String>,
    /// The root that came with the device.
    pub root: Option<Vec<u8>>,
    /// What the device remembers.
    pub state: StateFolder,
    /// What tells the time.
    pub clock: Clock,
}

/// Reads metadata from a peer, or, without one, from the node's own depot. What was verified is
/// kept in the depot: all of it, or, if anything is wrong with it, nothing.
///
/// # Errors
/// What [`check`] refuses. That of a peer which is gone is [`io::ErrorKind::TimedOut`] in it.
pub async fn sync(
    from: Option<Connection>,
    shelf: &Shelf,
    wanted: Wanted,
) -> Result<Checked, Refusal> {
    let Some(connection) = from else { return read(Origin::Own, Vec::new(), shelf, wanted).await };
    let ahead = prefetch(&connection, shelf, &wanted.groups).await;
    read(Origin::Peer(connection), ahead, shelf, wanted).await
}

/// The same, from any carrier, such as a mirror.
///
/// # Errors
/// As [`sync`].
pub async fn sync_from(
    carrier: Arc<dyn Carrier>,
    shelf: &Shelf,
    wanted: Wanted,
) -> Result<Checked, Refusal> {
    read(Origin::Carrier(carrier), Vec::new(), shelf, wanted).await
}

async fn read(
    from: Origin,
    ahead: Vec<(String, Option<Vec<u8>>)>,
    shelf: &Shelf,
    wanted: Wanted,
) -> Result<Checked, Refusal> {
    let (handle, own) = (Handle::current(), shelf.clone());
    let checking = tokio::task::spawn_blocking(move || {
        let carrier = Far {
            handle,
            from,
            shelf: own,
            ahead,
            read: Mutex::default(),
            documents: Mutex::default(),
        };
        let groups: Vec<_> = wanted.groups.iter().map(String::as_str).collect();
        let (root, clock) = (wanted.root.as_deref(), wanted.clock);
        let ask = Ask { groups: &groups, root, clock, seen: None };
        let mut state = wanted.state;
        // What the device remembers may spare it a file that others will ask us for.
        if !matches!(carrier.from, Origin::Own) {
            let read = check(&carrier, &mut copied_root(&state, root), &ask);
            // What has expired may do by the profile that the device remembers.
            if let Err(refusal) = read
                && refusal.exit_code() != EXPIRED
            {
                return Err(refusal);
            }
        }
        let checked = check(&carrier, &mut state, &ask)?;
        Ok((checked, carrier.taken()))
    });
    let failed = |error: io::Error| Refusal::State { name: "the depot".into(), error };
    let joined = checking.await.map_err(|error| failed(io::Error::other(error)))?;
    let (checked, (files, documents)) = joined?;
    let kept = async {
        shelf.mirror(files).await?;
        for (digest, bytes) in documents {
            shelf.document(digest, bytes).await?;
        }
        Ok(())
    };
    kept.await.map_err(failed)?;
    Ok(checked)
}

/// The exit code of what has expired (docs/exit-codes.md).
const EXPIRED: u8 = 8;

/// A memory that knows no more than where to begin.
fn copied_root(state: &StateFolder, pinned: Option<&[u8]>) -> MemoryState {
    let mut memory = MemoryState::default();
    if pinned.is_none()
        && let Ok(Some(root)) = state.load("root.json")
    {
        // Memory takes what it is given.
        drop(memory.store("root.json", &root));
    }
    memory
}

/// Asks at once for what is certainly read, so that one round trip brings it.
async fn prefetch(
    connection: &Connection,
    shelf: &Shelf,
    groups: &[String],
) -> Vec<(String, Option<Vec<u8>>)> {
    let mut root = 1;
    while let Ok(Some(_)) = shelf.metadata(&format!("{root}.root.json"), ROOT_LEN_MAX).await {
        root += 1;
    }
    let roots = (root..=root + ROOTS_PROBED).map(|version| format!("{version}.root.json"));
    let asks = roots.map(|name| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let found = ask::metadata(&connection, &name, ROOT_LEN_MAX).await;
            found.ok().map(|found| (name, found))
        })
    });
    let asks: Vec<_> = asks.collect();
    let groups: Vec<_> = groups.iter().take(LATEST_GROUPS_MAX).cloned().collect();
    let own = shelf.latest(groups.clone(), Vec::new()).await.unwrap_or_default();
    let kept = own.into_iter().map(|(name, _)| name).filter(|name| name != "timestamp.json");
    // A peer that does not answer this is asked for one file after the other.
    let latest = ask::latest(connection, groups, kept.collect()).await.unwrap_or_default();
    let mut ahead: Vec<_> = latest.into_iter().map(|(name, bytes)| (name, Some(bytes))).collect();
    for asked in asks {
        ahead.extend(asked.await.ok().flatten());
    }
    ahead
}

/// Where what is not here is asked for.
enum Origin {
    /// Nowhere.
    Own,
    Peer(Connection),
    Carrier(Arc<dyn Carrier>),
}

/// A source as a carrier: what is kept here already is not asked for again.
struct Far {
    handle: Handle,
    from: Origin,
    shelf: Shelf,
    /// What a peer gave ahead: whatever it chose.
    ahead: Vec<(String, Option<Vec<u8>>)>,
    /// What was used, or was not there.
    read: Mutex<Vec<(String, Option<Vec<u8>>)>>,
    documents: Mutex<Vec<(Digest, Vec<u8>)>>,
}

type Taken = (Vec<(String, Vec<u8>)>, Vec<(Digest, Vec<u8>)>);

impl Far {
    fn taken(self) -> Taken {
        let files = self.read.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        let files = files.filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        (files, self.documents.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was used before, or came ahead. Of the latter only what is used is kept: the rest was
    /// never asked for.
    fn known(&self, name: &str) -> Option<Option<Vec<u8>>> {
        let named = |files: &[(String, Option<Vec<u8>>)]| {
            files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let used = named(&read);
        if used.is_none()
            && let Some(bytes) = named(&self.ahead)
        {
            read.push((name.to_owned(), bytes.clone()));
            return Some(bytes);
        }
        used
    }
}

impl Carrier for Far {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        if let Some(known) = self.known(name) {
            if known.as_ref().is_some_and(|bytes| bytes.len() as u64 > len_max) {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            return Ok(known);
        }
        // Versions never change; the timestamp is what tells that there is something new.
        if matches!(self.from, Origin::Own) || name != "timestamp.json" {
            let kept = self.handle.block_on(self.shelf.metadata(name, len_max))?;
            if kept.is_some() || matches!(self.from, Origin::Own) {
                return Ok(kept);
            }
        }
        let found = match &self.from {
            Origin::Own => return Ok(None),
            Origin::Peer(connection) => {
                self.handle.block_on(ask::metadata(connection, name, len_max)).map_err(of_ask)?
            }
            Origin::Carrier(carrier) => carrier.metadata(name, len_max)?,
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.push((name.to_owned(), found.clone()));
        Ok(found)
    }

    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(digest) = Digest::from_hex(blake3) else { return Ok(None) };
        if let Some(len) = self.handle.block_on(self.shelf.len(digest))? {
            return self.handle.block_on(kept_document(&self.shelf, digest, len, len_max));
        }
        let bytes = match &self.from {
            Origin::Own => None,
            Origin::Peer(connection) => self.ask_document(connection, digest, len_max)?,
            Origin::Carrier(carrier) => carrier.document(blake3, len_max)?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        if Digest::of(&bytes) != digest {
            let text = format!("{blake3}: the bytes are not those of this digest");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.push((digest, bytes.clone()));
        Ok(Some(bytes))
    }
}

impl Far {
    fn ask_document(
        &self,
        connection: &Connection,
        digest: Digest,
        len_max: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let asked = [digest];
        let lens = self.handle.block_on(ask::has(connection, &asked)).map_err(of_ask)?;
        let Some(len) = lens.first().copied().flatten() else { return Ok(None) };
        if len > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let asking = ask::document(connection, digest, len);
        self.handle.block_on(asking).map(Some).map_err(of_ask)
    }
}

async fn kept_document(
    shelf: &Shelf,
    digest: Digest,
    len: u64,
    len_max: u64,
) -> io::Result<Option<Vec<u8>>> {
    if len > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let steps = slice::Steps::new(len, slice::all(len)).collect();
    let Some(slice) = shelf.steps(digest, steps).await? else { return Ok(None) };
    let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let bytes = slice::whole(&digest, len, &slice).map_err(damaged)?;
    bytes.map(Some).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn of_ask(error: AskError) -> io::Error {
    let kind = match error {
        AskError::Lost(_) => io::ErrorKind::TimedOut,
        AskError::Status(_) => io::ErrorKind::Other,
        AskError::Wire(_) => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error.to_string())
}

/// What members of a site tell each other of: the newest timestamp in the depot.
///
/// # Errors
/// If the depot fails.
pub async fn fresh(shelf: &Shelf) -> io::Result<Option<Arc<[u8]>>> {
    Ok(shelf.metadata("timestamp.json", TIMESTAMP_LEN_MAX).await?.map(Arc::from))
}
