//! Where a container asks for names: sockets on a port of 127.0.0.11 in its
//! namespace, and a table of rules there by which port 53 of that address leads to
//! them. The container's own programs may bind port 53, and nothing of the host's
//! firewall is on the way.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ::base::netlink::{Family, Socket};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::server::PORT;
use crate::firewall::batch::{Batch, Message};
use crate::namespace::{self, NamespaceError};
use crate::netlink::NetlinkContext as _;
use crate::resolver::EMBEDDED;

/// The table in the container's namespace.
const TABLE: &str = "engine-dns";
const CHAIN: &str = "output";
/// Below those that the kernel gives to whoever names none.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;

const NFPROTO_IPV4: u8 = 2;
const NF_INET_LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`.
const PRIORITY: i32 = -100;
const NFT_META_L4PROTO: u32 = 16;
const NFT_CMP_EQ: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_NAT_DNAT: u32 = 1;
const NFT_REG_1: u32 = 1;
const NFT_REG_2: u32 = 2;
/// Where the headers have the destination.
const IPV4_DESTINATION: u32 = 16;
const PORT_DESTINATION: u32 = 2;

/// The sockets in one namespace.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Opens sockets in the namespace bound at `path` and lets port 53 lead to them;
/// those of before are nobody's then.
///
/// # Errors
/// When the namespace is gone, or the kernel refuses sockets or rules.
pub(super) fn open(path: &Path) -> Result<Sockets, NamespaceError> {
    namespace::within(path, || {
        let sockets = bind(path).doing(|| format!("listen on {EMBEDDED}"))?;
        translate(&sockets).doing(|| format!("let {EMBEDDED} port {PORT} lead to us"))?;
        Ok(sockets)
    })
}

/// A socket of before may still be asked by a client that keeps its own: each
/// namespace has the same port again, unless the container has it now.
fn bind(path: &Path) -> io::Result<Sockets> {
    let digest = ::base::Digest::of(path.as_os_str().as_bytes());
    let number = digest
        .hex()
        .get(..4)
        .map(|hex| u16::from_str_radix(hex, 16));
    let number = number.and_then(Result::ok).unwrap_or_default();
    let usual = PORTS.start + number % (PORTS.end - PORTS.start);
    bind_to(usual).or_else(|_| bind_to(0))
}

fn bind_to(port: u16) -> io::Result<Sockets> {
    let udp = UdpSocket::bind((EMBEDDED, port))?;
    let tcp = TcpListener::bind((EMBEDDED, port))?;
    Ok(Sockets { udp, tcp })
}

/// Replaces the table in the calling thread's namespace, in one transaction.
fn translate(sockets: &Sockets) -> io::Result<()> {
    let ports = [
        (libc::IPPROTO_UDP, sockets.udp.local_addr()?.port()),
        (libc::IPPROTO_TCP, sockets.tcp.local_addr()?.port()),
    ];
    let mut socket = Socket::open(Family::Netfilter)?;
    let mut batch = Batch::begin(&mut socket, NFPROTO_IPV4);
    let named = |message: &mut Message| message.text(NFTA_TABLE_NAME, TABLE);
    batch.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, named);
    batch.message(NFT_MSG_DELTABLE, 0, named);
    batch.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, named);
    batch.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, |chain| {
        chain.text(NFTA_CHAIN_TABLE, TABLE);
        chain.text(NFTA_CHAIN_NAME, CHAIN);
        chain.nested(NFTA_CHAIN_HOOK, |hook| {
            number(hook, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
            hook.bytes(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes());
        });
        chain.text(NFTA_CHAIN_TYPE, "nat");
    });
    for (protocol, port) in ports {
        let protocol = u8::try_from(protocol).map_err(io::Error::other)?;
        batch.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |rule| {
            rule.text(NFTA_RULE_TABLE, TABLE);
            rule.text(NFTA_RULE_CHAIN, CHAIN);
            rule.nested(NFTA_RULE_EXPRESSIONS, |list| redirect(list, protocol, port));
        });
    }
    batch.commit()
}

/// `meta l4proto <protocol> ip daddr 127.0.0.11 th dport 53 dnat to 127.0.0.11:<port>`.
fn redirect(list: &mut Message, protocol: u8, port: u16) {
    expression(list, "meta", |meta| {
        number(meta, NFTA_META_DREG, NFT_REG_1);
        number(meta, NFTA_META_KEY, NFT_META_L4PROTO);
    });
    compare(list, &[protocol]);
    load(list, NFT_PAYLOAD_NETWORK_HEADER, IPV4_DESTINATION, 4);
    compare(list, &EMBEDDED.octets());
    load(list, NFT_PAYLOAD_TRANSPORT_HEADER, PORT_DESTINATION, 2);
    compare(list, &PORT.to_be_bytes());
    immediate(list, NFT_REG_1, &EMBEDDED.octets());
    immediate(list, NFT_REG_2, &port.to_be_bytes());
    expression(list, "nat", |nat| {
        number(nat, NFTA_NAT_TYPE, NFT_NAT_DNAT);
        number(nat, NFTA_NAT_FAMILY, u32::from(NFPROTO_IPV4));
        number(nat, NFTA_NAT_REG_ADDR_MIN, NFT_REG_1);
        number(nat, NFTA_NAT_REG_PROTO_MIN, NFT_REG_2);
    });
}

fn expression(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nested(NFTA_LIST_ELEM, |item| {
        item.text(NFTA_EXPR_NAME, name);
        item.nested(NFTA_EXPR_DATA, data);
    });
}

fn load(list: &mut Message, header: u32, offset: u32, length: u32) {
    expression(list, "payload", |payload| {
        number(payload, NFTA_PAYLOAD_DREG, NFT_REG_1);
        number(payload, NFTA_PAYLOAD_BASE, header);
        number(payload, NFTA_PAYLOAD_OFFSET, offset);
        number(payload, NFTA_PAYLOAD_LEN, length);
    });
}

fn compare(list: &mut Message, value: &[u8]) {
    expression(list, "cmp", |cmp| {
        number(cmp, NFTA_CMP_SREG, NFT_REG_1);
        number(cmp, NFTA_CMP_OP, NFT_CMP_EQ);
        cmp.nested(NFTA_CMP_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
    });
}

fn immediate(list: &mut Message, register: u32, value: &[u8]) {
    expression(list, "immediate", |immediate| {
        number(immediate, NFTA_IMMEDIATE_DREG, register);
        immediate.nested(NFTA_IMMEDIATE_DATA, |data| {
            data.bytes(NFTA_DATA_VALUE, value)
        });
    });
}

fn number(message: &mut Message, kind: u16, value: u32) {
    message.bytes(kind, &value.to_be_bytes());
}
