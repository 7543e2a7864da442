//! A way to Redis that can be cut, and that can hold back what was sent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Nothing gets through; what was sent meanwhile arrives once it is open again, whatever became of the sender.
    Stalled,
}

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(super) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, watched) = watch::channel(Mode::Open);
        spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mode, target) = (watched.clone(), target.clone());
                if *mode.borrow() == Mode::Cut {
                    continue;
                }
                spawn(async move {
                    let Ok(server) = TcpStream::connect(&target).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    spawn(carry(from_client, to_server, mode.clone()));
                    carry(from_server, to_client, mode).await;
                });
            }
        });
        Self { address, mode }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => return,
        };
        if read == 0 {
            return;
        }
        // Holds back while stalled; ends with the proxy.
        if mode.wait_for(|mode| *mode != Mode::Stalled).await.is_err() || *mode.borrow() == Mode::Cut {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where tests spawn")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}
