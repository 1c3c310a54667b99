//! A scenario from beginning to end: builds the site, starts, watches, kills, restarts, counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use neap_sim::bed::namespace::BedError;
use neap_sim::bed::node::Process;
use neap_sim::bed::site::{LanBytes, Node, Site};
use neap_sim::bed::tally::Way;

use super::commands::{BLOB, DevicePlan, Line, Plan, Ready, RivalPlan, plan, rival};
use super::record::{NodeRecord, Sample, SiteRecord, goodput, seconds_of};
use super::scenario::{Kill, Method, Scenario, link_words};

/// Runs a scenario in `folder`; an earlier run's is emptied first. `stop` ends it early.
///
/// # Errors
/// If the folder holds anything but a run, the site cannot be built, the shore does not serve, or
/// `stop` is set.
pub fn run(scenario: &Scenario, folder: &Path, stop: &AtomicBool) -> Result<SiteRecord, BedError> {
    empty(folder)?;
    let digest = write_blob(&folder.join(BLOB), scenario.blob_bytes)?;
    let plan = plan(scenario, folder)?;
    let rival_plan = scenario.rival.map(|congestion| rival(congestion, folder)).transpose()?;
    let node_count = scenario.devices + u32::from(rival_plan.is_some());
    let site = Site::start(node_count, &scenario.link, folder)?;
    let mut shore = site.spawn(Node::Shore, "shore", &plan.shore)?;
    wait_ready(&site, &mut shore, plan.ready, folder, stop)?;
    let mut rival_shore = None;
    if let Some(rival) = &rival_plan {
        let process = rival_shore.insert(site.spawn(Node::Shore, "rival-shore", &rival.shore)?);
        wait_ready(&site, process, rival.ready, folder, stop)?;
    }

    site.link().begin()?;
    let mut watch = Watch::start(scenario, &plan, rival_plan, &site)?;
    while !watch.step(&site)? {
        if stop.load(Ordering::Relaxed) {
            return Err(BedError::Interrupted);
        }
        thread::sleep(LOOK_EVERY);
        shore.look()?;
    }
    let wall_s = watch.wall_s();
    let mut nodes = vec![shore_record(&mut shore)?];
    let lan = site.lan_bytes()?;
    for (device, node) in watch.devices.iter_mut().zip(site.devices()) {
        device.check_result(&digest)?;
        nodes.push(device.record(node, lan.get(&node).copied())?);
    }
    let complete = watch.honest().all(|device| device.done_s.is_some());
    let Watch { samples, kills, readdressed, devices, rival, .. } = watch;
    drop((devices, rival, shore, rival_shore));
    let totals = site.finish()?;
    let (outages, rate) = (scenario.link.outages(), scenario.link.rate_bit_s(Way::Down));
    let wall_ns = u64::try_from(Duration::from_secs_f64(wall_s).as_nanos()).unwrap_or(u64::MAX);
    let wanted = (scenario.devices, scenario.blob_bytes);
    let parts = goodput(&samples, wanted, scenario.startup, rate);
    Ok(SiteRecord {
        method: scenario.method.to_string(),
        link: link_words(&scenario.link),
        rate_bit_s: rate,
        device_count: scenario.devices,
        blob_bytes: scenario.blob_bytes,
        wall_s,
        complete,
        fluid_s: seconds_of(outages.fluid_ns(scenario.blob_bytes, rate)),
        down: totals.down,
        up: totals.up,
        goodput: parts.map(|parts| parts.0).filter(|_| crosses_all(scenario)),
        rival_goodput: parts.map(|parts| parts.1).filter(|_| scenario.rival.is_some()),
        emulator_cpu_s: totals.cpu_s,
        nodes,
        kills,
        readdressed,
        liar: scenario.liar,
        blamed: blamed(scenario, folder),
        outages: outages
            .before(wall_ns)
            .into_iter()
            .map(|(start, end)| (seconds_of(start), seconds_of(end)))
            .collect(),
        samples,
    })
}

/// Whether all that devices get crosses the link: not what they have from each other.
fn crosses_all(scenario: &Scenario) -> bool {
    scenario.devices == 1 || scenario.method != Method::Neap
}

/// How often processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often progress is sampled, in seconds.
const SAMPLE_EVERY_S: f64 = 0.25;
/// Longest time that a shore takes to serve.
const READY_LIMIT: Duration = Duration::from_secs(15);

/// The devices of a run, while it lasts.
struct Watch {
    scenario: Scenario,
    begun: Instant,
    devices: Vec<Device>,
    rival: Option<Device>,
    kills: Vec<Kill>,
    /// Kills that are still to come.
    due: Vec<Kill>,
    readdressed: Vec<Kill>,
    /// Changes of address that are still to come.
    moves: Vec<Kill>,
    samples: Vec<Sample>,
    next_sample_s: f64,
}

struct Device {
    index: u32,
    plan: DevicePlan,
    process: Process,
    restart_s: Option<f64>,
    done_s: Option<f64>,
    peak_rss: u64,
}

impl Watch {
    fn start(
        scenario: &Scenario,
        plan: &Plan,
        rival: Option<RivalPlan>,
        site: &Site,
    ) -> Result<Self, BedError> {
        let begun = Instant::now();
        let rival = rival
            .map(|rival| Device::start(site, scenario.devices + 1, rival.device))
            .transpose()?;
        let plans = plan.devices.iter().cloned().zip(1..);
        let devices = plans.map(|(plan, index)| Device::start(site, index, plan));
        Ok(Self {
            scenario: scenario.clone(),
            begun,
            devices: devices.collect::<Result<_, _>>()?,
            rival,
            kills: Vec::new(),
            due: scenario.kill_at.clone(),
            readdressed: Vec::new(),
            moves: scenario.readdress_at.clone(),
            samples: Vec::new(),
            next_sample_s: 0.0,
        })
    }

    /// Does what is due; whether all is over.
    fn step(&mut self, site: &Site) -> Result<bool, BedError> {
        let t_s = self.begun.elapsed().as_secs_f64();
        self.kill(t_s)?;
        self.readdress(site, t_s)?;
        let mut open = false;
        for device in &mut self.devices {
            // A liar never ends.
            open |= device.step(site, t_s)? && self.scenario.liar != Some(device.index);
        }
        let over = !open || t_s >= self.scenario.time_limit;
        if over || t_s >= self.next_sample_s {
            self.next_sample_s = t_s + SAMPLE_EVERY_S;
            for device in self.devices.iter().chain(&self.rival) {
                let bytes = size(&device.plan.progress);
                self.samples.push(Sample { t_s, device: device.index, bytes });
            }
        }
        Ok(over)
    }

    /// Changes of address whose time has come.
    fn readdress(&mut self, site: &Site, t_s: f64) -> Result<(), BedError> {
        let (now, later) = self.moves.iter().partition::<Vec<Kill>, _>(|due| due.t_s <= t_s);
        self.moves = later;
        for due in now {
            site.readdress(due.device)?;
            self.readdressed.push(Kill { t_s, ..due });
        }
        Ok(())
    }

    /// All devices but one that lies.
    fn honest(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| self.scenario.liar != Some(device.index))
    }

    /// Kills whose time has come; one that has ended already is not killed.
    fn kill(&mut self, t_s: f64) -> Result<(), BedError> {
        let restart_s = t_s + self.scenario.restart_after;
        let (now, later) = self.due.iter().partition::<Vec<Kill>, _>(|kill| kill.t_s <= t_s);
        self.due = later;
        for kill in now {
            let device = self.devices.iter_mut().find(|device| device.index == kill.device);
            let Some(device) = device.filter(|device| device.done_s.is_none()) else { continue };
            if device.process.look()?.is_none() {
                device.process.kill()?;
                device.restart_s = Some(restart_s);
                self.kills.push(Kill { t_s, ..kill });
            }
        }
        Ok(())
    }

    /// When the last device had all, or now.
    fn wall_s(&self) -> f64 {
        let done: Option<Vec<f64>> = self.honest().map(|device| device.done_s).collect();
        let last = done.and_then(|done| done.into_iter().reduce(f64::max));
        last.unwrap_or_else(|| self.begun.elapsed().as_secs_f64())
    }
}

impl Device {
    fn start(site: &Site, index: u32, plan: DevicePlan) -> Result<Self, BedError> {
        let process = spawn(site, index, &plan.fetch)?;
        Ok(Self { index, plan, process, restart_s: None, done_s: None, peak_rss: 0 })
    }

    /// Whether it goes on.
    fn step(&mut self, site: &Site, t_s: f64) -> Result<bool, BedError> {
        if let Some(restart_s) = self.restart_s {
            if t_s >= restart_s {
                self.process = spawn(site, self.index, &self.plan.fetch)?;
                self.restart_s = None;
            }
            return Ok(true);
        }
        let ended = self.process.look()?;
        self.peak_rss = self.peak_rss.max(self.process.peak_rss());
        if ended.is_some_and(|ended| ended.status.success()) && self.done_s.is_none() {
            self.done_s = Some(t_s);
        }
        Ok(ended.is_none())
    }

    /// What is not the blob was not got.
    fn check_result(&mut self, digest: &blake3::Hash) -> io::Result<()> {
        let Some(result) = self.plan.result.as_ref().filter(|_| self.done_s.is_some()) else {
            return Ok(());
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(result)?)?;
        if hasher.finalize() != *digest {
            self.done_s = None;
        }
        Ok(())
    }

    fn record(&mut self, node: Node, lan: Option<LanBytes>) -> Result<NodeRecord, BedError> {
        let end = end_of(&mut self.process)?;
        Ok(NodeRecord {
            name: node.to_string(),
            end,
            done_s: self.done_s,
            peak_rss: self.peak_rss,
            lan,
        })
    }
}

fn shore_record(shore: &mut Process) -> Result<NodeRecord, BedError> {
    let (name, end) = (shore.name().into(), end_of(shore)?);
    Ok(NodeRecord { name, end, done_s: None, peak_rss: shore.peak_rss(), lan: None })
}

fn spawn(site: &Site, index: u32, line: &Line) -> Result<Process, BedError> {
    let node = Node::Device(index);
    site.spawn(node, &node.to_string(), line)
}

fn end_of(process: &mut Process) -> Result<String, BedError> {
    Ok(match process.look()? {
        None => "running".into(),
        Some(ended) if ended.status.success() => ended.status.to_string(),
        Some(ended) => format!("{}: {}", ended.status, process.complaint()),
    })
}

/// Whom devices blame, by what `neap fetch --json` says, and how many do.
fn blamed(scenario: &Scenario, folder: &Path) -> BTreeMap<String, u32> {
    let mut blamed = BTreeMap::new();
    for index in 1..=scenario.devices {
        let said = fs::read(folder.join(format!("dev{index}.out"))).unwrap_or_default();
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        let files = said["files"].as_array().into_iter().flatten();
        let blame = files.flat_map(|file| file["blame"].as_array().into_iter().flatten());
        let names: BTreeSet<_> = blame
            .filter(|blame| blame["what"] == "WrongBytes")
            .filter_map(|blame| blame["device"].as_str())
            .collect();
        for name in names {
            *blamed.entry(name.to_owned()).or_default() += 1;
        }
    }
    blamed
}

/// Removes an earlier run, and nothing else.
fn empty(folder: &Path) -> Result<(), BedError> {
    if !folder.exists() {
        return Ok(());
    }
    if fs::read_dir(folder)?.next().is_some() && !folder.join(BLOB).exists() {
        let why = format!("{}: neither empty nor an earlier run", folder.display());
        return Err(BedError::Failed(why));
    }
    Ok(fs::remove_dir_all(folder)?)
}

/// Waits until the shore serves.
fn wait_ready(
    site: &Site,
    shore: &mut Process,
    ready: Ready,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<(), BedError> {
    let begun = Instant::now();
    let said = folder.join("shore.err");
    loop {
        if shore.look()?.is_some() {
            return Err(BedError::Failed(format!("the shore has ended: {}", end_of(shore)?)));
        }
        let is_ready = match ready {
            Ready::Tcp(port) => {
                site.inside(Node::Shore, || TcpStream::connect(("127.0.0.1", port))).is_ok()
            }
            Ready::Said => fs::metadata(&said)?.len() > 0,
        };
        if is_ready {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(BedError::Interrupted);
        }
        if begun.elapsed() > READY_LIMIT {
            return Err(BedError::TimedOut("the start of the shore".into()));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Bytes that no coder makes smaller; their digest.
fn write_blob(path: &Path, size: u64) -> io::Result<blake3::Hash> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut bytes = blake3::Hasher::new().update(b"blob of the testbed").finalize_xof();
    let (mut file, mut hasher) = (File::create(path)?, blake3::Hasher::new());
    let mut chunk = vec![0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let len = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        bytes.fill(&mut chunk[..len]);
        hasher.update(&chunk[..len]);
        file.write_all(&chunk[..len])?;
        left -= len as u64;
    }
    Ok(hasher.finalize())
}

/// Bytes of a file without its holes, or of all files below a folder; 0 of what is not there.
fn size(path: &Path) -> u64 {
    let Ok(found) = fs::metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len().min(found.blocks() * 512);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
