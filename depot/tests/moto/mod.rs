//! A bucket on a real server process: moto_server from PyPI, ended with the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

/// A server process with one bucket.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Server {
    /// A server with this bucket, or, said aloud, none where there is no such program.
    pub(crate) fn start(bucket: &str) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: there is no moto_server, and pip cannot install it");
            return None;
        };
        let server = serve(&program);
        let answer = server.request(&format!("PUT /{bucket}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(server)
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn request(&self, what: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let text = format!(
            "{what} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

/// The server's program: from the environment, or installed into a venv under `target/`.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("NEAP_MOTO_SERVER") {
        return Some(program.into());
    }
    let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let program = venv.join("bin/moto_server");
    let ready = venv.join("ready");
    // Tests run side by side: the first one makes it, the others wait.
    let lock = fs::File::create(venv.with_extension("lock")).expect("the folder can be written");
    lock.lock().expect("files can be locked");
    if ready.exists() {
        return Some(program);
    }
    let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        && run(Command::new(venv.join("bin/pip")).args(["install", "-q", "moto[server]"]));
    made.then(|| fs::write(ready, "").expect("the venv can be written"))?;
    Some(program)
}

fn serve(program: &Path) -> Server {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let child = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let server = Server { child, port };
    let answers = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(answers, "moto_server does not answer");
    server
}
