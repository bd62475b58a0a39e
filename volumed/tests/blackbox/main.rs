//! The real `volumed` on a real kernel, each test in a mount namespace of its own.
//! Needs root; touches nothing outside its temporary directories.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod images;
#[cfg(test)]
mod rootfs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod volumes;
