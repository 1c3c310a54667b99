//! nginx from the system, or from Debian through apt, on loopback; ended with the test.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

/// A server process.
pub struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Server {
    /// Serves this folder, or, said aloud, does not where there is no such program.
    pub fn start(served: &Path) -> Option<Self> {
        let Some(program) = program() else {
            println!("SKIPPED: there is no nginx, and apt cannot fetch it");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b;\n\
             fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            served.display()
        );
        fs::write(folder.path().join("nginx.conf"), config).expect("the folder can be written");
        let child = Command::new(program)
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .arg("-p")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Self { child, port, _folder: folder };
        let answers = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(answers, "nginx does not answer");
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The server's program: from the environment, from the system, or unpacked under `target/`.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("NEAP_NGINX") {
        return Some(program.into());
    }
    let works = |program: &Path| {
        let mut command = Command::new(program);
        let status = command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let of_system = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
    if let Some(program) = of_system.into_iter().find(|program| works(program)) {
        return Some(program);
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nginx");
    let program = folder.join("root/usr/sbin/nginx");
    fs::create_dir_all(&folder).expect("the folder can be written");
    // Tests run side by side: the first one makes it, the others wait.
    let lock = fs::File::create(folder.join("lock")).expect("the folder can be written");
    lock.lock().expect("files can be locked");
    if works(&program) {
        return Some(program);
    }
    let run = |command: &mut Command| {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let fetched = run(Command::new("apt-get").args(["download", "nginx"]).current_dir(&folder));
    let package = fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.path());
    let package = package.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
    let unpacked =
        fetched && run(Command::new("dpkg-deb").arg("-x").arg(package?).arg(folder.join("root")));
    (unpacked && works(&program)).then_some(program)
}
