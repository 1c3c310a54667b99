//! Notices: what each side tells the other on a stream that only it writes to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use neap_depot::limits::DEVICE_LEN_MAX;
use neap_engine::digest::Digest;
use neap_trust::limits::TIMESTAMP_LEN_MAX;

use super::WireError;
use super::bytes::{Reader, check_len, put_groups, put_text};
use crate::groups::Groups;
use crate::limits::{ADDRESS_COUNT_MAX, FRAME_LEN_MAX, RANGE_COUNT_MAX, SITE_LEN_MAX};

/// One frame of notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The first, and only the first.
    Hello(Hello),
    /// All that the sender has of a blob that it fetches or has fetched.
    Have {
        /// The blob.
        blob: Digest,
        /// Whether it would fetch the rest over a costly link, for itself and for its site.
        may_fetch: bool,
        /// What it has.
        groups: Groups,
    },
    /// More that it has of it since.
    More {
        /// The blob.
        blob: Digest,
        /// What came.
        groups: Groups,
    },
    /// All that it is fetching over the costly link now; none if nothing.
    Claim {
        /// The blob.
        blob: Digest,
        /// What it fetches.
        groups: Groups,
    },
    /// The newest timestamp role that it knows, as signed.
    Fresh(Vec<u8>),
    /// Peers that it knows.
    Peers(Vec<Address>),
}

/// Who speaks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol's version that it would speak.
    pub version: u16,
    /// It holds the other for a member of its site: on the same LAN, where bytes cost nothing.
    pub same_site: bool,
    /// Its site, if it was told one.
    pub site: String,
    /// Where it listens; 0 if it does not.
    pub port: u16,
    /// What its link takes at the most, in 1,000 bit/s, so that the other begins at that and never
    /// sends faster; 0 if it does not know.
    pub rate_kbit: u32,
}

/// Where a peer can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Its device name, as its certificate will say.
    pub device: String,
    /// Address and port.
    pub at: SocketAddr,
}

impl Notice {
    /// The frame: length of what follows in four bytes, kind, fields.
    ///
    /// # Panics
    /// If a field is longer than allowed: they are checked where they come from.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Self::Hello(hello) => {
                out.push(KIND_HELLO);
                out.extend_from_slice(&hello.version.to_le_bytes());
                out.push(u8::from(hello.same_site));
                out.extend_from_slice(&hello.port.to_le_bytes());
                out.extend_from_slice(&hello.rate_kbit.to_le_bytes());
                put_text(&hello.site, &mut out);
            }
            Self::Have { blob, may_fetch, groups } => {
                out.push(KIND_HAVE);
                out.push(u8::from(*may_fetch));
                out.extend_from_slice(&blob.0);
                put_groups(groups, &mut out);
            }
            Self::More { blob, groups } => put_blob(KIND_MORE, blob, groups, &mut out),
            Self::Claim { blob, groups } => put_blob(KIND_CLAIM, blob, groups, &mut out),
            Self::Fresh(timestamp) => {
                out.push(KIND_FRESH);
                out.extend_from_slice(timestamp);
            }
            Self::Peers(addresses) => {
                out.push(KIND_PEERS);
                for Address { device, at } in addresses.iter().take(ADDRESS_COUNT_MAX) {
                    let ip = match at.ip() {
                        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                        IpAddr::V6(ip) => ip,
                    };
                    out.extend_from_slice(&ip.octets());
                    out.extend_from_slice(&at.port().to_le_bytes());
                    put_text(device, &mut out);
                }
            }
        }
        let len = out.len() - 4;
        assert!(len <= FRAME_LEN_MAX, "a notice of {len} bytes");
        out[..4].copy_from_slice(&u32::try_from(len).expect("it is short").to_le_bytes());
        out
    }

    /// The length of a frame, from its first four bytes.
    ///
    /// # Errors
    /// If it is empty or longer than a frame may be.
    pub fn frame_len(head: [u8; 4]) -> Result<usize, WireError> {
        let len = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        check_len("frame", len, FRAME_LEN_MAX)?;
        if len == 0 { Err(WireError::Length { what: "frame" }) } else { Ok(len) }
    }

    /// The notice in a frame, which is given without its length.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("notice", frame);
        let kind = reader.u8()?;
        let notice = match kind {
            KIND_HELLO => Self::Hello(Hello {
                version: reader.u16()?,
                same_site: flag(reader.u8()?)?,
                port: reader.u16()?,
                rate_kbit: reader.u32()?,
                site: reader.text("site", SITE_LEN_MAX)?,
            }),
            KIND_HAVE => Self::Have {
                may_fetch: flag(reader.u8()?)?,
                blob: reader.digest()?,
                groups: reader.groups(RANGE_COUNT_MAX)?,
            },
            KIND_MORE | KIND_CLAIM => {
                let (blob, groups) = (reader.digest()?, reader.groups(RANGE_COUNT_MAX)?);
                match kind {
                    KIND_MORE => Self::More { blob, groups },
                    _ => Self::Claim { blob, groups },
                }
            }
            KIND_FRESH => {
                let timestamp = reader.rest();
                let max = usize::try_from(TIMESTAMP_LEN_MAX).unwrap_or(usize::MAX);
                check_len("timestamp", timestamp.len(), max.min(FRAME_LEN_MAX))?;
                return Ok(Self::Fresh(timestamp.to_vec()));
            }
            KIND_PEERS => {
                let mut addresses = Vec::new();
                while !reader.is_empty() {
                    check_len("addresses", addresses.len() + 1, ADDRESS_COUNT_MAX)?;
                    let ip = Ipv6Addr::from(reader.ip()?).to_canonical();
                    let at = SocketAddr::new(ip, reader.u16()?);
                    addresses.push(Address { device: reader.text("device", DEVICE_LEN_MAX)?, at });
                }
                Self::Peers(addresses)
            }
            other => return Err(WireError::Kind(other)),
        };
        reader.finish()?;
        Ok(notice)
    }
}

fn put_blob(kind: u8, blob: &Digest, groups: &Groups, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&blob.0);
    put_groups(groups, out);
}

fn flag(byte: u8) -> Result<bool, WireError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Value { what: "flag" }),
    }
}

const KIND_HELLO: u8 = 1;
const KIND_HAVE: u8 = 2;
const KIND_MORE: u8 = 3;
const KIND_CLAIM: u8 = 4;
const KIND_FRESH: u8 = 5;
const KIND_PEERS: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(notice: &Notice) -> Vec<u8> {
        let frame = notice.encode();
        let len = Notice::frame_len([frame[0], frame[1], frame[2], frame[3]]).expect("a frame");
        assert_eq!(len, frame.len() - 4);
        frame[4..].to_vec()
    }

    fn all() -> Vec<Notice> {
        let blob = Digest([7; 32]);
        let groups: Groups = [0..3, 5..6, 900..4000].into_iter().collect();
        let v4 = Address { device: "pump-1".into(), at: ([10, 0, 0, 7], 4747).into() };
        let v6 = Address { device: "pump-2".into(), at: (Ipv6Addr::LOCALHOST, 1).into() };
        let hello = Hello {
            version: 1,
            same_site: true,
            site: "MV Aurora".into(),
            port: 4747,
            rate_kbit: 2_000,
        };
        vec![
            Notice::Hello(hello),
            Notice::Have { blob, may_fetch: true, groups: groups.clone() },
            Notice::More { blob, groups: Groups::default() },
            Notice::Claim { blob, groups },
            Notice::Fresh(b"{}".to_vec()),
            Notice::Peers(vec![v4, v6]),
        ]
    }

    #[test]
    fn notices_come_back_and_their_neighbours_are_refused() {
        for notice in all() {
            let bytes = body(&notice);
            assert_eq!(Notice::decode(&bytes).expect("a notice"), notice);
            // A timestamp is whatever bytes are in it.
            if matches!(notice, Notice::Fresh(_)) {
                continue;
            }
            assert!(Notice::decode(&bytes[..bytes.len() - 1]).is_err(), "shorter {notice:?}");
            assert!(Notice::decode(&[&bytes[..], &[0]].concat()).is_err(), "longer {notice:?}");
        }
        assert_eq!(Notice::decode(&[0]), Err(WireError::Kind(0)));
        assert_eq!(Notice::decode(&[7]), Err(WireError::Kind(7)));
        assert!(Notice::decode(&[]).is_err());
    }

    #[test]
    fn kinds_are_those_of_the_document() {
        let document = include_str!("../../../docs/wire.md");
        for (notice, name) in all().iter().zip(["hello", "have", "more", "claim", "fresh", "peers"])
        {
            let row = format!("| {} | {name} | ", body(notice)[0]);
            assert!(document.contains(&row), "{row}");
        }
    }

    #[test]
    fn ranges_out_of_order_empty_or_past_every_end_are_refused() {
        let blob = Digest([7; 32]);
        let good = body(&Notice::More { blob, groups: [1..3, 5..6].into_iter().collect() });
        let put = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            Notice::decode(&bytes)
        };
        // kind 1, digest 32, count 2, then start and length of each
        assert!(put(35, 0).is_ok());
        assert!(put(39, 0).is_err(), "an empty range");
        assert!(put(43, 3).is_err(), "a range that touches the one before");
        assert!(put(43, 0).is_err(), "a range before the one before");
        assert!(put(47, u32::MAX).is_err(), "a range past the end of every blob");
    }

    #[test]
    fn what_is_broken_up_too_much_is_told_in_part() {
        let blob = Digest([7; 32]);
        let groups: Groups = (0..2000).map(|i| 2 * i..2 * i + 1).collect();
        let decoded = Notice::decode(&body(&Notice::More { blob, groups })).expect("a notice");
        let Notice::More { groups, .. } = decoded else { unreachable!("it was a have-map") };
        assert_eq!(groups.count(), RANGE_COUNT_MAX as u64);
    }

    #[test]
    fn frames_longer_than_allowed_are_refused_by_their_length() {
        let max = u32::try_from(FRAME_LEN_MAX).expect("short");
        assert!(Notice::frame_len(max.to_le_bytes()).is_ok());
        assert!(Notice::frame_len((max + 1).to_le_bytes()).is_err());
        assert!(Notice::frame_len([0; 4]).is_err());
    }
}
