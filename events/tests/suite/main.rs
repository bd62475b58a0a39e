//! The event log from outside: several openers, processes, crashes, damage.
//! One program, so that what the tests share is compiled once.
#![cfg(test)]

mod answering;
mod basics;
mod common;
mod corpus;
mod damage;
mod epochs;
mod full_disk;
mod processes;
mod retention;
