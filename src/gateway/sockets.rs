//! Sockets that somebody with more rights bound for us: systemd, which gives a server port 25 without
//! any privilege of its own (sd_listen_fds(3)).

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::TcpListener;

/// The sockets that were handed over and not taken yet.
pub(super) struct Sockets(Vec<std::net::TcpListener>);

impl Sockets {
    /// Takes those that this process was started with. Call it once, inside a runtime.
    pub(super) fn of_this_process() -> Self {
        let mut handed = ListenFd::from_env();
        let sockets =
            (0..handed.len()).filter_map(|nr| handed.take_tcp_listener(nr).ok().flatten());
        Self(sockets.collect())
    }

    /// The socket at this address, if it was handed over.
    ///
    /// # Errors
    /// The system's refusal.
    pub(super) fn take(&mut self, place: SocketAddr) -> io::Result<Option<TcpListener>> {
        let is_it = |socket: &std::net::TcpListener| {
            socket.local_addr().is_ok_and(|address| address == place)
        };
        let Some(at) = self.0.iter().position(is_it) else { return Ok(None) };
        let socket = self.0.swap_remove(at);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    }

    /// Says which are left: nobody would answer there.
    pub(super) fn complain(&self) {
        for socket in &self.0 {
            if let Ok(address) = socket.local_addr() {
                tracing::warn!(%address, "a socket was handed over that no setting names");
            }
        }
    }
}
