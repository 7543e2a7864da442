//! A TCP proxy between the program and a server: it can cut its connections, take no new ones, or let nothing through.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How soon a stalled connection goes on after the stall.
const STALL_POLL: Duration = Duration::from_millis(5);
const BUFFER_BYTES: usize = 64 << 10;

/// What a proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Passes it on.
    Pass,
    /// Closes every connection at once.
    Refuse,
    /// Keeps it, and keeps the connections open.
    Stall,
}

/// A proxy on a port of its own, for as long as the process lives.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: OnceLock<SocketAddr>,
    mode: AtomicU8,
    /// Both ends of what is open; closed ones leave when new ones come.
    open: Mutex<Vec<Pair>>,
}

struct Pair {
    ends: [TcpStream; 2],
    /// Whether a pump still works on it.
    alive: Arc<()>,
}

impl Proxy {
    /// Listens; connections are closed until it is told where they lead.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.connect(client));
            }
        });
        Self { address, shared }
    }

    /// Says where connections lead.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.shared.target.set(target).unwrap();
    }

    /// Changes what it does from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Cuts the connections there are, wherever they are in a message.
    pub(crate) fn cut(&self) {
        for Pair { ends, .. } in self.shared.open.lock().unwrap().drain(..) {
            // It may be closed already.
            ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.is(Mode::Refuse) {
            return;
        }
        let Some(target) = self.target.get() else { return };
        let Ok(server) = TcpStream::connect_timeout(target, CONNECT_LIMIT) else { return };
        let alive = Arc::new(());
        let pumps = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
        for end in [&client, &server] {
            // Where the connection is gone already there is nothing to be quick about.
            drop(end.set_nodelay(true));
        }
        let mut open = self.open.lock().unwrap();
        open.retain(|pair| Arc::strong_count(&pair.alive) > 1);
        for pump in pumps {
            let (Ok(from), Ok(to)) = pump else { return };
            let (shared, alive) = (Arc::clone(self), Arc::clone(&alive));
            thread::spawn(move || {
                shared.pump(from, to);
                drop(alive);
            });
        }
        open.push(Pair { ends: [client, server], alive });
    }

    /// Passes bytes on in one direction, and closes both when that ends.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            while self.is(Mode::Stall) {
                thread::sleep(STALL_POLL);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

#[test]
fn it_passes_stalls_cuts_and_refuses() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::new();
    proxy.lead_to(server.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while let Ok(1) = client.read(&mut byte) {
                    client.write_all(&byte).unwrap();
                }
            });
        }
    });
    let connect = || {
        let client = TcpStream::connect(proxy.address).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client
    };
    let mut byte = [0];
    let mut client = connect();
    client.write_all(b"a").unwrap();
    assert_eq!((client.read(&mut byte).unwrap(), byte), (1, *b"a"));
    proxy.set(Mode::Stall);
    client.write_all(b"b").unwrap();
    let error = client.read(&mut byte).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "nothing passes");
    proxy.set(Mode::Pass);
    assert_eq!((client.read(&mut byte).unwrap(), byte), (1, *b"b"), "what was kept passes");
    proxy.cut();
    assert!(matches!(client.read(&mut byte), Ok(0) | Err(_)), "it is closed");
    let mut client = connect();
    client.write_all(b"c").unwrap();
    assert_eq!(client.read(&mut byte).unwrap(), 1, "a new one passes");
    proxy.set(Mode::Refuse);
    assert!(matches!(client.read(&mut byte), Ok(0)), "it is cut");
    assert!(matches!(connect().read(&mut byte), Ok(0) | Err(_)), "and no new one is taken");
}
