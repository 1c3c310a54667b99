//! Whether the way to a peer may have changed under a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::door::bind;

/// From which address what we send to each peer went, when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Way {
    from: BTreeMap<SocketAddr, IpAddr>,
    looked: Option<Instant>,
    tried: Option<Instant>,
}

impl Way {
    /// Whether it is time to show these peers our address: it is another one than before, or what
    /// we wait for has not come for a while.
    pub(super) fn may_have_moved(
        &mut self,
        remotes: &[SocketAddr],
        waiting_since: Option<Instant>,
    ) -> bool {
        let is_stalled = waiting_since.is_some_and(|since| {
            since.elapsed() > STALL && self.tried.is_none_or(|tried| tried.elapsed() > STALL)
        });
        if is_stalled {
            self.tried = Some(Instant::now());
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return is_stalled;
        }
        self.looked = Some(Instant::now());
        let mut moved = false;
        for remote in remotes {
            let Some(from) = source_address(*remote) else { continue };
            moved |= self.from.insert(*remote, from).is_some_and(|before| before != from);
        }
        moved || is_stalled
    }
}

/// The address from which the system sends to a peer. No packet is sent.
fn source_address(remote: SocketAddr) -> Option<IpAddr> {
    let socket = bind(SocketAddr::from(([0_u16; 8], 0))).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// How often addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long nothing may come before peers are shown where we are: past three round trips by
/// satellite, and before anyone takes the connection for dead.
const STALL: Duration = Duration::from_secs(2);
