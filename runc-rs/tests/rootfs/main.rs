//! Root filesystems built for real, from a directory, in a process of its own
//! in a mount namespace of its own. They need root; nothing is left on the
//! machine, whose mounts are private to each test's process.

#[cfg(test)]
mod attributes;
#[cfg(test)]
mod build;
#[cfg(test)]
mod cgroups;
#[cfg(test)]
mod child;
#[cfg(test)]
mod contents;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod id_maps;
#[cfg(test)]
mod ordinary;
#[cfg(test)]
mod propagation;
