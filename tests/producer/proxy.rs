//! A proxy in front of a broker that tampers with the stream between it and the producer.
//!
//! It cuts the stream into frames, has the producer find the proxy instead of the broker in every answer, and leaves the
//! rest to the [`Tampering`] of the test.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use kafka_producer::testing::Cluster;

/// What is done to the stream. Frames come with their length in front.
pub(crate) trait Tampering: Send + Sync + 'static {
    /// Passes a request on to the broker. An error ends the connection.
    fn request(&self, frame: &[u8], broker: &mut TcpStream) -> io::Result<()> {
        broker.write_all(frame)
    }

    /// Passes an answer on to the producer. An error ends the connection.
    fn response(&self, api: i16, frame: &[u8], producer: &mut TcpStream) -> io::Result<()> {
        let _ = api;
        producer.write_all(frame)
    }
}

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    broker: SocketAddr,
    own_port: u16,
    tampering: Arc<dyn Tampering>,
    ended: AtomicBool,
    /// The producer's end and the broker's end of every connection there was.
    connections: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Proxy {
    /// Stands before the only broker of a cluster.
    pub(crate) fn new(cluster: &Cluster, tampering: Arc<dyn Tampering>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            broker: cluster.address(1),
            own_port: address.port(),
            tampering,
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    shared.serve(stream.unwrap());
                }
            })
        };
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends bytes to the producer on every connection, whatever else is going on.
    pub(crate) fn inject(&self, bytes: &[u8]) {
        for (producer, _) in &*self.shared.connections.lock().unwrap() {
            let _ = (&*producer).write_all(bytes);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // A listener cannot be told to stop; it looks up once more.
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
        for (producer, broker) in self.shared.connections.lock().unwrap().drain(..) {
            hang_up(&producer, &broker);
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, producer: TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        producer.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        let both = || (producer.try_clone().unwrap(), broker.try_clone().unwrap());
        self.connections.lock().unwrap().push(both());
        // Which answer belongs to which request is known by their order alone.
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let (this, apis, (mut from, mut to)) = (Arc::clone(self), Arc::clone(&asked), both());
        thread::spawn(move || {
            while let Ok(frame) = read_frame(&mut from) {
                apis.lock().unwrap().push_back(i16::from_be_bytes([frame[4], frame[5]]));
                if this.tampering.request(&frame, &mut to).is_err() {
                    break;
                }
            }
            hang_up(&from, &to);
        });
        let (this, (mut to, mut from)) = (Arc::clone(self), both());
        thread::spawn(move || {
            while let Ok(mut frame) = read_frame(&mut from) {
                let api = asked.lock().unwrap().pop_front().expect("an answer to a request");
                this.redirect(&mut frame);
                if this.tampering.response(api, &frame, &mut to).is_err() {
                    break;
                }
            }
            hang_up(&from, &to);
        });
    }

    /// Wherever a frame names the broker's address, it names the proxy's instead, which is as long.
    fn redirect(&self, frame: &mut [u8]) {
        let mut broker = b"127.0.0.1\0\0".to_vec();
        broker.extend(self.broker.port().to_be_bytes());
        for at in 0..frame.len().saturating_sub(broker.len() - 1) {
            if frame[at..].starts_with(&broker) {
                frame[at + broker.len() - 2..at + broker.len()].copy_from_slice(&self.own_port.to_be_bytes());
            }
        }
    }
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    let length = u32::from_be_bytes(frame[..].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn hang_up(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

pub(crate) const PRODUCE: i16 = 0;
