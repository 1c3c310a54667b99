//! A site behind an emulated satellite link: real processes in network namespaces of this machine.
//!
//! In reading order: [`tally`] and [`outages`] (what passed, and when nothing does), [`direction`]
//! (one direction of a link as a state machine that is told the time), [`options`] (a link on a
//! command line), [`pump`] (the one file that touches network devices), [`namespace`] (networks
//! and what moves into them), [`link`] (shore, gateway and the link between them), [`site`] (with
//! devices on a LAN), [`node`] (a process in one of them).
//!
//! ```no_run
//! use neap_sim::bed::{options::LinkOptions, site::{Node, Site}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let link = LinkOptions { rate_kbit: 2000, loss_percent: 1.0, ..LinkOptions::default() };
//! let site = Site::start(3, &link, "logs".as_ref())?;
//! let mut server = site.spawn(Node::Shore, "serve", &["python3", "-m", "http.server"])?;
//! site.link().begin()?;
//! let mut fetch = site.spawn(Node::Device(1), "fetch", &["curl", "http://10.77.0.1:8000/"])?;
//! fetch.wait(std::time::Duration::from_secs(60))?;
//! server.kill()?;
//! println!("{:?}", site.finish()?);
//! # Ok(())
//! # }
//! ```
//!
//! It takes root and `/dev/net/tun`: [`namespace::available`] says whether they are there. All
//! that is made carries this process's id in its name and is removed when the value is dropped;
//! what a killed process left behind is removed by the next one, or by `site clean`.

pub mod direction;
pub mod link;
pub mod namespace;
pub mod node;
pub mod options;
pub mod outages;
pub mod pump;
pub mod site;
pub mod tally;

/// Nanoseconds of a second.
pub const NS_PER_S: u64 = 1_000_000_000;
