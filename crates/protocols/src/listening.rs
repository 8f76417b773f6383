//! What all faces that listen have in common: the bounds of their settings, and how a connection is taken.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// The settings each of them has.
pub(crate) struct Bounds<'s> {
    pub(crate) listen: &'s str,
    /// Of an address, for who wrote none.
    pub(crate) example: &'static str,
    pub(crate) connections_max: usize,
    pub(crate) idle_ms_max: u64,
    pub(crate) message_bytes_max: usize,
    pub(crate) statements_max: usize,
}

/// All faults together, each with the name of its knob.
pub(crate) fn faults(bounds: &Bounds<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    if !bounds.listen.is_empty() && bounds.listen.parse::<std::net::SocketAddr>().is_err() {
        let told = format!("write an address and a port, such as {}, or nothing for not at all", bounds.example);
        faults.push(format!("listen is {:?}; {told}", bounds.listen));
    }
    let above_zero = [
        ("connections_max", bounds.connections_max == 0),
        ("idle_ms_max", bounds.idle_ms_max == 0),
        ("statements_max", bounds.statements_max == 0),
    ];
    for (name, _) in above_zero.iter().filter(|(_, is_zero)| *is_zero) {
        faults.push(format!("{name} is 0: nobody could be served; give at least 1"));
    }
    if !(1_024..=1 << 30).contains(&bounds.message_bytes_max) {
        faults.push(format!("message_bytes_max is {}; give 1024 to 1073741824", bounds.message_bytes_max));
    }
    faults
}

/// The next connection. A fault of one, or of all for a while, does not end the listening.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    /// Until connections end and give their files free.
    const PAUSE: Duration = Duration::from_millis(250);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
