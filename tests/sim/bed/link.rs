//! Shore, gateway, and the emulated link between them, running in a thread of this process.

use std::fs::File;
use std::io;
use std::io::{PipeWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::namespace::{BedError, Network, set};
use super::options::LinkOptions;
use super::pump::{End, Pump, Totals};

/// The shore's address on the link.
pub const SHORE: &str = "10.77.0.1";
/// The gateway's address on the link.
pub const GATEWAY: &str = "10.77.0.2";

/// Two namespaces and the link between them.
#[derive(Debug)]
pub struct Link {
    network: Network,
    shore: String,
    gateway: String,
    control: Mutex<PipeWriter>,
    begin_count: Arc<AtomicU32>,
    thread: JoinHandle<io::Result<Totals>>,
}

impl Link {
    /// Makes the namespaces and starts the emulator. Statistics go to the file `stats`, if any.
    ///
    /// # Errors
    /// If anything cannot be made.
    pub fn start(options: &LinkOptions, stats: Option<&Path>) -> Result<Self, BedError> {
        let network = Network::new()?;
        let (shore, gateway) = (network.namespace("shore")?, network.namespace("gateway")?);
        let end = |namespace: &String, address: &str| End {
            namespace: namespace.clone(),
            address: format!("{address}/30"),
        };
        let ends = [end(&shore, SHORE), end(&gateway, GATEWAY)];
        set(&gateway, "net/ipv4/ip_forward", "1")?;
        let stats = stats.map(File::create).transpose()?;
        let pump = Pump::new(network.device_prefix(), &ends, options, stats)?;
        let begin_count = pump.begin_count();
        let (reader, writer) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("link".into())
            .spawn(move || pump.run(reader, &AtomicBool::new(false)))?;
        let control = Mutex::new(writer);
        Ok(Self { network, shore, gateway, control, begin_count, thread })
    }

    /// Sets the clock of outages and statistics to 0. When this returns, it has begun.
    ///
    /// # Errors
    /// If the emulator is gone.
    pub fn begin(&self) -> Result<(), BedError> {
        let mut control = self.control.lock().map_err(|_| emulator_gone())?;
        let before = self.begin_count.load(Ordering::Acquire);
        control.write_all(b"begin\n")?;
        while self.begin_count.load(Ordering::Acquire) == before {
            if self.thread.is_finished() {
                return Err(emulator_gone());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends the emulator; returns what passed since [`Link::begin`]. The namespaces are removed.
    ///
    /// # Errors
    /// If the emulator failed.
    pub fn finish(self) -> Result<Totals, BedError> {
        let Self { network, control, thread, .. } = self;
        drop(control);
        let ended = thread.join().map_err(|_| emulator_gone())?;
        drop(network);
        Ok(ended?)
    }

    /// The namespaces' maker.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The shore's namespace.
    #[must_use]
    pub fn shore(&self) -> &str {
        &self.shore
    }

    /// The gateway's namespace.
    #[must_use]
    pub fn gateway(&self) -> &str {
        &self.gateway
    }
}

fn emulator_gone() -> BedError {
    BedError::Failed("the link emulator has ended".into())
}
