//! What peers ask of us. Nothing that they ask costs more than a few pieces of memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use neap_engine::digest::Digest;
use quinn::{Connection, SendStream};
use tokio::sync::Semaphore;

use crate::allowance::Allowance;
use crate::groups::Groups;
use crate::limits::{
    RECEIPT_DEVICES_MAX, RECEIPTS_PER_CONNECTION_MAX, REQUEST_COST_BURST, REQUEST_COST_PER_S,
    REQUEST_LEN_MAX,
};
use crate::quota::Quota;
use crate::receipts::Bearer;
use crate::shelf::Shelf;
use crate::slice::Steps;
use crate::tls::Admission;
use crate::wire::{Request, Status, encode_files, encode_receipts};

/// What answering counts.
#[derive(Debug)]
pub struct Served {
    start: Instant,
    /// Bytes of answers.
    pub bytes: AtomicU64,
    /// Requests that were no requests, or came too slowly.
    pub malformed: AtomicU64,
}

impl Default for Served {
    fn default() -> Self {
        Self { start: Instant::now(), bytes: AtomicU64::new(0), malformed: AtomicU64::new(0) }
    }
}

/// Who asks.
pub(super) struct Asker {
    /// Its device name.
    pub(super) name: String,
    /// What it may be sent in a day, if that is bounded.
    pub(super) quota: Option<Arc<Mutex<Quota>>>,
    /// Whether it is a member of the site.
    pub(super) same_site: bool,
    /// What receipts are judged by.
    pub(super) admission: Arc<Admission>,
    /// How long its requests may take to arrive.
    pub(super) patience: Duration,
}

impl Asker {
    /// Whether it may be sent so many bytes more.
    fn may_have(&self, bytes: u64, served: &Served) -> bool {
        let Some(quota) = &self.quota else { return true };
        let mut quota = quota.lock().unwrap_or_else(PoisonError::into_inner);
        quota.take(&self.name, bytes, served.start.elapsed())
    }
}

/// Answers what a peer asks until its connection ends.
pub(super) async fn answer_all(
    connection: Connection,
    shelf: Shelf,
    served: Arc<Served>,
    asker: Asker,
) {
    let asker = Arc::new(asker);
    let at_once = Arc::new(Semaphore::new(ANSWERS_AT_ONCE));
    let account = Arc::new(Account::new());
    let mut number = 0_i32;
    while let Ok((mut send, mut asked)) = connection.accept_bi().await {
        // What was asked first is sent first: streams that share a link would all end late.
        number = number.saturating_sub(1);
        if send.set_priority(number).is_err() {
            continue;
        }
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { return };
        let (shelf, served, account) = (shelf.clone(), Arc::clone(&served), Arc::clone(&account));
        let asker = Arc::clone(&asker);
        tokio::spawn(async move {
            let read =
                tokio::time::timeout(asker.patience, asked.read_to_end(REQUEST_LEN_MAX)).await;
            let request = match read {
                Ok(Ok(bytes)) => Request::decode(&bytes).ok().filter(|it| is_fair(it, &asker)),
                _ => None,
            };
            account.pay(request.as_ref().map_or(1, Request::cost)).await;
            let answered = match request {
                Some(Request::PutReceipt { .. }) if !account.has_room_for_receipt() => {
                    say(&mut send, Status::Busy).await
                }
                Some(request) => answer(&mut send, request, &shelf, &served, &asker).await,
                None => {
                    served.malformed.fetch_add(1, Ordering::Relaxed);
                    say(&mut send, Status::Refused).await
                }
            };
            drop(permit);
            // A stream that cannot be ended is gone already.
            if answered.is_some()
                && send.finish().is_ok()
                && let Ok(Some(code)) = send.stopped().await
            {
                // What waits to be sent and is not wanted any more would be sent all the same.
                drop(send.reset(code));
            }
        });
    }
}

/// What one connection has asked so far.
struct Account {
    start: Instant,
    allowance: Mutex<Allowance>,
    receipts: AtomicU64,
}

impl Account {
    fn new() -> Self {
        let allowance = Mutex::new(Allowance::new(REQUEST_COST_PER_S, REQUEST_COST_BURST));
        Self { start: Instant::now(), allowance, receipts: AtomicU64::new(0) }
    }

    /// Whoever asks for too much waits, and its next requests wait behind it.
    async fn pay(&self, cost: u64) {
        let wait = {
            let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
            allowance.take(cost, self.start.elapsed())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn has_room_for_receipt(&self) -> bool {
        self.receipts.fetch_add(1, Ordering::Relaxed) < RECEIPTS_PER_CONNECTION_MAX
    }
}

/// Whether a receipt is one, of the device and with the number that are said, and the asker may
/// bring it: one that is kept cannot be replaced by the true one.
fn is_fair(request: &Request, asker: &Asker) -> bool {
    let Request::PutReceipt { device, sequence, bytes } = request else { return true };
    let bearer = Bearer { name: &asker.name, same_site: asker.same_site };
    asker.admission.receipt(bytes, (device, *sequence), &bearer).is_ok()
}

/// Answers one request; nothing if the stream is gone.
async fn answer(
    send: &mut SendStream,
    request: Request,
    shelf: &Shelf,
    served: &Served,
    asker: &Asker,
) -> Option<()> {
    match request {
        Request::Blob { blob, groups } => {
            return slice(send, (blob, groups), shelf, served, asker).await;
        }
        Request::Metadata { name, len_max } => {
            let found = shelf.metadata(&name, u64::from(len_max)).await;
            short(send, found, served).await
        }
        Request::PutReceipt { device, sequence, bytes } => {
            let kept = shelf.put_receipt(device, sequence, bytes).await;
            let status = match kept {
                Ok(_) => Status::Ok,
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Status::Busy,
                Err(_) => Status::Refused,
            };
            say(send, status).await
        }
        Request::Receipts => {
            let found = shelf.receipts().await.map(|mut receipts| {
                receipts.truncate(RECEIPT_DEVICES_MAX);
                Some(encode_receipts(&receipts))
            });
            short(send, found, served).await
        }
        Request::Receipt { device, sequence } => {
            short(send, shelf.receipt(device, sequence).await, served).await
        }
        Request::Latest { groups, kept } => {
            let found = shelf.latest(groups, kept).await.map(|files| Some(encode_files(&files)));
            short(send, found, served).await
        }
        Request::Has(blobs) => {
            let mut out = Vec::new();
            for blob in blobs {
                let len = shelf.len(blob).await.ok().flatten().unwrap_or(u64::MAX);
                out.extend_from_slice(&len.to_le_bytes());
            }
            short(send, Ok(Some(out)), served).await
        }
    }
}

async fn short(
    send: &mut SendStream,
    found: std::io::Result<Option<Vec<u8>>>,
    served: &Served,
) -> Option<()> {
    match found {
        Ok(Some(bytes)) => {
            say(send, Status::Ok).await?;
            served.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            send.write_all(&bytes).await.ok()
        }
        Ok(None) => say(send, Status::None).await,
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            say(send, Status::Refused).await
        }
        Err(_) => say(send, Status::Failed).await,
    }
}

/// Sends groups with what proves them, a piece at a time.
async fn slice(
    send: &mut SendStream,
    (blob, groups): (Digest, Groups),
    shelf: &Shelf,
    served: &Served,
    asker: &Asker,
) -> Option<()> {
    let len = match shelf.blob_len(blob).await {
        Ok(Some(len)) => len,
        Ok(None) => return say(send, Status::None).await,
        Err(_) => return say(send, Status::Failed).await,
    };
    let mut steps = Steps::new(len, groups).peekable();
    let mut begun = false;
    while steps.peek().is_some() {
        let (mut piece, mut size) = (Vec::new(), 0);
        while size < PIECE_LEN
            && let Some(step) = steps.next()
        {
            size += step.size();
            piece.push(step);
        }
        if !asker.may_have(size as u64, served) {
            if !begun {
                return say(send, Status::Busy).await;
            }
            drop(send.reset(quinn::VarInt::from_u32(u32::from(Status::Busy.byte()))));
            return None;
        }
        let bytes = match shelf.steps(blob, piece).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) if !begun => return say(send, Status::None).await,
            Err(_) if !begun => return say(send, Status::Failed).await,
            // The stream is reset: what was sent is right, and the rest is not here.
            _ => {
                drop(send.reset(quinn::VarInt::from_u32(u32::from(Status::Failed.byte()))));
                return None;
            }
        };
        if !begun {
            say(send, Status::Ok).await?;
            send.write_all(&len.to_le_bytes()).await.ok()?;
            begun = true;
        }
        served.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        send.write_chunk(bytes.into()).await.ok()?;
    }
    if begun { Some(()) } else { say(send, Status::None).await }
}

async fn say(send: &mut SendStream, status: Status) -> Option<()> {
    send.write_all(&[status.byte()]).await.ok()
}

/// Answers that are made for one peer at a time; more wait their turn.
const ANSWERS_AT_ONCE: usize = 4;

/// What is read from the depot at once, in bytes.
const PIECE_LEN: usize = 128 << 10;
