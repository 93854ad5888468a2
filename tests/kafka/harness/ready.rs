//! Whether a broker answers, asked with bytes written by hand: the codec under test has no part in it.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Asks a broker for ApiVersions and then for Metadata, and returns the ids of the brokers that it lists.
///
/// The port listens, and even ApiVersions is answered, before the broker has joined its cluster.
pub(super) fn brokers_listed_by(port: u16) -> io::Result<BTreeSet<i32>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;

    // ApiVersions 0 has no body; its answer starts with the error code.
    let answer = ask(&mut stream, 18, 0, &[])?;
    if answer.get(..2) != Some(&[0, 0]) {
        return Err(io::Error::other("ApiVersions was refused"));
    }
    // Metadata 1 for an empty list of topics; its answer starts with the brokers: id, host, port, rack.
    let answer = ask(&mut stream, 3, 1, &[0, 0, 0, 0])?;
    let mut rest = &answer[..];
    let brokers = i32::from_be_bytes(take(&mut rest)?);
    let mut listed = BTreeSet::new();
    for _ in 0..brokers {
        listed.insert(i32::from_be_bytes(take(&mut rest)?));
        skip_string(&mut rest)?;
        let _port: [u8; 4] = take(&mut rest)?;
        skip_string(&mut rest)?;
    }
    Ok(listed)
}

/// One request with header version 1; returns what follows the correlation id.
fn ask(stream: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&CORRELATION.to_be_bytes());
    frame.extend_from_slice(&(CLIENT.len() as i16).to_be_bytes());
    frame.extend_from_slice(CLIENT.as_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&(frame.len() as u32).to_be_bytes())?;
    stream.write_all(&frame)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length).min(MAX_ANSWER) as usize];
    stream.read_exact(&mut answer)?;
    let mut rest = &answer[..];
    if i32::from_be_bytes(take(&mut rest)?) != CORRELATION {
        return Err(io::Error::other("the answer belongs to another request"));
    }
    Ok(rest.to_vec())
}

fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = tail;
    Ok(*head)
}

fn skip_string(rest: &mut &[u8]) -> io::Result<()> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).unwrap_or(0);
    *rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(())
}

const CORRELATION: i32 = 7;
const CLIENT: &str = "ready";
const MAX_ANSWER: u32 = 1 << 20;
/// For one connect, read or write: whoever asks asks again.
const PATIENCE: Duration = Duration::from_secs(3);
