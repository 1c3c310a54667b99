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
    /// Its output is not empty any more.
    Output,
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

/// The group whose releases are fetched.
const GROUP: &str = "bridge";

fn neap(scenario: &Scenario, folder: &Path) -> io::Result<Plan> {
    let neap = std::env::var("NEAP").map_or_else(|_| program("neap"), Ok)?;
    let mut names = vec!["shore".to_owned()];
    names.extend((1..=scenario.devices).map(|index| format!("dev{index}")));
    identities(&neap, folder, &names)?;
    fs::write(folder.join("shore.toml"), config(folder, "shore", Node::Shore, &[]))?;
    let mut devices = Vec::new();
    for index in 1..=scenario.devices {
        let (name, node) = (format!("dev{index}"), Node::Device(index));
        let file = folder.join(format!("{name}.toml"));
        // The shore over the satellite, the others over the LAN.
        let mut peers = vec![(Node::Shore, "sat")];
        let others = (1..=scenario.devices).filter(|other| *other != index);
        peers.extend(others.map(|other| (Node::Device(other), "lan")));
        fs::write(&file, config(folder, &name, node, &peers))?;
        let fetch = [&neap, "fetch", "--config", &text(&file), "--group", GROUP, "--json"];
        devices.push(DevicePlan {
            fetch: fetch.map(str::to_owned).to_vec(),
            progress: folder.join(format!("{name}.depot")),
            result: None,
        });
    }
    let shore = [&neap, "serve", "--config", &text(&folder.join("shore.toml")), "--json"];
    Ok(Plan { shore: shore.map(str::to_owned).to_vec(), ready: Ready::Output, devices })
}

/// A node's configuration. The shore's depot is the one in the folder `served`.
fn config(folder: &Path, name: &str, node: Node, peers: &[(Node, &str)]) -> String {
    let depot = match node {
        Node::Shore => folder.join("served"),
        _ => folder.join(format!("{name}.depot")),
    };
    let mut text = format!(
        "depot = {depot:?}\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\nlisten = \"{}:{}\"\n",
        folder.join(format!("ca/certificates/{name}.pem")),
        folder.join(format!("{name}.key")),
        folder.join("ca/ca.pem"),
        Site::address(node),
        QUIC_PORT,
    );
    for (peer, class) in peers {
        let address = Site::address(*peer);
        text.push_str(&format!(
            "\n[[peers]]\nname = \"{peer}\"\naddress = \"{address}:{QUIC_PORT}\"\n\
             class = \"{class}\"\n"
        ));
    }
    text
}

/// An authority in `ca`, and for each name a key `NAME.key` and a certificate by it.
fn identities(neap: &str, folder: &Path, names: &[String]) -> io::Result<()> {
    let run = |words: &str| -> io::Result<serde_json::Value> {
        let mut command = Command::new(neap);
        command.args(words.split(' ')).arg("--json").current_dir(folder);
        command.env("NEAP_KEYS", folder.join("keys")).env("NEAP_PASSPHRASE", "of the testbed");
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("neap {words}: {said}")));
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    };
    run("key new fleet")?;
    run("ca init ca --key fleet --name testbed")?;
    for name in names {
        let asked = run(&format!("ca request {name} --new-key {name}.key -o {name}.csr"))?;
        let digest = asked["key"].as_str().unwrap_or_default();
        run(&format!("ca allow ca {name} --digest {digest}"))?;
        let issued = run(&format!("ca issue ca {name}.csr --key fleet"))?;
        let path = issued["issued"][0]["certificate"].as_str().unwrap_or_default();
        let expected = folder.join(format!("ca/certificates/{name}.pem"));
        if folder.join(path) != expected {
            fs::copy(folder.join(path), expected)?;
        }
    }
    Ok(())
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
        let text = config(Path::new("/run"), "dev1", Node::Device(1), &peers);
        assert!(text.starts_with("depot = \"/run/dev1.depot\"\n"), "{text}");
        assert!(text.contains("address = \"10.77.0.1:4627\"\nclass = \"sat\""), "{text}");
        assert!(text.contains("address = \"10.78.0.12:4627\"\nclass = \"lan\""), "{text}");
    }
}
