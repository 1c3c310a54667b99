//! The text of [`crate::metrics`] on its way out: over HTTP to whoever asks, and to a file.
//!
//! The server is one of a kind: one question to a connection, one connection at a time, each with
//! a limit of bytes and time. What is asked changes nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::metrics::CONTENT_TYPE;

/// Where metrics are asked for.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// If somebody else does, or the machine has no such address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it listens: the port, if it was left open.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers `GET /metrics` with the text as it is then, until the future is dropped.
    pub async fn serve(self, text: impl Fn() -> String) {
        loop {
            let Ok((stream, _)) = self.0.accept().await else {
                // Out of file descriptors, most likely: that passes.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Whoever is too slow, or gone, gets nothing.
            drop(tokio::time::timeout(ANSWER, answer(stream, &text)).await);
        }
    }
}

async fn answer(mut stream: TcpStream, text: &impl Fn() -> String) -> io::Result<()> {
    let mut asked = Vec::with_capacity(REQUEST_LEN_MAX);
    while !ends(&asked) && asked.len() < REQUEST_LEN_MAX {
        let mut more = (&mut stream).take((REQUEST_LEN_MAX - asked.len()) as u64);
        if more.read_buf(&mut asked).await? == 0 {
            break;
        }
    }
    let (status, body) = match judge(&asked) {
        Ok(()) => ("200 OK", text()),
        Err(status) => (status, format!("{status}\n")),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether a request is one that is answered, or else the status that says why not.
fn judge(asked: &[u8]) -> Result<(), &'static str> {
    if !ends(asked) {
        return Err("400 Bad Request");
    }
    let line = asked.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| "400 Bad Request")?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("400 Bad Request");
    };
    if !version.starts_with("HTTP/1.") {
        return Err("400 Bad Request");
    }
    match (method, target.split('?').next()) {
        ("GET", Some("/metrics")) => Ok(()),
        ("GET", _) => Err("404 Not Found"),
        _ => Err("405 Method Not Allowed"),
    }
}

/// Whether all of a request's head is there.
fn ends(asked: &[u8]) -> bool {
    asked.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Writes the text to a file for a collector that reads files: it sees the one before or this
/// one, whole.
///
/// # Errors
/// If it cannot be written; then the file is what it was.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // A collector takes what ends with `.prom`.
    beside.push(".tmp");
    let beside = Path::new(&beside);
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // One that was made by somebody else meanwhile, such as a link, is refused.
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(text.as_bytes())?;
    // Not synced: after a power cut old counts are of no use.
    fs::rename(beside, path)
}

/// Longest head of a request.
const REQUEST_LEN_MAX: usize = 8 << 10;

/// Longest that a request and its answer take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it waits where the system has no connection to give.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpStream};

    use super::*;

    /// A server on its own thread; it ends with the test's process.
    fn server() -> SocketAddr {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
                tell.send(listener.address().expect("it listens")).expect("it is awaited");
                listener.serve(|| "neap_peers 3\n".into()).await;
            });
        });
        told.recv().expect("it listens")
    }

    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request).expect("it listens");
        let mut answer = Vec::new();
        // It may hang up before it has read all of what is too long.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8(answer).expect("text")
    }

    #[test]
    fn metrics_are_answered_and_nothing_else_is() {
        let server = server();
        let answer = ask(server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 13\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nneap_peers 3\n"), "{answer}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET /metrics SPDY/3\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
        ] {
            let answer = ask(server, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        }
    }

    #[test]
    fn a_request_without_end_is_cut_off_and_the_next_one_is_answered() {
        let server = server();
        let mut endless = TcpStream::connect(server).expect("it listens");
        let sent = (0..10_000).try_for_each(|_| endless.write_all(&[b'a'; 1 << 10]));
        assert!(sent.is_err(), "10 MB were taken");
        let mut silent = TcpStream::connect(server).expect("it listens");
        silent.write_all(b"GET /met").expect("it listens");
        silent.shutdown(Shutdown::Write).expect("it listens");
        let answer = ask(server, b"GET /metrics HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("neap.prom");
        for text in ["neap_peers 1\n", "neap_peers 2\n"] {
            write(&path, text).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        // What a killed process left is in nobody's way.
        fs::write(folder.path().join("neap.prom.tmp"), "neap_p").expect("written");
        write(&path, "neap_peers 3\n").expect("written");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
        assert!(write(&folder.path().join("none/neap.prom"), "").is_err());
    }
}
