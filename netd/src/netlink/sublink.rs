//! Interfaces that are on another interface of the host, and those that nothing
//! is behind: macvlan, ipvlan, virtual LANs, dummies. As in `route`, making what
//! is there and removing what is not there succeed.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::route::{MAKE, RouteSocket, family_of, tolerate};
use super::{NetlinkContext as _, NetlinkError};
use crate::mac::Mac;
use crate::plan::{IpvlanFlag, IpvlanMode, MacvlanMode, Uplink};

/// Says whose a link is that is not called after an installation.
const OWNED: &str = "made for installation ";

/// An interface to make in a namespace, on one of the host.
#[derive(Debug)]
pub struct SubLinkSpec<'a> {
    pub uplink: &'a Uplink,
    /// The number of the interface it is on.
    pub parent: u32,
    pub name: &'a str,
    pub mac: Mac,
    pub namespace: BorrowedFd<'a>,
}

/// Returns the alias of a link of the installation whose interfaces begin so.
pub fn alias(prefix: &str) -> String {
    format!("{OWNED}{prefix}")
}

impl RouteSocket {
    /// Makes an interface on another one, in its namespace.
    ///
    /// # Errors
    /// When the kernel refuses it, also when the name is taken there.
    pub fn create_sublink(&mut self, spec: &SubLinkSpec<'_>) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(spec.name.to_owned()),
            LinkAttribute::Link(spec.parent),
            LinkAttribute::NetNsFd(spec.namespace.as_raw_fd()),
        ];
        let parent = spec.uplink.host_interface();
        let info = match spec.uplink {
            Uplink::Bridge(_) => Vec::new(),
            Uplink::Macvlan { mode, .. } => {
                let address = LinkAttribute::Address(spec.mac.0.to_vec());
                message.attributes.push(address);
                vec![
                    LinkInfo::Kind(InfoKind::MacVlan),
                    LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(macvlan(*mode))])),
                ]
            }
            Uplink::Ipvlan { mode, flag, .. } => vec![
                LinkInfo::Kind(InfoKind::IpVlan),
                LinkInfo::Data(InfoData::IpVlan(vec![
                    InfoIpVlan::Mode(ipvlan(*mode)),
                    InfoIpVlan::Flags(flags(*flag)),
                ])),
            ],
        };
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.request(RouteNetlinkMessage::NewLink(message), MAKE)
            .doing(|| format!("make interface {} on {parent}", spec.name))
    }

    /// Makes a virtual LAN on an interface, up; one that is there is left as it is.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn create_vlan(&mut self, name: &str, on: u32, id: u16) -> Result<(), NetlinkError> {
        let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)];
        let made = self.create_plain(vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(on),
            LinkAttribute::LinkInfo(info),
        ]);
        made.doing(|| format!("create {name} vlan link"))
    }

    /// Makes an interface that nothing is behind, up; one that is there is left as
    /// it is.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn create_dummy(&mut self, name: &str) -> Result<(), NetlinkError> {
        let made = self.create_plain(vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]),
        ]);
        made.doing(|| format!("create {name} dummy link"))
    }

    fn create_plain(&mut self, attributes: Vec<LinkAttribute>) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = attributes;
        let made = self.request(RouteNetlinkMessage::NewLink(message), MAKE);
        tolerate(made, libc::EEXIST)
    }

    /// Says of a link whose it is, for when its name does not.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn mark(&mut self, name: &str, prefix: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.attributes = vec![LinkAttribute::IfAlias(alias(prefix))];
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .doing(|| format!("mark interface {name}"))
    }

    /// Takes an address from the link `index`; one it has not is no error.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn remove_address(&mut self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let ip = address.addr();
        let mut message = AddressMessage::default();
        message.header.family = family_of(ip);
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(ip)];
        let removed = self.request(RouteNetlinkMessage::DelAddress(message), 0);
        tolerate(removed, libc::EADDRNOTAVAIL)
            .doing(|| format!("take address {address} from interface number {index}"))
    }
}

fn macvlan(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

fn ipvlan(mode: IpvlanMode) -> IpVlanMode {
    match mode {
        IpvlanMode::L2 => IpVlanMode::L2,
        IpvlanMode::L3 => IpVlanMode::L3,
        IpvlanMode::L3s => IpVlanMode::L3S,
    }
}

fn flags(flag: IpvlanFlag) -> IpVlanFlags {
    match flag {
        IpvlanFlag::Bridge => IpVlanFlags::empty(),
        IpvlanFlag::Private => IpVlanFlags::Private,
        IpvlanFlag::Vepa => IpVlanFlags::Vepa,
    }
}
