//! A way on which packets are lost: everything is passed on, until it is cut; then both ends send, and neither hears.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The way to a server.
pub struct Lossy {
    /// Where clients go.
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Lossy {
    /// To this server.
    pub fn to(server: SocketAddr) -> Lossy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, cut) = (listener.local_addr().expect("an address"), Arc::new(AtomicBool::new(false)));
        let lost = cut.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Nobody gets through to make a new connection either; it is held, so that it is not refused.
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let lost = lost.clone();
                    std::thread::spawn(move || pass(from, to, &lost));
                }
            }
        });
        Lossy { address, cut }
    }

    /// From now on nothing comes through, and nothing is closed.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, lost: &AtomicBool) {
    let mut octets = [0; 16 * 1024];
    loop {
        let count = from.read(&mut octets).unwrap_or(0);
        if lost.load(Relaxed) {
            if count == 0 {
                // That one end has closed is lost too.
                std::thread::park();
            }
            continue;
        }
        if count == 0 || to.write_all(&octets[..count]).is_err() {
            let _ = to.shutdown(std::net::Shutdown::Write);
            return;
        }
    }
}
