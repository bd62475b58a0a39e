//! Links, addresses and routes over rtnetlink. Making what is there and
//! removing what is not there succeed, so that every operation can be repeated.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use base::netlink::{Family, Socket};
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{NetlinkContext as _, NetlinkError};
use crate::mac::Mac;
use crate::plan::Way;

/// The table of addresses that are the host's own.
const RT_TABLE_LOCAL: u8 = 255;
const IPV6_BITS: u8 = 128;
/// Less preferred than the kernel's own route.
const LOOPBACK_METRIC: u32 = 4096;
pub(super) const MAKE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// An interface as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// The bridge it is a port of.
    pub controller: Option<u32>,
    pub is_bridge: bool,
    /// What somebody noted about it.
    pub alias: Option<String>,
}

impl Link {
    /// Returns whether it is one of the installation whose interfaces begin with
    /// `prefix`.
    pub fn is_of(&self, prefix: &str) -> bool {
        let is_marked = || self.alias.as_deref() == Some(&*super::sublink::alias(prefix));
        self.name.starts_with(prefix) || is_marked()
    }
}

/// A pair of virtual interfaces to make: one on a bridge, one in a namespace.
#[derive(Debug)]
pub struct VethSpec<'a> {
    pub host_name: &'a str,
    pub bridge: u32,
    pub peer_name: &'a str,
    pub peer_mac: Mac,
    pub namespace: BorrowedFd<'a>,
    pub mtu: u32,
}

/// Talks rtnetlink in one network namespace.
#[derive(Debug)]
pub struct RouteSocket(Socket);

impl RouteSocket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::open(Family::Route).doing(|| "open an rtnetlink socket".to_owned())?;
        Ok(Self(socket))
    }

    /// Returns all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let answer = self.query(RouteNetlinkMessage::GetLink(request), NLM_F_DUMP);
        let links = answer.doing(|| "list interfaces".to_owned())?;
        Ok(links.into_iter().filter_map(as_link).collect())
    }

    /// Returns the interface `name`, if there is one.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
        ];
        match self.query(RouteNetlinkMessage::GetLink(request), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            answer => {
                let links = answer.doing(|| format!("look up interface {name}"))?;
                Ok(links.into_iter().find_map(as_link))
            }
        }
    }

    /// Makes the kernel act at once on the carrier of the interface `name`,
    /// which it otherwise does at leisure, dropping packets until then: asking
    /// for an interface does that since Linux 6.9.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub fn settle(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.link(name).map(drop)
    }

    /// Returns the index of the interface `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn index(&mut self, name: &str) -> Result<u32, NetlinkError> {
        let missing = || io::Error::from_raw_os_error(libc::ENODEV);
        let link = self.link(name)?.ok_or_else(missing);
        Ok(link.doing(|| format!("look up interface {name}"))?.index)
    }

    /// Makes the bridge `name`, up; one that is there is left as it is.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn create_bridge(&mut self, name: &str, mac: Mac, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Group(crate::firewall::LINK_GROUP),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                // Containers learn no multicast from each other's queries.
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        let made = self.request(RouteNetlinkMessage::NewLink(message), MAKE);
        tolerate(made, libc::EEXIST).doing(|| format!("make bridge {name}"))
    }

    /// Makes a veth pair with the peer already in its namespace and the host
    /// end a port of its bridge, down. Both have the one queue that is used of
    /// them anyway: the kernel would make one for each processor, take the rest
    /// away again and wait for every processor while nobody else may change links.
    ///
    /// # Errors
    /// When the kernel refuses it, also when the host end's name is taken.
    pub fn create_veth(&mut self, spec: &VethSpec<'_>) -> Result<(), NetlinkError> {
        let of_both = [
            LinkAttribute::Mtu(spec.mtu),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ];
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(spec.peer_name.to_owned()),
            LinkAttribute::Address(spec.peer_mac.0.to_vec()),
            LinkAttribute::NetNsFd(spec.namespace.as_raw_fd()),
        ];
        peer.attributes.extend(of_both.clone());
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(spec.host_name.to_owned()),
            LinkAttribute::Controller(spec.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        message.attributes.extend(of_both);
        self.request(RouteNetlinkMessage::NewLink(message), MAKE)
            .doing(|| format!("make interface {}", spec.host_name))
    }

    /// Sets the bridge's port `name` up, and lets the bridge send a frame back to
    /// the port it came from, as a container needs that asks for a port published
    /// by itself; an isolated port gets none from others that are.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set_up_port(&mut self, name: &str, isolated: bool) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![
                    InfoBridgePort::HairpinMode(true),
                    InfoBridgePort::Isolated(isolated),
                ])),
            ]),
        ];
        self.request(RouteNetlinkMessage::NewLink(message), 0)
            .doing(|| format!("set up bridge port {name}"))
    }

    /// Makes the link `name` a port of the bridge `bridge`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn join_bridge(&mut self, name: &str, bridge: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.attributes = vec![LinkAttribute::Controller(bridge)];
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .doing(|| format!("make interface {name} a port of its bridge"))
    }

    /// Sets the link `index` up.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .doing(|| format!("set interface number {index} up"))
    }

    /// Removes the interface `name`; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let gone = self.request(RouteNetlinkMessage::DelLink(message), 0);
        tolerate(gone, libc::ENODEV).doing(|| format!("remove interface {name}"))
    }

    /// Returns the addresses of all interfaces, by interface index.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub fn addresses(&mut self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let request = AddressMessage::default();
        let answer = self.query(RouteNetlinkMessage::GetAddress(request), NLM_F_DUMP);
        let answer = answer.doing(|| "list addresses".to_owned())?;
        Ok(answer.into_iter().filter_map(as_address).collect())
    }

    /// Gives the link `index` an address; one it has already is kept. An IPv6
    /// address is used at once, without asking the link whether somebody has it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let ip = address.addr();
        let mut message = AddressMessage::default();
        message.header.family = family_of(ip);
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
        match address {
            IpNet::V4(net) => {
                let broadcast = AddressAttribute::Broadcast(net.broadcast());
                message.attributes.push(broadcast);
            }
            IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
        }
        let added = self.request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        );
        tolerate(added, libc::EEXIST)
            .doing(|| format!("give address {address} to interface number {index}"))
    }

    /// Returns the destinations of all routes of the main table.
    ///
    /// # Errors
    /// When the kernel refuses the dump.
    pub fn routes(&mut self) -> Result<Vec<(Option<u32>, IpNet)>, NetlinkError> {
        let request = RouteMessage::default();
        let answer = self.query(RouteNetlinkMessage::GetRoute(request), NLM_F_DUMP);
        let answer = answer.doing(|| "list routes".to_owned())?;
        Ok(answer.into_iter().filter_map(as_route).collect())
    }

    /// Sets the default route of a family.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set_default_route(&mut self, way: &Way) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = way
            .family()
            .choose([AddressFamily::Inet, AddressFamily::Inet6]);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![match way {
            Way::Router(IpAddr::V4(ip)) => RouteAttribute::Gateway(RouteAddress::Inet(*ip)),
            Way::Router(IpAddr::V6(ip)) => RouteAttribute::Gateway(RouteAddress::Inet6(*ip)),
            Way::Interface { name, .. } => {
                message.header.scope = RouteScope::Link;
                RouteAttribute::Oif(self.index(name)?)
            }
        }];
        self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .doing(|| format!("set the default route through {way}"))
    }

    /// Lets IPv6 loopback be reached through the link `index` as well, which the
    /// kernel allows packets that were translated to it; others it drops before.
    /// Its own route stays the preferred one.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add_loopback_route(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.table = RT_TABLE_LOCAL;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Local;
        message.header.destination_prefix_length = IPV6_BITS;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet6(Ipv6Addr::LOCALHOST)),
            RouteAttribute::Oif(index),
            RouteAttribute::Priority(LOOPBACK_METRIC),
        ];
        let added = self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_APPEND,
        );
        tolerate(added, libc::EEXIST)
            .doing(|| format!("lead loopback through interface number {index}"))
    }

    pub(super) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.0.next_sequence();
        let bytes = encode(message, sequence, NLM_F_REQUEST | NLM_F_ACK | flags);
        match self.0.transact(&bytes, &[sequence])?.first() {
            Some(0) | None => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    fn query(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answer = Vec::new();
        let build = |sequence| encode(message.clone(), sequence, NLM_F_REQUEST | flags);
        self.0.query(build, &mut |bytes| {
            // A message this build cannot read is of a kind it does not use.
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
                && let NetlinkPayload::InnerMessage(message) = message.payload
            {
                answer.push(message);
            }
        })?;
        Ok(answer)
    }
}

fn encode(message: RouteNetlinkMessage, sequence: u32, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

pub(super) fn tolerate(result: io::Result<()>, errno: i32) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        other => other,
    }
}

fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        controller: None,
        is_bridge: false,
        alias: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

pub(super) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn as_address(message: RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let prefix = message.header.prefix_len;
    let own = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        // IPv6 has no other, IPv4's is that of the other end.
        AddressAttribute::Address(ip) if ip.is_ipv6() => Some(*ip),
        _ => None,
    };
    let ip = message.attributes.iter().find_map(own)?;
    Some((message.header.index, IpNet::new(ip, prefix).ok()?))
}

fn as_route(message: RouteNetlinkMessage) -> Option<(Option<u32>, IpNet)> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let mut destination: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut interface = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = (*ip).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = (*ip).into(),
            _ => {}
        }
    }
    let net = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some((interface, net))
}
