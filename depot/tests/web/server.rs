//! A small web server in this process, on loopback: a folder's files by range, or not quite.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io, thread};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// All of the file, with status 200.
    IgnoresRange,
    /// Fewer bytes than it says.
    Truncates,
    /// Bytes without end.
    Endless,
    /// A byte now and then.
    Drips,
    /// Nothing at all.
    Silent,
    /// The range after the one that was asked for.
    OtherRange,
    /// A length that no file of a depot has.
    Huge,
    /// A length that grows with each answer.
    Grows,
    /// Another `ETag` with each answer.
    Replaces,
    /// It says that it compresses.
    Compresses,
    /// One redirect after the other, this many.
    Redirects(u32),
    /// This status.
    Status(u16),
    /// Bits of each blob's data are others; metadata and trees are right.
    Flips,
}

/// A server; its threads end with the test's process.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    manner: Mutex<Manner>,
    /// Requests answered, and bytes of bodies sent.
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Server {
    /// Serves this folder.
    pub fn start(folder: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            manner: Mutex::new(manner),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let of_server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_server);
                // Whoever asked may be gone before it has its answer.
                thread::spawn(move || drop(shared.serve(&stream)));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().expect("no test panicked") = manner;
    }

    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if lines.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut range = None;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some(said) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    let ends = said.trim().split_once('-');
                    range = ends.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                }
            }
            let path = first.split(' ').nth(1).unwrap_or_default().replace("%2B", "+");
            let count = self.requests.fetch_add(1, Ordering::Relaxed);
            let manner = *self.manner.lock().expect("no test panicked");
            self.answer(stream, &path, range, manner, count)?;
        }
    }

    fn answer(
        &self,
        mut stream: &TcpStream,
        path: &str,
        range: Option<(usize, usize)>,
        manner: Manner,
        count: u64,
    ) -> io::Result<()> {
        let (hops, path) = match path.split_once("/hop/") {
            Some((_, rest)) => {
                let (hops, rest) = rest.split_once('/').unwrap_or((rest, ""));
                (hops.parse().unwrap_or(0), format!("/{rest}"))
            }
            None => (0, path.to_owned()),
        };
        match manner {
            Manner::Silent => loop {
                thread::sleep(Duration::from_secs(60));
            },
            Manner::Redirects(most) if hops < most => {
                let to = format!("Location: /hop/{}{path}", hops + 1);
                return empty(stream, "302 Found", &to);
            }
            Manner::Status(status) => return empty(stream, &format!("{status} No"), "X-A: b"),
            _ => {}
        }
        let Ok(mut file) = fs::read(self.folder.join(path.trim_start_matches('/'))) else {
            return empty(stream, "404 Not Found", "X-A: b");
        };
        if manner == Manner::Flips && path.contains("/blobs/") && !path.ends_with(".obao") {
            let middle = file.len() / 2;
            file[middle] ^= 1;
            file.iter_mut().skip(50_000).step_by(100_000).for_each(|byte| *byte ^= 2);
        }
        let Some((start, last)) = range.filter(|_| manner != Manner::IgnoresRange) else {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            stream.write_all(head.as_bytes())?;
            return stream.write_all(&file);
        };
        if start >= file.len() {
            return empty(stream, "416 No", &format!("Content-Range: bytes */{}", file.len()));
        }
        let last = last.min(file.len() - 1);
        let body = &file[start..=last];
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        let total = match manner {
            Manner::Huge => 1 << 40,
            Manner::Grows => file.len() as u64 + count,
            _ => file.len() as u64,
        };
        let shift = usize::from(manner == Manner::OtherRange);
        let etag = if manner == Manner::Replaces { count } else { 0 };
        let mut head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {}-{}/{total}\r\n\
             ETag: \"{etag}\"\r\n",
            start + shift,
            last + shift
        );
        if manner == Manner::Compresses {
            head += "Content-Encoding: gzip\r\n";
        }
        head += &match manner {
            Manner::Endless => "Connection: close\r\n\r\n".to_owned(),
            _ => format!("Content-Length: {}\r\n\r\n", body.len()),
        };
        stream.write_all(head.as_bytes())?;
        send(stream, body, manner)
    }
}

fn empty(mut stream: &TcpStream, status: &str, header: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes())
}

fn send(mut stream: &TcpStream, body: &[u8], manner: Manner) -> io::Result<()> {
    match manner {
        Manner::Endless => loop {
            stream.write_all(body)?;
        },
        Manner::Truncates => {
            stream.write_all(&body[..body.len() / 2])?;
            stream.shutdown(std::net::Shutdown::Both)
        }
        Manner::Drips => {
            for byte in body {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        _ => stream.write_all(body),
    }
}
