//! TLS before the sink, with a certificate that is good for the loopback and for nothing else.

use std::{
    io::{self, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub(super) type TlsStream = StreamOwned<ServerConnection, Buffered>;

pub(super) fn config() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).expect("it is a certificate in PEM")];
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("it is a key in PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    Arc::new(config)
}

pub(super) fn accept(socket: TcpStream, config: &Arc<ServerConfig>) -> Option<TlsStream> {
    let session = ServerConnection::new(Arc::clone(config)).ok()?;
    Some(StreamOwned::new(session, Buffered(BufReader::with_capacity(READ, socket))))
}

/// rustls asks for little at a time, and each time would be a call of the system.
pub(super) struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

const CERTIFICATE: &[u8] = include_bytes!("../../tls/sink.pem");
const KEY: &[u8] = include_bytes!("../../tls/sink.key.pem");

const READ: usize = 256 * 1024;
