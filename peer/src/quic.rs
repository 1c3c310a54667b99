//! Peers over QUIC: the only files that know `quinn` and `tokio`'s network.
//!
//! - [`transport`]: what a connection over a link of each class is set to.
//! - [`node`]: the endpoint, who is connected, what they say. `door`: who may come in.
//! - [`metadata`]: what is signed, from a peer.
//! - [`answer`](self): what is asked of us. [`ask`]: what we ask, which `take` verifies and keeps.
//! - `way`: whether a connection has to migrate.
//! - [`mirror`]: depots that no peer serves.
//! - [`metrics_http`]: counts on their way out.

mod answer;
pub mod arriving;
pub mod ask;
mod door;
mod error;
pub mod mdns;
pub mod metadata;
pub mod metrics_http;
pub mod mirror;
pub mod node;
mod notices;
pub mod site;
mod take;
pub mod transport;
mod way;
