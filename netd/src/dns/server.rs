//! The DNS child's loop: control messages, questions over UDP, and answers of
//! other name servers on their way back. TCP is in `tcp`.
//!
//! Everything is bounded: questions under way in all and for each container,
//! their time, the size of each message.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::control::{self, Message};
use super::message::{self, Code, Malformed, Question};
use super::table::{Answer, Table};
use super::tcp;

/// Seconds an answer of ours may be kept: a container's next run has another address.
pub(super) const TTL: u32 = 1;
/// Where name servers listen.
pub(super) const PORT: u16 = 53;
/// A name server is given this long before the next one is asked.
const ATTEMPT: Duration = Duration::from_secs(2);
/// At most so many name servers are asked for one question.
pub(super) const ATTEMPTS: usize = 3;
/// Forwarded questions under way.
const FORWARD_LIMIT: usize = 512;
/// Of these, for one container.
const FORWARD_LIMIT_EACH: usize = 64;
/// No datagram of DNS is larger.
const DATAGRAM_BYTES: usize = 65_535;
/// Datagrams taken from one socket before the others have their turn.
const DATAGRAMS_PER_TURN: usize = 64;
const EVENTS_PER_TURN: usize = 128;

/// What an event is about.
const CONTROL: u64 = 0;

/// What is known, shared with the threads of TCP connections.
pub(super) type Known = Arc<RwLock<Table>>;

/// Returns what is known now.
pub(super) fn read(known: &Known) -> std::sync::RwLockReadGuard<'_, Table> {
    known.read().unwrap_or_else(PoisonError::into_inner)
}

/// The sockets in one run's namespace.
struct Listener {
    run: Arc<str>,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// A question that another name server was asked.
struct Forward {
    /// The number of the listener it came in on.
    listener: u64,
    client: SocketAddr,
    question: Question,
    query: Vec<u8>,
    socket: UdpSocket,
    id: u16,
    servers: Vec<IpAddr>,
    attempt: usize,
    deadline: Instant,
}

struct Server {
    epoll: OwnedFd,
    known: Known,
    /// UDP has the listener's number, TCP the next one.
    listeners: HashMap<u64, Listener>,
    forwards: HashMap<u64, Forward>,
    connections: tcp::Connections,
    next: u64,
}

/// Answers until the daemon is gone.
///
/// # Errors
/// When events cannot be waited for, or the daemon makes no sense.
pub fn serve(control: BorrowedFd<'_>) -> io::Result<()> {
    let mut server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        known: Known::default(),
        listeners: HashMap::new(),
        forwards: HashMap::new(),
        connections: tcp::Connections::default(),
        next: CONTROL + 1,
    };
    server.watch(control, CONTROL)?;
    let mut events = Vec::with_capacity(EVENTS_PER_TURN);
    loop {
        events.clear();
        let limit = server.time_to_next();
        match epoll::wait(
            &server.epoll,
            rustix::buffer::spare_capacity(&mut events),
            limit.as_ref(),
        ) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            match event.data.u64() {
                CONTROL => match control::receive(control)? {
                    Some(message) => server.obey(message)?,
                    None => return Ok(()),
                },
                number => server.ready(number),
            }
        }
        server.expire();
    }
}

impl Server {
    fn watch(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(
            &self.epoll,
            socket,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    fn number(&mut self) -> u64 {
        self.next += 2;
        self.next
    }

    fn obey(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Table(table) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = *table;
            }
            Message::Forget { run } => {
                self.listeners.retain(|_, listener| *listener.run != *run);
            }
            Message::Listen { run, udp, tcp } => {
                let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                let number = self.number();
                self.watch(&udp, number)?;
                self.watch(&tcp, number + 1)?;
                let run = Arc::from(run);
                let listener = Listener { run, udp, tcp };
                self.listeners.insert(number, listener);
            }
        }
        Ok(())
    }

    fn ready(&mut self, number: u64) {
        if self.forwards.contains_key(&number) {
            self.returned(number);
        } else if self.listeners.contains_key(&number) {
            self.asked(number);
        } else if let Some(listener) = self.listeners.get(&(number.wrapping_sub(1))) {
            self.connections
                .accept(&listener.tcp, &listener.run, &self.known);
        }
    }

    /// Questions have come in at a listener.
    fn asked(&mut self, number: u64) {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some(listener) = self.listeners.get(&number) else {
                return;
            };
            // An error here is one of an earlier answer, or that there is no more.
            let Ok((length, client)) = listener.udp.recv_from(&mut buffer) else {
                return;
            };
            let query = &buffer[..length];
            let response = respond(&read(&self.known), &listener.run, query);
            match response {
                Response::Nothing => {}
                Response::Message(answer) => answer_udp(&listener.udp, &answer, client),
                Response::Forward(question, servers) => {
                    self.forward(number, client, (question, query.to_vec()), servers);
                }
            }
        }
    }

    fn forward(
        &mut self,
        listener: u64,
        client: SocketAddr,
        (question, query): (Question, Vec<u8>),
        servers: Vec<IpAddr>,
    ) {
        let own = self
            .forwards
            .values()
            .filter(|forward| forward.listener == listener);
        let busy = self.forwards.len() >= FORWARD_LIMIT || own.count() >= FORWARD_LIMIT_EACH;
        let started = if busy {
            None
        } else {
            ask(&query, &servers, 0).ok()
        };
        let Some((socket, id)) = started else {
            if let Some(listener) = self.listeners.get(&listener) {
                let answer = message::code(&query, &question, Code::ServerFailure);
                answer_udp(&listener.udp, &answer, client);
            }
            return;
        };
        let number = self.number();
        if self.watch(&socket, number).is_err() {
            return; // the client asks again
        }
        let forward = Forward {
            listener,
            client,
            question,
            query,
            socket,
            id,
            servers,
            attempt: 0,
            deadline: Instant::now() + ATTEMPT,
        };
        self.forwards.insert(number, forward);
    }

    /// A name server has answered, or said that it does not.
    fn returned(&mut self, number: u64) {
        let Some(forward) = self.forwards.get(&number) else {
            return;
        };
        let mut buffer = vec![0; DATAGRAM_BYTES];
        match forward.socket.recv(&mut buffer) {
            Ok(length) => {
                let answer = &mut buffer[..length];
                if !message::answers(answer, &forward.query, &forward.question, forward.id) {
                    return; // forged, or late: the right one may still come
                }
                message::set_id(answer, forward.question.id);
                if let Some(listener) = self.listeners.get(&forward.listener) {
                    answer_udp(&listener.udp, answer, forward.client);
                }
                self.forwards.remove(&number);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ask_next(number),
        }
    }

    fn ask_next(&mut self, number: u64) {
        let Some(mut forward) = self.forwards.remove(&number) else {
            return;
        };
        for attempt in forward.attempt + 1..forward.servers.len().min(ATTEMPTS) {
            if let Ok((socket, id)) = ask(&forward.query, &forward.servers, attempt)
                && self.watch(&socket, number).is_ok()
            {
                (forward.socket, forward.id, forward.attempt) = (socket, id, attempt);
                forward.deadline = Instant::now() + ATTEMPT;
                self.forwards.insert(number, forward);
                return;
            }
        }
        if let Some(listener) = self.listeners.get(&forward.listener) {
            let answer = message::code(&forward.query, &forward.question, Code::ServerFailure);
            answer_udp(&listener.udp, &answer, forward.client);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = self
            .forwards
            .iter()
            .filter(|(_, forward)| forward.deadline <= now);
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        for number in late {
            self.ask_next(number);
        }
    }

    fn time_to_next(&self) -> Option<Timespec> {
        let first = self
            .forwards
            .values()
            .map(|forward| forward.deadline)
            .min()?;
        let left = first.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }
}

/// Asks a name server over a socket of its own, so that port and id are both
/// hard to guess.
fn ask(query: &[u8], servers: &[IpAddr], attempt: usize) -> io::Result<(UdpSocket, u16)> {
    let server = *servers.get(attempt).ok_or(io::ErrorKind::NotFound)?;
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((server, PORT))?;
    socket.set_nonblocking(true)?;
    let id = random_id()?;
    let mut query = query.to_vec();
    message::set_id(&mut query, id);
    socket.send(&query)?;
    Ok((socket, id))
}

pub(super) fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

/// What becomes of a message.
pub(super) enum Response {
    Nothing,
    Message(Vec<u8>),
    Forward(Question, Vec<IpAddr>),
}

/// Decides about one message.
pub(super) fn respond(table: &Table, run: &str, query: &[u8]) -> Response {
    let or_nothing = |answer: Option<Vec<u8>>| answer.map_or(Response::Nothing, Response::Message);
    let question = match message::parse(query) {
        Ok(question) => question,
        Err(Malformed::Ignore) => return Response::Nothing,
        Err(Malformed::Format) => return or_nothing(message::error(query, Code::Format)),
        Err(Malformed::NotQuery) => return or_nothing(message::error(query, Code::NotImplemented)),
    };
    Response::Message(match table.answer(run, &question) {
        Answer::Nobody => return Response::Nothing,
        Answer::Forward(servers) => return Response::Forward(question, servers),
        Answer::Code(code) => message::code(query, &question, code),
        Answer::Pointer(name) => message::pointer(query, &question, &name, TTL),
        Answer::Addresses(mut addresses) => {
            // Each asker gets another one first.
            let turn = usize::from(question.id) % addresses.len().max(1);
            addresses.rotate_left(turn);
            message::addresses(query, &question, &addresses, TTL)
        }
    })
}

/// A client that cannot be answered asks again.
fn answer_udp(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    drop(socket.send_to(answer, client));
}
