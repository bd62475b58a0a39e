//! Questions over TCP: a thread for each connection, few of them, each for a
//! short time, so that no client keeps others out for long.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::{self, Code};
use super::server::{ATTEMPTS, Known, PORT, Response, random_id, read, respond};

/// Connections at a time, in all and of one container.
const CONNECTION_LIMIT: usize = 64;
const CONNECTION_LIMIT_EACH: usize = 8;
/// A connection ends after this time whatever it does.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// A name server that is asked over TCP is given this long.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Questions answered on one connection.
const QUESTION_LIMIT: usize = 32;
/// A question is never this long.
const QUERY_BYTES: usize = 4096;
const STACK_BYTES: usize = 256 * 1024;

/// How many connections each run has.
type Open = Arc<Mutex<HashMap<Arc<str>, usize>>>;

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Open,
}

/// Counts one connection down when it ends.
struct Place {
    open: Open,
    run: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.run);
            }
        }
    }
}

impl Connections {
    /// Takes one connection from a listener; one too many is closed at once.
    pub(super) fn accept(&self, listener: &TcpListener, run: &Arc<str>, known: &Known) {
        let Ok((stream, _)) = listener.accept() else {
            return; // gone again
        };
        let Some(place) = self.place(run) else {
            return;
        };
        let known = Arc::clone(known);
        let work = move || {
            // A connection that breaks is the client's to open again.
            drop(talk(stream, &place.run, &known));
            drop(place);
        };
        let thread = std::thread::Builder::new().name("dns-tcp".to_owned());
        // Without a thread the closure is dropped, and the connection with it.
        drop(thread.stack_size(STACK_BYTES).spawn(work));
    }

    fn place(&self, run: &Arc<str>) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(Arc::clone(run)).or_default();
        if all >= CONNECTION_LIMIT || *own >= CONNECTION_LIMIT_EACH {
            if *own == 0 {
                open.remove(run);
            }
            return None;
        }
        *own += 1;
        let open = Arc::clone(&self.open);
        Some(Place {
            open,
            run: Arc::clone(run),
        })
    }
}

fn talk(mut stream: TcpStream, run: &str, known: &Known) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let deadline = Instant::now() + CONNECTION_TIME;
    for _ in 0..QUESTION_LIMIT {
        let query = receive(&mut stream, deadline, QUERY_BYTES)?;
        let response = respond(&read(known), run, &query);
        let answer = match response {
            Response::Nothing => return Ok(()),
            Response::Message(answer) => answer,
            Response::Forward(question, servers) => {
                let mut answers = servers.iter().take(ATTEMPTS).filter_map(|server| {
                    let id = random_id().ok()?;
                    let mut answer = ask(*server, &query, id, deadline).ok()?;
                    let right = message::answers(&answer, &query, &question, id);
                    message::set_id(&mut answer, question.id);
                    right.then_some(answer)
                });
                let failed = || message::code(&query, &question, Code::ServerFailure);
                answers.next().unwrap_or_else(failed)
            }
        };
        send(&mut stream, &answer, deadline)?;
    }
    Ok(())
}

fn ask(server: IpAddr, query: &[u8], id: u16, deadline: Instant) -> io::Result<Vec<u8>> {
    let deadline = deadline.min(Instant::now() + ATTEMPT);
    let address = SocketAddr::from((server, PORT));
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    let mut query = query.to_vec();
    message::set_id(&mut query, id);
    send(&mut stream, &query, deadline)?;
    receive(&mut stream, deadline, usize::from(u16::MAX))
}

fn receive(stream: &mut TcpStream, deadline: Instant, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    read_exact(stream, &mut length, deadline)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    read_exact(stream, &mut message, deadline)?;
    Ok(message)
}

/// As `Read::read_exact`, but the limit holds for all of it and not for each read.
fn read_exact(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => buffer = &mut buffer[length..],
        }
    }
    Ok(())
}

fn send(stream: &mut TcpStream, message: &[u8], deadline: Instant) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}
