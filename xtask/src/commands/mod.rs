//! One module per command, each with a `run`.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod conform;
pub(crate) mod demo;
pub(crate) mod dist;
pub(crate) mod fresh;
pub(crate) mod fuzz;
pub(crate) mod golden;
pub(crate) mod layers;
pub(crate) mod leaks;
pub(crate) mod peers;
pub(crate) mod record;
pub(crate) mod soak;
pub(crate) mod test;
pub(crate) mod tidy;
pub(crate) mod vm;
