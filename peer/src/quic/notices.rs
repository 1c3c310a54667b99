//! Notices on their stream: frames in, frames out.

use quinn::{RecvStream, SendStream};

use crate::wire::{Notice, WireError};

/// Why no notice came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer does not speak the protocol.
    Wire(WireError),
    /// The stream or the connection ended.
    Ended,
}

/// The next notice of a peer.
pub(super) async fn next(stream: &mut RecvStream) -> Result<Notice, Broken> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(|_| Broken::Ended)?;
    let len = Notice::frame_len(head).map_err(Broken::Wire)?;
    // At most a frame's length, whatever the peer says.
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await.map_err(|_| Broken::Ended)?;
    Notice::decode(&frame).map_err(Broken::Wire)
}

/// Sends a notice; `false` if the connection is gone.
pub(super) async fn send(stream: &mut SendStream, notice: &Notice) -> bool {
    stream.write_all(&notice.encode()).await.is_ok()
}
