//! What a container is and which states it goes through.

mod config;
mod state;

pub use config::{
    ConsoleSize, ContainerConfig, DeviceConfig, DnsConfig, ExtraHost, Link, LogDriver,
    NamespaceMode, NetworkEndpoint, NetworkMode, PortConfig, ProcessConfig, SecurityConfig,
    StdinConfig,
};
pub use state::{ContainerEvent, ContainerState, IllegalTransition, Status};
