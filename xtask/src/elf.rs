//! Tells a static program from one that needs a loader.
//!
//! Reads the program headers of 64-bit little-endian files and nothing else.

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const PT_INTERP: u32 = 3;

/// Returns whether the program names a loader.
///
/// # Errors
/// Fails when the bytes are no 64-bit little-endian ELF file.
pub(crate) fn has_interpreter(bytes: &[u8]) -> Result<bool> {
    ensure!(
        bytes.starts_with(MAGIC),
        "not a 64-bit little-endian ELF file"
    );
    let table = number(bytes, 0x20, 8)?;
    let (size, count) = (number(bytes, 0x36, 2)?, number(bytes, 0x38, 2)?);
    for index in 0..count {
        if number(bytes, table + index * size, 4)? == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Result<usize> {
    let field = at.checked_add(length).and_then(|end| bytes.get(at..end));
    let field = field.context("the file ends within its headers")?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_loader() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&own).unwrap());
    }

    #[test]
    fn a_header_without_segments_needs_none() {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(64, 0);
        assert!(!has_interpreter(&bytes).unwrap());
        bytes[0x38] = 1;
        bytes[0x20] = 64;
        assert!(
            has_interpreter(&bytes).is_err(),
            "the segment lies behind the end"
        );
        bytes.extend([3, 0, 0, 0]);
        assert!(has_interpreter(&bytes).unwrap());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(has_interpreter(b"#!/bin/sh").is_err());
    }
}
