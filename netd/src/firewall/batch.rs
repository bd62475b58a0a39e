//! nf_tables messages for set elements: batches that add and remove, and dumps.
//!
//! It makes no tables, chains or rules; `base` does that with text. A batch is
//! one transaction: all of it happens or nothing.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};

use super::element::{Element, RawElement, SETS};
use crate::netlink::{NetlinkContext as _, NetlinkError};
use base::netlink::{Family, Socket};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFT_MSG_DELTABLE: u16 = 2;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const HEADER_BYTES: usize = 16;
const GENERIC_HEADER_BYTES: usize = 4;
/// Elements one message may carry, so that its nested attribute stays below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// Changes and reads the elements of one table in the calling thread's network
/// namespace.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
    table: String,
}

/// What happens to the elements of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

impl Firewall {
    /// Opens a socket for table `inet <table>`.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn open(table: &str) -> Result<Self, NetlinkError> {
        let socket = Socket::open(Family::Netfilter);
        Ok(Self {
            socket: socket.doing(|| "open a netfilter socket".to_owned())?,
            table: table.to_owned(),
        })
    }

    /// Adds elements; those that are there already are kept.
    ///
    /// # Errors
    /// When the kernel refuses the batch; nothing of it is in place then.
    pub fn add(&mut self, elements: &[Element]) -> Result<(), NetlinkError> {
        let raw: Vec<RawElement> = elements.iter().map(Element::raw).collect();
        self.change(Change::Add, &raw)
            .doing(|| format!("add {} elements to table inet {}", raw.len(), self.table))
    }

    /// Removes elements; those that are not there are no error.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn remove(&mut self, elements: &[Element]) -> Result<(), NetlinkError> {
        let raw: Vec<RawElement> = elements.iter().map(Element::raw).collect();
        self.remove_raw(&raw)
    }

    /// Removes elements that a dump returned.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that one is not there.
    pub fn remove_raw(&mut self, raw: &[RawElement]) -> Result<(), NetlinkError> {
        let is_missing = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        let result = match self.change(Change::Remove, raw) {
            // One is missing, so the whole batch was refused: one by one.
            Err(error) if is_missing(&error) => raw.iter().try_for_each(|element| {
                match self.change(Change::Remove, std::slice::from_ref(element)) {
                    Err(error) if is_missing(&error) => Ok(()),
                    other => other,
                }
            }),
            other => other,
        };
        result.doing(|| {
            format!(
                "remove {} elements from table inet {}",
                raw.len(),
                self.table
            )
        })
    }

    /// Returns every element of all our sets and maps.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub fn elements(&mut self) -> Result<Vec<RawElement>, NetlinkError> {
        let mut all = Vec::new();
        for set in SETS {
            let table = self.table.clone();
            let build = |sequence| dump_message(&table, set, sequence);
            self.socket
                .query(build, &mut |message| parse_elements(set, message, &mut all))
                .doing(|| format!("list set {set} of table inet {table}"))?;
        }
        Ok(all)
    }

    /// Removes the whole table; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn delete_table(&mut self) -> Result<(), NetlinkError> {
        let table = self.table.clone();
        let mut batch = Batch::begin(&mut self.socket, NFPROTO_INET);
        batch.message(NFT_MSG_DELTABLE, 0, |message| {
            message.text(NFTA_TABLE_NAME, &table);
        });
        match batch.commit() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
        .doing(|| format!("remove table inet {table}"))
    }

    fn change(&mut self, change: Change, elements: &[RawElement]) -> io::Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let table = self.table.clone();
        let mut batch = Batch::begin(&mut self.socket, NFPROTO_INET);
        for same_set in elements.chunk_by(|a, b| a.set == b.set) {
            for part in same_set.chunks(ELEMENTS_PER_MESSAGE) {
                let (kind, flags) = match change {
                    Change::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE),
                    Change::Remove => (NFT_MSG_DELSETELEM, 0),
                };
                batch.message(kind, flags, |message| {
                    elements_body(message, &table, part, change)
                });
            }
        }
        batch.commit()
    }
}

fn elements_body(message: &mut Message, table: &str, part: &[RawElement], change: Change) {
    message.text(NFTA_SET_ELEM_LIST_TABLE, table);
    message.text(NFTA_SET_ELEM_LIST_SET, &part[0].set);
    message.nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
        for element in part {
            list.nested(NFTA_LIST_ELEM, |item| {
                item.nested(NFTA_SET_ELEM_KEY, |key| {
                    key.bytes(NFTA_DATA_VALUE, &element.key)
                });
                if let Some(end) = &element.key_end {
                    item.nested(NFTA_SET_ELEM_KEY_END, |key| key.bytes(NFTA_DATA_VALUE, end));
                }
                if let (Change::Add, Some(value)) = (change, &element.value) {
                    item.nested(NFTA_SET_ELEM_DATA, |data| {
                        data.bytes(NFTA_DATA_VALUE, value)
                    });
                }
            });
        }
    });
}

fn dump_message(table: &str, set: &str, sequence: u32) -> Vec<u8> {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
    let mut message = Message(Vec::new());
    message.whole(
        [kind, NLM_F_REQUEST | NLM_F_DUMP],
        sequence,
        [NFPROTO_INET, 0, 0, 0],
        |m| {
            m.text(NFTA_SET_ELEM_LIST_TABLE, table);
            m.text(NFTA_SET_ELEM_LIST_SET, set);
        },
    );
    message.0
}

fn parse_elements(set: &str, message: &[u8], all: &mut Vec<RawElement>) {
    let body = message
        .get(HEADER_BYTES + GENERIC_HEADER_BYTES..)
        .unwrap_or_default();
    for (_, list) in attributes(body).filter(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_ELEMENTS) {
        for (_, item) in attributes(list) {
            let find = |wanted| {
                let (_, data) = attributes(item).find(|(kind, _)| *kind == wanted)?;
                let (_, value) = attributes(data).find(|(kind, _)| *kind == NFTA_DATA_VALUE)?;
                Some(value.to_vec())
            };
            if let Some(key) = find(NFTA_SET_ELEM_KEY) {
                let key_end = find(NFTA_SET_ELEM_KEY_END);
                let value = find(NFTA_SET_ELEM_DATA);
                all.push(RawElement {
                    set: set.to_owned(),
                    key,
                    key_end,
                    value,
                });
            }
        }
    }
}

/// Splits attributes; what is malformed ends them.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header: &[u8; 4] = rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A transaction being written.
pub(crate) struct Batch<'a> {
    family: u8,
    socket: &'a mut Socket,
    bytes: Message,
    awaited: Vec<u32>,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(socket: &'a mut Socket, family: u8) -> Self {
        let mut batch = Self {
            family,
            socket,
            bytes: Message(Vec::new()),
            awaited: Vec::new(),
        };
        batch.border(NFNL_MSG_BATCH_BEGIN);
        batch
    }

    fn border(&mut self, kind: u16) {
        let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        let sequence = self.socket.next_sequence();
        let generic = [NFPROTO_UNSPEC, 0, high, low];
        self.bytes
            .whole([kind, NLM_F_REQUEST], sequence, generic, |_| {});
    }

    pub(crate) fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Message)) {
        let sequence = self.socket.next_sequence();
        self.awaited.push(sequence);
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.bytes
            .whole([kind, flags], sequence, [self.family, 0, 0, 0], body);
    }

    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.border(NFNL_MSG_BATCH_END);
        let results = self.socket.transact(&self.bytes.0, &self.awaited)?;
        match results.into_iter().find(|errno| *errno != 0) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

/// Netlink messages and attributes being written.
pub(crate) struct Message(pub(super) Vec<u8>);

impl Message {
    /// Writes a message: `[type, flags]`, its number, its generic header, its body.
    pub(super) fn whole(
        &mut self,
        [kind, flags]: [u16; 2],
        sequence: u32,
        generic: [u8; GENERIC_HEADER_BYTES],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.0.len();
        self.0.extend([0; 4]);
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(sequence.to_ne_bytes());
        self.0.extend([0; 4]);
        self.0.extend(generic);
        body(self);
        let length = u32::try_from(self.0.len() - start).expect("a message is below 4 GiB");
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat());
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |message| message.0.extend(value));
    }

    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.attribute(kind | NLA_F_NESTED, body);
    }

    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        body(self);
        let length = u16::try_from(self.0.len() - start).expect("attributes are cut below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
