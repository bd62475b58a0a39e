//! Black-box tests of the built `runc-rs` binary against the running kernel.
//! They need root; each uses a bundle, state root and control group of its own.

#[cfg(test)]
mod bundle;
#[cfg(test)]
mod cgroups;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod confinement;
#[cfg(test)]
mod events;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod net_devices;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod rootless;
#[cfg(test)]
mod seccomp;
#[cfg(test)]
mod shim_contract;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod terminals;
#[cfg(test)]
mod unified;
#[cfg(test)]
mod update;
#[cfg(test)]
mod ways;
