//! Requests, one to a stream; the asking side ends its half after it. The answer begins with a
//! [`Status`].

use neap_depot::limits::{DEVICE_LEN_MAX, FILE_NAME_LEN_MAX, METADATA_LEN_MAX, RECEIPT_LEN_MAX};
use neap_depot::name::Device;
use neap_engine::digest::Digest;

use super::WireError;
use super::bytes::{Reader, check_len, put_groups, put_text};
use crate::groups::Groups;
use crate::limits::{
    HAS_COUNT_MAX, LATEST_GROUPS_MAX, LATEST_KEPT_MAX, RANGE_COUNT_MAX, RECEIPT_DEVICES_MAX,
    REQUEST_GROUPS_MAX, REQUEST_LEN_MAX,
};

/// What one peer asks of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Groups of a blob. After [`Status::Ok`]: the blob's length in eight bytes, then the slice.
    Blob {
        /// The blob.
        blob: Digest,
        /// 1 to [`REQUEST_GROUPS_MAX`] groups; those past the blob's end are not sent.
        groups: Groups,
    },
    /// A metadata file. After [`Status::Ok`]: its bytes, to the stream's end.
    Metadata {
        /// Its name.
        name: String,
        /// Most bytes that the asker takes.
        len_max: u32,
    },
    /// Here is a receipt. The status is all of the answer.
    PutReceipt {
        /// The device that signed it.
        device: Device,
        /// Its number.
        sequence: u64,
        /// The receipt.
        bytes: Vec<u8>,
    },
    /// Which devices are there receipts of? After [`Status::Ok`]: for each, its name and the
    /// highest number in eight bytes, to the stream's end.
    Receipts,
    /// A receipt. After [`Status::Ok`]: its bytes, to the stream's end.
    Receipt {
        /// The device that signed it.
        device: Device,
        /// Its number.
        sequence: u64,
    },
    /// Which of these blobs are there whole? After [`Status::Ok`]: for each its length in eight
    /// bytes, or eight times 255.
    Has(Vec<Digest>),
    /// The newest metadata. After [`Status::Ok`]: files, to the end: the timestamp, and the
    /// snapshot, the targets and the groups' roles that it leads to, without those that are kept.
    Latest {
        /// Groups whose roles are asked for.
        groups: Vec<String>,
        /// Names of files that the asker has.
        kept: Vec<String>,
    },
}

/// How an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// What was asked for follows.
    Ok,
    /// There is no such thing here, or not all that was asked for.
    None,
    /// Not to this peer, or not as much.
    Refused,
    /// Not now: too much is asked at a time.
    Busy,
    /// What is kept here is damaged or cannot be read.
    Failed,
}

impl Request {
    /// The request: kind, fields, to the stream's end.
    ///
    /// # Panics
    /// If a field is longer than allowed: they are checked where they come from.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Blob { blob, groups } => {
                out.push(KIND_BLOB);
                out.extend_from_slice(&blob.0);
                put_groups(groups, &mut out);
            }
            Self::Metadata { name, len_max } => {
                out.push(KIND_METADATA);
                out.extend_from_slice(&len_max.to_le_bytes());
                put_text(name, &mut out);
            }
            Self::PutReceipt { device, sequence, bytes } => {
                out.push(KIND_PUT_RECEIPT);
                put_text(device.as_str(), &mut out);
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Receipts => out.push(KIND_RECEIPTS),
            Self::Receipt { device, sequence } => {
                out.push(KIND_RECEIPT);
                put_text(device.as_str(), &mut out);
                out.extend_from_slice(&sequence.to_le_bytes());
            }
            Self::Has(blobs) => {
                out.push(KIND_HAS);
                blobs.iter().for_each(|blob| out.extend_from_slice(&blob.0));
            }
            Self::Latest { groups, kept } => {
                out.push(KIND_LATEST);
                for names in [groups, kept] {
                    out.push(u8::try_from(names.len()).expect("names are few"));
                    names.iter().for_each(|name| put_text(name, &mut out));
                }
            }
        }
        assert!(out.len() <= REQUEST_LEN_MAX, "a request of {} bytes", out.len());
        out
    }

    /// The request in these bytes, which are all that its stream brought.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        check_len("request", bytes.len(), REQUEST_LEN_MAX)?;
        let mut reader = Reader::new("request", bytes);
        let request = match reader.u8()? {
            KIND_BLOB => {
                let (blob, groups) = (reader.digest()?, reader.groups(RANGE_COUNT_MAX)?);
                let count = groups.count();
                if count == 0 || count > REQUEST_GROUPS_MAX {
                    let (what, allowed) = ("groups in a request", REQUEST_GROUPS_MAX);
                    return Err(WireError::TooLong { what, found: count, allowed });
                }
                Self::Blob { blob, groups }
            }
            KIND_METADATA => {
                let len_max = reader.u32()?;
                if u64::from(len_max) > METADATA_LEN_MAX {
                    return Err(WireError::Value { what: "most bytes of metadata" });
                }
                Self::Metadata { len_max, name: reader.text("name", FILE_NAME_LEN_MAX)? }
            }
            KIND_PUT_RECEIPT => {
                let (device, sequence) = (device(&mut reader)?, reader.u64()?);
                let bytes = reader.rest();
                let max = usize::try_from(RECEIPT_LEN_MAX).unwrap_or(usize::MAX);
                check_len("receipt", bytes.len(), max)?;
                return Ok(Self::PutReceipt { device, sequence, bytes: bytes.to_vec() });
            }
            KIND_RECEIPTS => Self::Receipts,
            KIND_RECEIPT => Self::Receipt { device: device(&mut reader)?, sequence: reader.u64()? },
            KIND_HAS => {
                let mut blobs = Vec::new();
                while !reader.is_empty() {
                    check_len("blobs asked about", blobs.len() + 1, HAS_COUNT_MAX)?;
                    blobs.push(reader.digest()?);
                }
                Self::Has(blobs)
            }
            KIND_LATEST => Self::Latest {
                groups: names(&mut reader, "groups", LATEST_GROUPS_MAX)?,
                kept: names(&mut reader, "files", LATEST_KEPT_MAX)?,
            },
            other => return Err(WireError::Kind(other)),
        };
        reader.finish()?;
        Ok(request)
    }

    /// What it makes the disk do, in reads of a piece: what [`REQUEST_COST_PER_S`] bounds.
    ///
    /// [`REQUEST_COST_PER_S`]: crate::limits::REQUEST_COST_PER_S
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self {
            Self::Blob { .. } | Self::Metadata { .. } | Self::Receipt { .. } => 1,
            // It is written and synced.
            Self::PutReceipt { .. } => 16,
            // Every device's folder is listed.
            Self::Receipts => 256,
            Self::Has(blobs) => 1 + blobs.len() as u64 / 4,
            Self::Latest { groups, .. } => 3 + groups.len() as u64,
        }
    }
}

impl Status {
    /// Its byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::None => 1,
            Self::Refused => 2,
            Self::Busy => 3,
            Self::Failed => 4,
        }
    }

    /// The status of a byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(byte: u8) -> Result<Self, WireError> {
        let all = [Self::Ok, Self::None, Self::Refused, Self::Busy, Self::Failed];
        let found = all.into_iter().find(|status| status.byte() == byte);
        found.ok_or(WireError::Value { what: "status" })
    }
}

/// The answer to [`Request::Receipts`], after its status.
#[must_use]
pub fn encode_receipts(receipts: &[(Device, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (device, number) in receipts {
        put_text(device.as_str(), &mut out);
        out.extend_from_slice(&number.to_le_bytes());
    }
    out
}

/// What [`encode_receipts`] made.
///
/// # Errors
/// If it is no such list.
pub fn decode_receipts(bytes: &[u8]) -> Result<Vec<(Device, u64)>, WireError> {
    let mut reader = Reader::new("receipts", bytes);
    let mut receipts = Vec::new();
    while !reader.is_empty() {
        check_len("devices", receipts.len() + 1, RECEIPT_DEVICES_MAX)?;
        receipts.push((device(&mut reader)?, reader.u64()?));
    }
    Ok(receipts)
}

/// The answer to [`Request::Latest`], after its status.
///
/// # Panics
/// If a file is of 4 GiB or more.
#[must_use]
pub fn encode_files(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        put_text(name, &mut out);
        let len = u32::try_from(bytes.len()).expect("metadata is short");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// What [`encode_files`] made.
///
/// # Errors
/// If it is no such list.
pub fn decode_files(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, WireError> {
    let mut reader = Reader::new("files", bytes);
    let mut files = Vec::new();
    while !reader.is_empty() {
        check_len("files", files.len() + 1, LATEST_KEPT_MAX)?;
        let name = reader.text("name", FILE_NAME_LEN_MAX)?;
        let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        files.push((name, reader.take(len)?.to_vec()));
    }
    Ok(files)
}

/// Bytes that a file takes in such a list.
pub(crate) fn file_len(name: &str, bytes: &[u8]) -> u64 {
    1 + name.len() as u64 + 4 + bytes.len() as u64
}

fn names(
    reader: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<String>, WireError> {
    let count = usize::from(reader.u8()?);
    check_len(what, count, max)?;
    (0..count).map(|_| reader.text("name", FILE_NAME_LEN_MAX)).collect()
}

fn device(reader: &mut Reader<'_>) -> Result<Device, WireError> {
    let name = reader.text("device", DEVICE_LEN_MAX)?;
    Device::new(&name).ok_or(WireError::Value { what: "device" })
}

const KIND_BLOB: u8 = 1;
const KIND_METADATA: u8 = 2;
const KIND_PUT_RECEIPT: u8 = 3;
const KIND_RECEIPTS: u8 = 4;
const KIND_RECEIPT: u8 = 5;
const KIND_HAS: u8 = 6;
const KIND_LATEST: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_and_their_neighbours_are_refused() {
        let device = Device::new("pump-1").expect("a name");
        let blob = Digest([9; 32]);
        let all = [
            Request::Blob { blob, groups: Groups::of(3..3 + REQUEST_GROUPS_MAX) },
            Request::Metadata { name: "timestamp.json".into(), len_max: 4096 },
            Request::PutReceipt { device: device.clone(), sequence: 7, bytes: vec![1, 2] },
            Request::Receipts,
            Request::Receipt { device, sequence: u64::MAX },
            Request::Has(vec![blob; HAS_COUNT_MAX]),
            Request::Latest {
                groups: vec!["crew".into(); LATEST_GROUPS_MAX],
                kept: vec!["9.snapshot.json".into(); LATEST_KEPT_MAX],
            },
        ];
        for request in all {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes).expect("a request"), request);
            // A receipt is whatever bytes are in it.
            if matches!(request, Request::PutReceipt { .. }) {
                continue;
            }
            assert!(Request::decode(&bytes[..bytes.len() - 1]).is_err(), "shorter {request:?}");
            assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err(), "longer {request:?}");
        }
        let more = Request::Blob { blob, groups: Groups::of(0..REQUEST_GROUPS_MAX + 1) };
        assert!(Request::decode(&more.encode()).is_err());
        let none = Request::Blob { blob, groups: Groups::default() };
        assert!(Request::decode(&none.encode()).is_err());
        let outside = [&[KIND_RECEIPT, 8][..], b"../../et", &[0; 8]].concat();
        assert!(Request::decode(&outside).is_err(), "a name that leaves its folder");
        let kept = vec!["9.snapshot.json".into(); LATEST_KEPT_MAX + 1];
        let more = Request::Latest { groups: Vec::new(), kept };
        assert!(Request::decode(&more.encode()).is_err());
        assert!(Request::decode(&[8]).is_err());
        assert!(Status::of(5).is_err());
    }

    #[test]
    fn files_come_back_and_lengths_that_lie_are_refused() {
        let files = vec![("timestamp.json".to_owned(), vec![1; 300]), ("a".to_owned(), Vec::new())];
        let bytes = encode_files(&files);
        assert_eq!(decode_files(&bytes).expect("files"), files);
        let len: u64 = files.iter().map(|(name, bytes)| file_len(name, bytes)).sum();
        assert_eq!(len, bytes.len() as u64);
        assert!(decode_files(&bytes[..bytes.len() - 1]).is_err(), "cut");
        let huge = [&[1, b'a'][..], &u32::MAX.to_le_bytes(), &[0; 8]].concat();
        assert!(decode_files(&huge).is_err(), "a length beyond the answer's end");
        let many = encode_files(&vec![("a".to_owned(), Vec::new()); LATEST_KEPT_MAX + 1]);
        assert!(decode_files(&many).is_err(), "more files than can be asked for");
    }

    #[test]
    fn kinds_and_statuses_are_those_of_the_document() {
        let document = include_str!("../../../docs/wire.md");
        let device = Device::new("pump-1").expect("a name");
        let put = Request::PutReceipt { device: device.clone(), sequence: 1, bytes: Vec::new() };
        let blob = Request::Blob { blob: Digest([0; 32]), groups: Groups::of(0..1) };
        for (request, name) in [
            (blob, "blob"),
            (Request::Metadata { name: "a".into(), len_max: 0 }, "metadata"),
            (put, "put receipt"),
            (Request::Receipts, "receipts"),
            (Request::Receipt { device, sequence: 1 }, "receipt"),
            (Request::Has(Vec::new()), "has"),
            (Request::Latest { groups: Vec::new(), kept: Vec::new() }, "latest"),
        ] {
            let row = format!("| {} | {name} | ", request.encode()[0]);
            assert!(document.contains(&row), "{row}");
        }
        for (status, meaning) in [
            (Status::Ok, "here it is"),
            (Status::None, "not here"),
            (Status::Refused, "refused"),
            (Status::Busy, "busy"),
            (Status::Failed, "failed"),
        ] {
            let row = format!("| {} | {meaning}", status.byte());
            assert!(document.contains(&row), "{row}");
        }
    }
}
