//! Runs the real binary in a folder of its own, on images made from a seed.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder that is removed afterwards, and the binary in it.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for the test") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("test file written");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("test file read")
    }

    /// Names of what lies in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("folder listed");
        let names = entries.map(|entry| entry.expect("entry read").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A pair of images that are alike, and the patch between them.
    pub(crate) fn with_patch() -> Self {
        let bench = Self::new();
        let (source, target) = pair();
        bench.write("source", &source);
        bench.write("target", &target);
        bench.run("diff source target --output patch --effort 3").expect_code(0);
        bench
    }

    /// Runs the binary in the folder; words are parted by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, b"")
    }

    /// The same, with `input` on a pipe as standard input.
    pub(crate) fn run_with(&self, arguments: &str, input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_neap"))
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("neap starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let output = std::thread::scope(|scope| {
            // A run that stops early closes the pipe.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("neap ends")
        });
        Run::new(&output)
    }
}

impl Run {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Fails with all output unless the exit code is this.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless there are the three lines of an error that say all of this.
    pub(crate) fn expect_error(self, code: i32, says: &[&str]) -> Self {
        let run = self.expect_code(code);
        for part in ["error: ", "\nstate: ", "\nnext:  "].iter().chain(says) {
            assert!(run.stderr.contains(part), "`{part}` is not in\n{}", run.stderr);
        }
        run
    }

    /// What was printed for programs.
    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_str(&self.stdout);
        assert!(json.is_ok(), "{json:?}: {}", self.stdout);
        json.unwrap_or_default()
    }
}

/// Bytes that no coder makes smaller.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        // xorshift64: G. Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A source and a target with changed bytes, a moved part, zeros, and an odd length.
///
/// The source's last 256 KiB are not used.
pub(crate) fn pair() -> (Vec<u8>, Vec<u8>) {
    let mut source = noise(1, 3 << 20);
    let mut target = source[1 << 20..].to_vec();
    target.truncate((2 << 20) - (256 << 10));
    target.extend(&source[..1 << 20]);
    for at in (0..target.len()).step_by(60_000) {
        target[at] ^= 0x55;
    }
    target.resize(target.len() + (300 << 10), 0);
    target.extend(noise(2, 1000));
    source.extend(noise(3, 77));
    (source, target)
}

/// Whether a folder holds no file.
pub(crate) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("folder listed").next().is_none()
}
