//! TLS between a connection and its socket, without ever waiting.
//!
//! The handshake is part of the stream: until it is over, a write takes nothing and says that there is no room. What is
//! taken is encrypted at once and counts as written only when the kernel has all of it, see
//! [`is_flushed`](TlsStream::is_flushed). Whether a failure can pass is decided here, since only here it is known who
//! said what; why it happened is told in the words of the settings.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error as TlsError, InvalidMessage,
    pki_types::ServerName,
};

use crate::engine::Ending;

pub(super) struct TlsStream {
    socket: TcpStream,
    session: ClientConnection,
    /// Whether anything was decrypted so far: with TLS 1.3 a broker refuses our certificate only after we think that the
    /// handshake is over.
    heard: bool,
    /// Whether the broker sent anything at all.
    spoken: bool,
}

impl TlsStream {
    /// Begins the handshake with whoever is at the other end, who must have a certificate for `host`.
    pub(super) fn new(socket: TcpStream, host: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::other(Refused(format!("{host} is no name that a certificate could be for")))
        })?;
        let mut session = ClientConnection::new(Arc::clone(config), name)
            .map_err(|e| io::Error::other(Refused(format!("TLS cannot begin: {e}"))))?;
        session.set_buffer_limit(Some(MOST_ENCRYPTED));
        Ok(Self { socket, session, heard: false, spoken: false })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the kernel has everything that was taken.
    pub(super) fn is_flushed(&self) -> bool {
        !self.session.wants_write()
    }

    /// Decrypts into `buffer`. `WouldBlock`: nothing more has arrived.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut silent = 0;
        loop {
            match self.session.reader().read(buffer) {
                Ok(n) => {
                    self.heard |= n > 0;
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // It closed without a word of farewell, which many do. Frames have lengths: nothing can be cut off
                // unnoticed.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            let n = self.session.read_tls(&mut self.socket)?;
            if n == 0 && self.session.is_handshaking() {
                return Err(self.cut_short());
            }
            self.spoken |= n > 0;
            silent += n;
            let outcome = self.session.process_new_packets();
            // Part of a handshake to go on with, or a word on why not.
            let flushed = self.flush();
            outcome.map_err(|e| self.refused(&e))?;
            flushed?;
            if silent > MOST_SILENT {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "it sends TLS records that carry nothing",
                ));
            }
        }
    }

    /// Takes bytes, encrypts and sends what can be sent. `WouldBlock`: there is no room, or no key to encrypt with yet.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if !self.is_flushed() || self.session.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.session.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends what was encrypted, as far as there is room.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come, if there is room for it.
    pub(super) fn say_farewell(&mut self) {
        self.session.send_close_notify();
        // Nobody waits for it: whoever closes has no use for the connection any more.
        let _ = self.flush();
    }

    fn cut_short(&self) -> io::Error {
        let text = if self.spoken {
            "it closed the connection during the TLS handshake"
        } else {
            "it closed the connection as soon as TLS began"
        };
        io::Error::new(ErrorKind::UnexpectedEof, text)
    }

    fn refused(&self, error: &TlsError) -> io::Error {
        let before = self.session.is_handshaking() || !self.heard;
        if !before {
            return io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}"));
        }
        io::Error::other(Refused(explain(error)))
    }
}

/// What a failed handshake means, and which setting to look at.
fn explain(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => {
                "its certificate comes from no authority that is trusted (ssl.truststore.location or \
                 ssl.truststore.certificates)"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "its certificate is for somebody else: {problem} (ssl.endpoint.identification.algorithm; the host in \
                 bootstrap.servers or in the broker's advertised.listeners)"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has expired: {problem}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet; is this machine's clock right? {problem}")
            }
            _ => format!("its certificate is not accepted: {problem}"),
        },
        TlsError::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it wants a certificate of this client (ssl.keystore.location, or ssl.keystore.key and \
                 ssl.keystore.certificate.chain)"
                    .to_owned()
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => format!(
                "it refuses this client's certificate, or the lack of one: {alert:?} (ssl.keystore.location, or \
                 ssl.keystore.key and ssl.keystore.certificate.chain)"
            ),
            AlertDescription::ProtocolVersion => {
                "it speaks no version of TLS that is allowed here (ssl.enabled.protocols)".to_owned()
            }
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => format!(
                "it found nothing in common with this client: {alert:?} (ssl.cipher.suites, ssl.enabled.protocols, \
                 ssl.keystore.location)"
            ),
            _ => format!("it refused the TLS handshake: {alert:?}"),
        },
        TlsError::PeerIncompatible(what) => format!(
            "it has no TLS in common with this client: {what:?} (ssl.enabled.protocols, ssl.cipher.suites)"
        ),
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "it does not speak TLS: is this a PLAINTEXT port (security.protocol)?".to_owned(),
        TlsError::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            "its chain of certificates, or another message of the TLS handshake, is larger than 64 KiB"
                .to_owned()
        }
        _ => format!("the TLS handshake failed: {error}"),
    }
}

/// A handshake that will fail the next time as well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// What the end of a connection by this error says of the next one.
pub(super) fn ending_of(error: &io::Error) -> Ending {
    if error.get_ref().is_some_and(|inner| inner.is::<Refused>()) {
        Ending::Refused
    } else if error.kind() == ErrorKind::UnexpectedEof {
        Ending::ClosedInHandshake
    } else {
        Ending::Broken
    }
}

/// What is encrypted and not sent yet: four records of the largest size. More would only lie in two places.
const MOST_ENCRYPTED: usize = 64 * 1024;

/// Tickets and the longest chain of certificates take less. More is somebody who keeps the sender thread busy.
const MOST_SILENT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handshake_names_the_setting() {
        for (error, want) in [
            (CertificateError::UnknownIssuer.into(), "ssl.truststore.location"),
            (CertificateError::NotValidForName.into(), "ssl.endpoint.identification.algorithm"),
            (CertificateError::Expired.into(), "expired"),
            (CertificateError::NotValidYet.into(), "clock"),
            (CertificateError::Revoked.into(), "not accepted"),
            (TlsError::AlertReceived(AlertDescription::CertificateRequired), "ssl.keystore.location"),
            (TlsError::AlertReceived(AlertDescription::UnknownCA), "ssl.keystore.location"),
            (TlsError::AlertReceived(AlertDescription::ProtocolVersion), "ssl.enabled.protocols"),
            (TlsError::AlertReceived(AlertDescription::HandshakeFailure), "ssl.cipher.suites"),
            (TlsError::AlertReceived(AlertDescription::InternalError), "InternalError"),
            (TlsError::InvalidMessage(InvalidMessage::InvalidContentType), "security.protocol"),
            (TlsError::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge), "64 KiB"),
            (TlsError::DecryptError, "failed"),
        ] {
            let text = explain(&error);
            assert!(text.contains(want), "{error:?}: {text}");
        }
    }

    #[test]
    fn what_an_error_says_of_the_next_connection() {
        for (error, want) in [
            (io::Error::other(Refused(String::new())), Ending::Refused),
            (ErrorKind::UnexpectedEof.into(), Ending::ClosedInHandshake),
            (ErrorKind::ConnectionReset.into(), Ending::Broken),
            (io::Error::other("anything else"), Ending::Broken),
        ] {
            assert_eq!(ending_of(&error), want, "{error:?}");
        }
    }
}
