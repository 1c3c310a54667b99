//! A depot behind any web server that serves plain files and answers requests for ranges: only to
//! be read. One thread of its own drives the requests.
//!
//! Nothing that a server says is believed: lengths are bounded before they are used, answers must
//! be of the range that was asked for, and bodies neither longer nor shorter. Whoever reads
//! verifies the bytes, as with every carrier.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{error, io};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName,
    RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::Semaphore;

use crate::driver::Driver;
use crate::limits::PART_LEN;
use crate::name::{Folder, Meaning, Name};
use crate::store::{Edit, Listed, Lock, LockError, Object, Put, Stamp, Store, Take};

/// Files below an address.
pub struct Web {
    server: Arc<Server>,
}

struct Server {
    driver: Driver,
    caller: Arc<Caller>,
}

/// What a request needs, on the driver's thread.
struct Caller {
    client: Client,
    /// The address without a slash at its end.
    base: String,
    patience: Duration,
    turns: Semaphore,
    crossed: AtomicU64,
    /// Requests under way, and the most that ever were: so many connections were made.
    under_way: AtomicUsize,
    connections: AtomicUsize,
}

struct WebObject {
    server: Arc<Server>,
    address: String,
    found: Found,
    /// The first bytes, which came with the answer to whether it is there.
    first: Vec<u8>,
}

/// Which file answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    len: u64,
    etag: Option<String>,
}

/// What came of a file that was asked for.
enum Part {
    Found(Found),
    Bytes(Vec<u8>),
}

impl Web {
    /// A depot at `https://host/path` or, without TLS, `http://host/path`.
    ///
    /// # Errors
    /// If the address makes no sense, or holds a user, a password, a query or a fragment.
    pub fn open(url: &str) -> io::Result<Self> {
        Self::with_patience(url, PATIENCE)
    }

    /// The same, giving up after a silence of so long.
    ///
    /// # Errors
    /// As [`Web::open`].
    pub fn with_patience(url: &str, patience: Duration) -> io::Result<Self> {
        // An error says that the process chose a provider already: then that one is used.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (base, host) = base(url)?;
        let mut client = Client::builder()
            .user_agent(concat!("neap/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::limited(REDIRECTS_MAX))
            .https_only(base.starts_with("https://"))
            .referer(false)
            .connect_timeout(patience)
            .read_timeout(patience)
            .pool_max_idle_per_host(CONNECTIONS_MAX);
        // A proxy has no way to what is only on this machine.
        if host == "localhost" || host == "[::1]" || host.starts_with("127.") {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| of_request(error, "this machine's TLS"))?;
        let caller = Caller {
            client,
            base,
            patience,
            turns: Semaphore::new(CONNECTIONS_MAX),
            crossed: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        };
        let (driver, caller) = (Driver::new("neap-web")?, Arc::new(caller));
        Ok(Self { server: Arc::new(Server { driver, caller }) })
    }
}

impl Store for Web {
    fn open(&self, name: &Name) -> io::Result<Option<Box<dyn Object>>> {
        // Bytes of a blob are asked for by whoever knows which; all else is mostly read whole.
        let first_len = match name.meaning() {
            Meaning::Blob(_) | Meaning::Part(..) => 1,
            _ => FIRST_LEN,
        };
        let address = self.server.caller.address(name);
        let (mut found, mut first) = (None, Vec::new());
        let opened = self.server.get(&address, 0..first_len, &mut |part| {
            match part {
                Part::Found(what) => found = Some(what),
                Part::Bytes(bytes) => first.extend_from_slice(&bytes),
            }
            Ok(())
        });
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        }
        let found = found.ok_or_else(given_up)?;
        let server = Arc::clone(&self.server);
        Ok(Some(Box::new(WebObject { server, address, found, first })))
    }

    fn list(&self, _folder: &Folder) -> io::Result<Vec<Listed>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a web server does not list its files"))
    }

    fn put(&self, _name: &Name) -> io::Result<Box<dyn Put + '_>> {
        Err(only_read())
    }

    fn stamp(&self, _name: &Name) -> io::Result<Stamp> {
        Err(only_read())
    }

    fn switch(&self, _name: &Name, _seen: &Stamp, _content: &[u8]) -> io::Result<()> {
        Err(only_read())
    }

    fn delete(&self, _name: &Name) -> io::Result<()> {
        Err(only_read())
    }

    fn settle(&self, _folder: &Folder) -> io::Result<()> {
        Err(only_read())
    }

    fn lock(&self, _who: &str) -> Result<Box<dyn Lock>, LockError> {
        Err(only_read().into())
    }

    fn break_lock(&self) -> io::Result<Option<String>> {
        Err(only_read())
    }

    fn edit(&self, _name: &Name) -> io::Result<Box<dyn Edit>> {
        Err(only_read())
    }

    fn promote(&self, _from: &Name, _to: &Name) -> io::Result<()> {
        Err(only_read())
    }

    fn title(&self) -> String {
        self.server.caller.base.clone()
    }

    fn crossed(&self) -> u64 {
        self.server.caller.crossed.load(Ordering::Relaxed)
    }
}

impl Object for WebObject {
    fn len(&self) -> u64 {
        self.found.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut rest = bytes;
        let len = rest.len() as u64;
        self.stream(offset, len, &mut |piece| {
            let place = std::mem::take(&mut rest);
            let (now, later) = place.split_at_mut_checked(piece.len()).ok_or_else(given_up)?;
            now.copy_from_slice(piece);
            rest = later;
            Ok(())
        })
    }

    fn stream(&self, offset: u64, len: u64, take: &mut Take<'_>) -> io::Result<()> {
        let end = offset.checked_add(len).filter(|end| *end <= self.found.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset;
        let here = usize::try_from(at).ok().and_then(|at| self.first.get(at..));
        if let Some(here) = here.filter(|here| !here.is_empty() && len > 0) {
            let here = &here[..usize::try_from(len).unwrap_or(here.len()).min(here.len())];
            take(here)?;
            at += here.len() as u64;
        }
        while at < end {
            let piece = at..end.min(at + PIECE_LEN);
            at = piece.end;
            self.server.get(&self.address, piece, &mut |part| match part {
                Part::Found(found) if found == self.found => Ok(()),
                Part::Found(_) => {
                    let text = format!("{}: it was replaced while it was read", self.address);
                    Err(io::Error::new(io::ErrorKind::InvalidData, text))
                }
                Part::Bytes(bytes) => take(&bytes),
            })?;
        }
        Ok(())
    }
}

impl Server {
    /// Asks for a range of a file, of which there may be less, and gives what comes as it comes.
    fn get(
        &self,
        address: &str,
        range: std::ops::Range<u64>,
        take: &mut dyn FnMut(Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let (parts, come) = mpsc::channel();
        let (caller, address) = (Arc::clone(&self.caller), address.to_owned());
        self.driver.begin(async move {
            let done = caller.get(&address, range, &parts).await;
            // Nobody waits if the reader is gone.
            drop(parts.send(done.map(|()| None)));
        });
        loop {
            match come.recv().map_err(|_| given_up())?? {
                Some(part) => take(part)?,
                None => return Ok(()),
            }
        }
    }
}

type Parts = mpsc::Sender<io::Result<Option<Part>>>;

impl Caller {
    fn address(&self, name: &Name) -> String {
        // Buckets take a plain `+` for a space.
        format!("{}/{}", self.base, name.to_string().replace('+', "%2B"))
    }

    async fn get(
        &self,
        address: &str,
        range: std::ops::Range<u64>,
        parts: &Parts,
    ) -> io::Result<()> {
        let turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let is_new = self.connections.fetch_max(under_way, Ordering::Relaxed) < under_way;
        let cost = REQUEST_COST + if is_new { CONNECTION_COST } else { 0 };
        self.crossed.fetch_add(cost, Ordering::Relaxed);
        // Against servers that send a byte now and then, each in time.
        let most = self.patience + Duration::from_secs((range.end - range.start) / RATE_MIN);
        let done = tokio::time::timeout(most, self.receive(address, range, parts)).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        drop(turn);
        done.unwrap_or_else(|_| {
            let text = format!("{address}: not all of it came within {} s", most.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    async fn receive(
        &self,
        address: &str,
        range: std::ops::Range<u64>,
        parts: &Parts,
    ) -> io::Result<()> {
        let request = self
            .client
            .get(address)
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        let mut response = request.send().await.map_err(|error| of_request(error, address))?;
        let wrong =
            |fact: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{address}: {fact}"));
        let (len, mut left) = expected(&response, &range).map_err(|refused| match refused {
            Refused::Status(status) => of_status(status, address),
            Refused::Wrong(fact) => wrong(fact),
        })?;
        let etag = text(response.headers(), &ETAG).map(str::to_owned);
        let give = |part| parts.send(Ok(Some(part))).map_err(|_| given_up());
        give(Part::Found(Found { len, etag }))?;
        while left > 0 {
            let chunk = response.chunk().await.map_err(|error| of_request(error, address))?;
            let chunk = chunk.ok_or_else(|| wrong("it ended before its length"))?;
            let came = chunk.len() as u64;
            self.crossed.fetch_add(came + came / PACKET_SHARE, Ordering::Relaxed);
            left = left.checked_sub(came).ok_or_else(|| wrong("more bytes than it said"))?;
            give(Part::Bytes(chunk.to_vec()))?;
        }
        Ok(())
    }
}

enum Refused {
    Status(StatusCode),
    Wrong(&'static str),
}

/// The length of the file and that of the body, by what the answer says.
fn expected(response: &Response, range: &std::ops::Range<u64>) -> Result<(u64, u64), Refused> {
    let headers = response.headers();
    if text(headers, &CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Refused::Wrong(
            "the server compresses it; a depot's files are sent as they are",
        ));
    }
    let said = text(headers, &CONTENT_RANGE).unwrap_or_default();
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::RANGE_NOT_SATISFIABLE if range.start == 0 && said == "bytes */0" => {
            return Ok((0, 0));
        }
        StatusCode::OK if range.start == 0 && text(headers, &CONTENT_LENGTH) == Some("0") => {
            return Ok((0, 0));
        }
        StatusCode::OK => {
            return Err(Refused::Wrong("the server ignores `Range`; a mirror must answer it"));
        }
        other => return Err(Refused::Status(other)),
    }
    let (start, last, len) = content_range(said)
        .ok_or(Refused::Wrong("the server does not say which range of how many bytes it sends"))?;
    if len > PART_LEN {
        return Err(Refused::Wrong("it is longer than any file of a depot"));
    }
    if start != range.start || last.checked_add(1) != Some(range.end.min(len)) || start > last {
        return Err(Refused::Wrong("the server sends another range than was asked for"));
    }
    Ok((len, last + 1 - start))
}

/// First and last byte and length, from `bytes 0-65535/70000`.
fn content_range(said: &str) -> Option<(u64, u64, u64)> {
    let (range, len) = said.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    Some((number(start)?, number(last)?, number(len)?))
}

/// The address that names are added to, and its host. What is refused is not repeated: it may be
/// a secret.
fn base(url: &str) -> io::Result<(String, String)> {
    let wrong = |fact: &str| io::Error::new(io::ErrorKind::InvalidInput, fact);
    let address = Url::parse(url).map_err(|_| wrong("not an address of the web"))?;
    if !address.username().is_empty() || address.password().is_some() {
        return Err(wrong("an address of a depot holds no user and no password"));
    }
    if address.query().is_some() || address.fragment().is_some() {
        return Err(wrong("an address of a depot ends with its path"));
    }
    let host = address.host_str().filter(|_| matches!(address.scheme(), "http" | "https"));
    let host = host.ok_or_else(|| wrong("not an address that begins with https:// or http://"))?;
    Ok((address.as_str().trim_end_matches('/').to_owned(), host.to_owned()))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn of_status(status: StatusCode, address: &str) -> io::Error {
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => io::ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => io::ErrorKind::PermissionDenied,
        // It may be there in a while.
        StatusCode::TOO_MANY_REQUESTS => io::ErrorKind::TimedOut,
        status if status.is_server_error() => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, format!("{address}: the server answers {}", status.as_u16()))
}

/// What a request failed of. The address in it may be another one, after redirects, and may hold
/// secrets: it is left out.
fn of_request(error: reqwest::Error, address: &str) -> io::Error {
    let kind = if error.is_redirect() || error.is_builder() {
        io::ErrorKind::InvalidData
    } else {
        // A link that is down may be up in a while.
        io::ErrorKind::TimedOut
    };
    let error = error.without_url();
    let mut text = format!("{address}: {error}");
    let mut cause = error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    io::Error::new(kind, text)
}

fn only_read() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a depot behind a web server can only be read")
}

fn given_up() -> io::Error {
    io::Error::other("the request was given up")
}

/// Longest silence: a name looked up, a connection, TLS and an answer take five round trips, and
/// a satellite link may be out for some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Slowest server, in bytes a second: an eighth of the slowest link.
const RATE_MIN: u64 = 1 << 10;

/// Most redirects on the way to a file.
const REDIRECTS_MAX: usize = 3;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 8;

/// What is asked for before it is known how long a file is: most metadata, and the tree of a blob
/// of 16 MiB.
const FIRST_LEN: u64 = 64 << 10;

/// Bytes of one request. They wait in memory if the reader is slower than the network.
const PIECE_LEN: u64 = 4 << 20;

/// Bytes of a request and of the headers of its answer.
const REQUEST_COST: u64 = 1 << 10;

/// Bytes of a connection's begin: TLS 1.3 with a chain of three certificates.
const CONNECTION_COST: u64 = 6 << 10;

/// Headers of IP, TCP and TLS, and acknowledgements, take less than this part of a body: 40 of
/// 1,460 bytes each way, and every other packet is acknowledged: 1/24.
const PACKET_SHARE: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_secret_is_refused_and_not_repeated() {
        for url in ["https://ana:tide@host/depot", "https://ana@host/", "https://host/?key=tide"] {
            let error = Web::open(url).map(|_| ()).expect_err("refused").to_string();
            assert!(!error.contains("tide") && !error.contains("ana"), "{error}");
        }
        for url in ["ftp://host/", "https://", "https://host/#part", "depot"] {
            assert!(Web::open(url).is_err(), "{url}");
        }
        assert_eq!(
            base("https://host/a/b/").ok().map(|it| it.0).as_deref(),
            Some("https://host/a/b")
        );
        assert_eq!(base("http://host").ok().map(|it| it.0).as_deref(), Some("http://host"));
    }

    #[test]
    fn ranges_are_read_to_the_letter() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, 10)));
        for said in ["", "bytes 0-9/*", "bytes */10", "0-9/10", "bytes +0-9/10", "bytes 0-9/ 10"] {
            assert_eq!(content_range(said), None, "{said}");
        }
        let long = "bytes 0-99999999999999999999/100000000000000000000";
        assert_eq!(content_range(long), None);
    }
}
