//! What peers ask of us. Nothing that they ask costs more than a few pieces of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use neap_engine::digest::Digest;
use quinn::{Connection, SendStream};
use tokio::sync::Semaphore;

use crate::groups::Groups;
use crate::limits::{RECEIPT_DEVICES_MAX, REQUEST_LEN_MAX, REQUEST_MS_MAX};
use crate::shelf::Shelf;
use crate::slice::{Step, Steps};
use crate::wire::{Request, Status, encode_receipts};

/// What answering counts.
#[derive(Debug, Default)]
pub struct Served {
    /// Bytes of answers.
    pub bytes: AtomicU64,
    /// Requests that were no requests, or came too slowly.
    pub malformed: AtomicU64,
}

/// Answers what a peer asks until its connection ends.
pub(super) async fn answer_all(connection: Connection, shelf: Shelf, served: Arc<Served>) {
    let at_once = Arc::new(Semaphore::new(ANSWERS_AT_ONCE));
    let mut number = 0_i32;
    while let Ok((mut send, mut asked)) = connection.accept_bi().await {
        // What was asked first is sent first: streams that share a link would all end late.
        number = number.saturating_sub(1);
        if send.set_priority(number).is_err() {
            continue;
        }
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { return };
        let (shelf, served) = (shelf.clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let limit = Duration::from_millis(REQUEST_MS_MAX);
            let read = tokio::time::timeout(limit, asked.read_to_end(REQUEST_LEN_MAX)).await;
            let request = match read {
                Ok(Ok(bytes)) => Request::decode(&bytes).ok(),
                _ => None,
            };
            let answered = match request {
                Some(request) => answer(&mut send, request, &shelf, &served).await,
                None => {
                    served.malformed.fetch_add(1, Ordering::Relaxed);
                    say(&mut send, Status::Refused).await
                }
            };
            // A stream that cannot be ended is gone already.
            if answered.is_some() {
                drop(send.finish());
            }
            drop(permit);
        });
    }
}

/// Answers one request; nothing if the stream is gone.
async fn answer(
    send: &mut SendStream,
    request: Request,
    shelf: &Shelf,
    served: &Served,
) -> Option<()> {
    match request {
        Request::Blob { blob, groups } => return slice(send, blob, groups, shelf, served).await,
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
    blob: Digest,
    groups: Groups,
    shelf: &Shelf,
    served: &Served,
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
            size += match step {
                Step::Pair(_) => neap_depot::tree::PAIR_LEN,
                Step::Group { len, .. } => len,
            };
            piece.push(step);
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
        send.write_all(&bytes).await.ok()?;
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
