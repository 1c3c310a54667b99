//! What we ask of a peer. Whatever comes back is verified before it is kept or given on.

use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use neap_depot::name::Device;
use neap_engine::digest::Digest;
use quinn::{Connection, RecvStream};
use tokio::time::Instant;

use super::take::Taker;
use crate::groups::Groups;
use crate::limits::LATEST_LEN_MAX;
use crate::shelf::Shelf;
use crate::slice::{self, SliceError};
use crate::swarm::End;
use crate::wire::{Request, Status, WireError, decode_files};

/// Why an answer did not come.
#[derive(Debug)]
#[non_exhaustive]
pub enum AskError {
    /// The connection ended, or nothing came for too long.
    Lost(String),
    /// The peer said no.
    Status(Status),
    /// What came is no answer to what was asked.
    Wire(WireError),
}

/// Groups of a blob that came and are kept.
pub struct Came(pub Groups);

/// Asks for groups of a blob, keeps what is right, and tells `came` of it as it comes. Returns how
/// it ended; dropping the future stops the peer.
///
/// # Errors
/// If our own depot fails.
pub async fn blob(
    connection: &Connection,
    shelf: &Shelf,
    (blob, len): (Digest, u64),
    groups: Groups,
    mut came: impl FnMut(Came),
) -> io::Result<(End, Option<String>)> {
    let request = Request::Blob { blob, groups: groups.clone() };
    let mut answer = match begin(connection, &request).await {
        Ok(answer) => answer,
        Err(AskError::Status(Status::None)) => return Ok((End::Lacking, None)),
        Err(AskError::Status(Status::Busy)) => return Ok((End::Busy, None)),
        Err(AskError::Status(Status::Failed | Status::Refused)) => return Ok((End::Lost, None)),
        Err(AskError::Wire(error)) => return Ok((End::Wrong, Some(error.to_string()))),
        Err(error) => return Ok((End::Lost, Some(error.to_string()))),
    };
    let mut head = [0; 8];
    if answer.read_exact(&mut head).await.is_err() {
        return Ok((End::Lost, None));
    }
    if u64::from_le_bytes(head) != len {
        let found = u64::from_le_bytes(head);
        return Ok((End::Wrong, Some(format!("a blob of {found} bytes, {len} are signed"))));
    }
    let mut taker = Taker::new(shelf, (blob, len), groups);
    let mut chunks: [Bytes; 32] = std::array::from_fn(|_| Bytes::new());
    // The one group of an empty blob is there without a byte of it.
    let mut ended = taker.split(&[]);
    // One batch is on its way to the disk while the next one comes: many short ones would cost more
    // in waking threads than in bytes.
    let mut keeping = None;
    let due = tokio::time::sleep(BATCH_TIME);
    tokio::pin!(due);
    loop {
        let is_full = taker.complete() >= BATCH_LEN || ended.is_some() || taker.is_done();
        if keeping.is_none() && taker.has_pieces() && (is_full || due.is_elapsed()) {
            keeping = Some(Box::pin(taker.keep()));
        }
        let may_read = ended.is_none() && taker.complete() < BATCH_LEN;
        tokio::select! {
            kept = async { keeping.as_mut().expect("it is some").await }, if keeping.is_some() => {
                keeping = None;
                let (new, wrong) = kept?;
                if !new.is_empty() {
                    came(Came(new));
                }
                if let Some((end, why)) = wrong {
                    return Ok((end, Some(why)));
                }
            }
            read = answer.read_chunks(&mut chunks), if may_read => match read {
                Ok(Some(count)) => {
                    if !taker.has_pieces() {
                        due.as_mut().reset(Instant::now() + BATCH_TIME);
                    }
                    let longer = |chunk: &mut Bytes| taker.split(&std::mem::take(chunk));
                    ended = chunks[..count].iter_mut().find_map(longer);
                }
                Ok(None) if taker.is_done() => ended = Some((End::Done, String::new())),
                Ok(None) => ended = Some((End::Lacking, String::new())),
                Err(_) => ended = Some((End::Lost, String::new())),
            },
            () = &mut due, if keeping.is_none() && taker.has_pieces() => {}
            else => {}
        }
        if let Some((end, why)) = ended.take_if(|_| keeping.is_none() && !taker.has_pieces()) {
            return Ok((end, Some(why).filter(|why| !why.is_empty())));
        }
    }
}

/// Bytes of one answer that are kept at once; as many may wait for those before them.
const BATCH_LEN: usize = 128 << 10;

/// How long fewer bytes wait for more.
const BATCH_TIME: Duration = Duration::from_millis(2);

/// Asks for a whole short blob.
///
/// # Errors
/// If it does not come or is not that blob.
pub async fn document(
    connection: &Connection,
    blob: Digest,
    len: u64,
) -> Result<Vec<u8>, AskError> {
    let request = Request::Blob { blob, groups: slice::all(len) };
    let pairs = neap_depot::tree::tree_len(len);
    let answer = whole(connection, &request, len + pairs).await?;
    let answer = answer.ok_or(AskError::Status(Status::None))?;
    let wrong = |_| AskError::Wire(WireError::Value { what: "a blob" });
    let ended = || AskError::Wire(WireError::Length { what: "a blob" });
    let (head, slice) = answer.split_at_checked(8).ok_or_else(ended)?;
    if head != len.to_le_bytes() {
        return Err(wrong(SliceError::Longer));
    }
    slice::whole(&blob, len, slice).map_err(wrong)?.ok_or_else(ended)
}

/// Asks for a metadata file: nothing if the peer has none of this name.
///
/// # Errors
/// If no answer comes, or more than `len_max` bytes.
pub async fn metadata(
    connection: &Connection,
    name: &str,
    len_max: u64,
) -> Result<Option<Vec<u8>>, AskError> {
    let asked = u32::try_from(len_max).unwrap_or(u32::MAX);
    let asked = asked.min(u32::try_from(neap_depot::limits::METADATA_LEN_MAX).unwrap_or(u32::MAX));
    let request = Request::Metadata { name: name.to_owned(), len_max: asked };
    whole(connection, &request, u64::from(asked)).await
}

/// Asks for the newest metadata of groups, without the files that are `kept`. Nothing in it was
/// verified.
///
/// # Errors
/// If no answer comes.
pub async fn latest(
    connection: &Connection,
    groups: Vec<String>,
    kept: Vec<String>,
) -> Result<Vec<(String, Vec<u8>)>, AskError> {
    let request = Request::Latest { groups, kept };
    let bytes = whole(connection, &request, LATEST_LEN_MAX).await?.unwrap_or_default();
    decode_files(&bytes).map_err(AskError::Wire)
}

/// Gives a receipt.
///
/// # Errors
/// If the peer does not take it.
pub async fn put_receipt(
    connection: &Connection,
    device: Device,
    sequence: u64,
    bytes: Vec<u8>,
) -> Result<(), AskError> {
    in_time(begin(connection, &Request::PutReceipt { device, sequence, bytes })).await.map(drop)
}

/// Asks for what receipts the peer has: of each device the highest number.
///
/// # Errors
/// If no answer comes.
pub async fn receipts(connection: &Connection) -> Result<Vec<(Device, u64)>, AskError> {
    let max = crate::limits::FRAME_LEN_MAX as u64;
    let bytes = whole(connection, &Request::Receipts, max).await?.unwrap_or_default();
    crate::wire::decode_receipts(&bytes).map_err(AskError::Wire)
}

/// Asks for a receipt.
///
/// # Errors
/// If no answer comes.
pub async fn receipt(
    connection: &Connection,
    device: Device,
    sequence: u64,
) -> Result<Option<Vec<u8>>, AskError> {
    let request = Request::Receipt { device, sequence };
    whole(connection, &request, neap_depot::limits::RECEIPT_LEN_MAX).await
}

/// Asks which blobs the peer has whole: their lengths.
///
/// # Errors
/// If no answer comes.
pub async fn has(connection: &Connection, blobs: &[Digest]) -> Result<Vec<Option<u64>>, AskError> {
    let request = Request::Has(blobs.to_vec());
    let bytes = whole(connection, &request, 8 * blobs.len() as u64).await?.unwrap_or_default();
    let lens = bytes.chunks_exact(8).map(|len| {
        let len = u64::from_le_bytes(len.try_into().unwrap_or_default());
        (len != u64::MAX).then_some(len)
    });
    let lens: Vec<_> = lens.collect();
    match lens.len() == blobs.len() {
        true => Ok(lens),
        false => Err(AskError::Wire(WireError::Length { what: "lengths of blobs" })),
    }
}

/// A short answer, all of it.
async fn whole(
    connection: &Connection,
    request: &Request,
    len_max: u64,
) -> Result<Option<Vec<u8>>, AskError> {
    let answer = in_time(begin(connection, request)).await;
    let mut answer = match answer {
        Err(AskError::Status(Status::None)) => return Ok(None),
        answer => answer?,
    };
    let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
    let lost = |error: quinn::ReadToEndError| match error {
        quinn::ReadToEndError::TooLong => AskError::Wire(WireError::TooLong {
            what: "answer",
            found: len_max as u64 + 1,
            allowed: len_max as u64,
        }),
        other => AskError::Lost(other.to_string()),
    };
    in_time(async { answer.read_to_end(len_max).await.map_err(lost) }).await.map(Some)
}

/// Sends a request on a stream of its own and takes the status of its answer.
async fn begin(connection: &Connection, request: &Request) -> Result<RecvStream, AskError> {
    let lost = |error: &dyn fmt::Display| AskError::Lost(error.to_string());
    let (mut send, mut answer) = connection.open_bi().await.map_err(|error| lost(&error))?;
    send.write_all(&request.encode()).await.map_err(|error| lost(&error))?;
    send.finish().map_err(|error| lost(&error))?;
    let mut status = [0];
    answer.read_exact(&mut status).await.map_err(|error| lost(&error))?;
    match Status::of(status[0]).map_err(AskError::Wire)? {
        Status::Ok => Ok(answer),
        other => Err(AskError::Status(other)),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    let late = |_| AskError::Lost(format!("no answer within {} s", ANSWER.as_secs()));
    tokio::time::timeout(ANSWER, work).await.map_err(late)?
}

/// How long a short answer may take: metadata over a slow link.
const ANSWER: Duration = Duration::from_secs(60);

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => f.write_str(why),
            Self::Status(Status::None) => f.write_str("the peer does not have it"),
            Self::Status(Status::Refused) => f.write_str("the peer refuses"),
            Self::Status(Status::Busy) => f.write_str("the peer is busy"),
            Self::Status(_) => f.write_str("the peer's depot is damaged or cannot be read"),
            Self::Wire(error) => write!(f, "the peer does not keep to the protocol: {error}"),
        }
    }
}

impl std::error::Error for AskError {}
