//! The command lines of each method, and the files they need: the one place to change when the
//! commands of neap change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use neap_sim::bed::link::SHORE;
use neap_sim::bed::site::{Node, Site};

use super::scenario::{Congestion, Method, Scenario};
use crate::process::find;

/// A program and its arguments, as text.
pub type Line = Vec<String>;

/// What is run where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On shore, until the end.
    pub shore: Line,
    /// When the shore is ready.
    pub ready: Ready,
    /// One for each device, in order.
    pub devices: Vec<DevicePlan>,
}

/// A download without end that shares the link.
#[derive(Clone, Debug)]
pub struct RivalPlan {
    /// On shore, until the end.
    pub shore: Line,
    /// When the shore is ready.
    pub ready: Ready,
    /// On a device of its own.
    pub device: DevicePlan,
}

/// How it is seen that the shore serves.
#[derive(Clone, Copy, Debug)]
pub enum Ready {
    /// A TCP connection to this port is accepted.
    Tcp(u16),
    /// It said something on stderr.
    Said,
}

/// What one device does.
#[derive(Clone, Debug)]
pub struct DevicePlan {
    /// The first time, and after it was killed.
    pub fetch: Line,
    /// File or folder whose bytes are its progress.
    pub progress: PathBuf,
    /// A file that must be the blob in the end. Without, a good exit says that all is verified.
    pub result: Option<PathBuf>,
}

/// Prepares `folder`, where the blob lies as [`BLOB`], and says what to run.
///
/// # Errors
/// If a program is not installed, a file cannot be written, or an identity cannot be made.
pub fn plan(scenario: &Scenario, folder: &Path) -> io::Result<Plan> {
    match scenario.method {
        Method::HttpCubic => http(scenario, folder, Congestion::Cubic),
        Method::HttpBbr => http(scenario, folder, Congestion::Bbr),
        Method::Neap => neap(scenario, folder),
    }
}

/// Prepares the rival, a TCP connection with this congestion control.
///
/// # Errors
/// As [`plan`].
pub fn rival(congestion: Congestion, folder: &Path) -> io::Result<RivalPlan> {
    let served = folder.join("rival");
    fs::create_dir_all(&served)?;
    // A hole: it takes no room.
    fs::File::create(served.join("blob"))?.set_len(RIVAL_SIZE)?;
    Ok(RivalPlan {
        shore: http_server(folder, &served, RIVAL_PORT, congestion)?,
        ready: Ready::Tcp(RIVAL_PORT),
        device: curl(RIVAL_PORT, &folder.join("rival.blob")),
    })
}

/// The blob in the run's folder.
pub const BLOB: &str = "served/blob";

const HTTP_PORT: u16 = 8000;
const RIVAL_PORT: u16 = 8001;
const QUIC_PORT: u16 = 4627;
/// More than any run carries, in bytes.
const RIVAL_SIZE: u64 = 1 << 40;

fn http(scenario: &Scenario, folder: &Path, congestion: Congestion) -> io::Result<Plan> {
    program("curl")?;
    let output = |index| folder.join(format!("dev{index}.blob"));
    let device = |index| {
        let result = Some(output(index));
        DevicePlan { result, ..curl(HTTP_PORT, &output(index)) }
    };
    Ok(Plan {
        shore: http_server(folder, &folder.join("served"), HTTP_PORT, congestion)?,
        ready: Ready::Tcp(HTTP_PORT),
        devices: (1..=scenario.devices).map(device).collect(),
    })
}

fn http_server(
    folder: &Path,
    served: &Path,
    port: u16,
    congestion: Congestion,
) -> io::Result<Line> {
    let server = folder.join("http_server.py");
    fs::write(&server, include_str!("http_server.py"))?;
    let (port, congestion) = (port.to_string(), congestion.to_string());
    Ok(vec![program("python3")?, text(&server), port, text(served), congestion])
}

fn curl(port: u16, output: &Path) -> DevicePlan {
    let url = format!("http://{SHORE}:{port}/blob");
    let fetch = ["curl", "-sS", "--fail", "-o", &text(output), &url];
    DevicePlan { fetch: fetch.map(str::to_owned).to_vec(), progress: output.into(), result: None }
}

/// The group and product whose release is fetched.
const GROUP: &str = "bridge";
const PRODUCT: &str = "radar";

fn neap(scenario: &Scenario, folder: &Path) -> io::Result<Plan> {
    let neap = std::env::var("NEAP").map_or_else(|_| program("neap"), Ok)?;
    let cli = Cli { neap: &neap, folder };
    cli.release()?;
    let mut names = vec!["shore".to_owned()];
    names.extend((1..=scenario.devices).map(|index| format!("dev{index}")));
    let certificates = cli.identities(&names)?;
    let link = format!(
        "\n[link.sat]\nrate_kbit = {}\nrtt_ms = {:.0}\n",
        scenario.link.rate_kbit,
        2.0 * scenario.link.delay_ms
    );
    let mut devices = Vec::new();
    for (index, certificate) in (0..=scenario.devices).zip(&certificates) {
        let (name, node) = match index {
            0 => ("shore".to_owned(), Node::Shore),
            index => (format!("dev{index}"), Node::Device(index)),
        };
        let mut peers = Vec::new();
        if index > 0 {
            // The shore over the satellite, the others over the LAN.
            peers.push((Node::Shore, "sat"));
            let others = (1..=scenario.devices).filter(|other| *other != index);
            let others = others.filter(|_| !scenario.discover);
            peers.extend(others.map(|other| (Node::Device(other), "lan")));
        }
        let file = folder.join(format!("{name}.toml"));
        let link = if index > 0 { link.as_str() } else { "" };
        let config = config(folder, &name, node, certificate, &peers);
        let found = format!("\n[discovery]\nmdns = {}\n", scenario.discover && index > 0);
        fs::write(&file, config + &found + link)?;
        let fetch = [&neap, "fetch", "--config", &text(&file), "--json", "--patience", "300"];
        devices.push(DevicePlan {
            fetch: fetch.map(str::to_owned).to_vec(),
            progress: folder.join(format!("{name}.depot/blobs")),
            result: None,
        });
    }
    devices.remove(0);
    if let Some(index) = scenario.liar {
        let at = usize::try_from(index).unwrap_or(usize::MAX).wrapping_sub(1);
        let device = devices.get_mut(at).ok_or_else(|| io::Error::other("no such liar"))?;
        let liar = std::env::current_exe()?.with_file_name("site-liar");
        let config = folder.join(format!("dev{index}.toml"));
        device.fetch = vec![text(&liar), text(&config), scenario.blob_bytes.to_string()];
    }
    let shore = [&neap, "serve", "--config", &text(&folder.join("shore.toml"))];
    Ok(Plan { shore: shore.map(str::to_owned).to_vec(), ready: Ready::Said, devices })
}

/// A node's configuration. The shore's depot is the one with the release.
fn config(
    folder: &Path,
    name: &str,
    node: Node,
    certificate: &Path,
    peers: &[(Node, &str)],
) -> String {
    let depot = match node {
        Node::Shore => folder.join("depot"),
        _ => folder.join(format!("{name}.depot")),
    };
    let site = if node == Node::Shore { "shore" } else { "ship" };
    let mut text = format!(
        "depot = {depot:?}\nstate = {:?}\nsite = \"{site}\"\nlisten = \"[::]:{QUIC_PORT}\"\n\
         groups = [\"{GROUP}\"]\nproduct = \"{PRODUCT}\"\nroot = {:?}\n\n\
         [identity]\ncertificate = {certificate:?}\nkey = {:?}\nauthority = {:?}\n",
        folder.join(format!("{name}.state")),
        folder.join("depot/metadata/1.root.json"),
        folder.join(format!("{name}.key")),
        folder.join("ca/ca.pem"),
    );
    for (peer, link) in peers {
        let address = Site::address(*peer);
        text.push_str(&format!(
            "\n[[peer]]\naddress = \"{address}:{QUIC_PORT}\"\ndevice = \"{peer}\"\n\
             link = \"{link}\"\n"
        ));
    }
    text
}

/// Runs neap in a folder.
struct Cli<'a> {
    neap: &'a str,
    folder: &'a Path,
}

impl Cli<'_> {
    fn run(&self, words: &str) -> io::Result<serde_json::Value> {
        let mut command = Command::new(self.neap);
        command.args(words.split(' ')).args(["--json", "--quiet"]).current_dir(self.folder);
        command.env("NEAP_KEYS", self.folder.join("keys"));
        command.env("NEAP_PASSPHRASE", "of the testbed");
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("neap {words}: {said}")));
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// The blob as a signed release in `depot`. It is of random bytes, so its patch is as long.
    fn release(&self) -> io::Result<()> {
        self.run("key new owner")?;
        self.run("key new online")?;
        self.run(
            "repo init depot --root-key owner --targets-key owner --snapshot-key online \
             --timestamp-key online",
        )?;
        self.run(&format!("repo add group depot {GROUP} --key owner"))?;
        let group = format!("g.{GROUP}");
        self.publish(&["root", "targets", &group])?;
        self.run(&format!(
            "release create depot --group {GROUP} --product {PRODUCT} --version 1 --image {BLOB}"
        ))?;
        self.publish(&[&group])
    }

    fn publish(&self, roles: &[&str]) -> io::Result<()> {
        for role in roles {
            let signature = format!("{role}.sig");
            self.run(&format!(
                "repo sign depot/staged/{role}.json --key owner --yes --output {signature}"
            ))?;
            self.run(&format!("repo merge depot {signature}"))?;
            fs::remove_file(self.folder.join(signature))?;
        }
        self.run("repo publish depot --key online").map(drop)
    }

    /// An authority in `ca`, and for each name a key `NAME.key` and a certificate by it.
    fn identities(&self, names: &[String]) -> io::Result<Vec<PathBuf>> {
        self.run("key new fleet")?;
        self.run("ca init ca --key fleet --name testbed")?;
        let mut certificates = Vec::new();
        for name in names {
            let asked =
                self.run(&format!("ca request {name} --new-key {name}.key -o {name}.csr"))?;
            let digest = asked["key"].as_str().unwrap_or_default();
            self.run(&format!("ca allow ca {name} --digest {digest}"))?;
            let issued = self.run(&format!("ca issue ca {name}.csr --key fleet"))?;
            let path = issued["issued"][0]["certificate"].as_str().unwrap_or_default();
            certificates.push(self.folder.join(path));
        }
        Ok(certificates)
    }
}

fn program(name: &str) -> io::Result<String> {
    let missing = || io::Error::other(format!("{name} is not installed"));
    find(name, &[]).map(|path| text(&path)).ok_or_else(missing)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_knows_the_shore_by_satellite_and_the_others_by_lan() {
        let peers = [(Node::Shore, "sat"), (Node::Device(2), "lan")];
        let certificate = Path::new("/run/dev1.pem");
        let text = config(Path::new("/run"), "dev1", Node::Device(1), certificate, &peers);
        assert!(text.starts_with("depot = \"/run/dev1.depot\"\n"), "{text}");
        let shore = "address = \"10.77.0.1:4627\"\ndevice = \"shore\"\nlink = \"sat\"";
        let other = "address = \"10.78.0.12:4627\"\ndevice = \"dev2\"\nlink = \"lan\"";
        assert!(text.contains(shore) && text.contains(other), "{text}");
    }
}
