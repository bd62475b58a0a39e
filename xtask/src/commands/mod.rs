//! One module per command, each with a `run`.

pub(crate) mod check;
pub(crate) mod layers;
pub(crate) mod tidy;
