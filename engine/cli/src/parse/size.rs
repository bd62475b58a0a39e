//! Sizes in bytes, `512m`, with `-1` for no limit where an option has that.

use base::size::ByteSize;

use super::{ParseError, refuse};

/// Reads a size.
pub(crate) fn parse(text: &str) -> Result<i64, ParseError> {
    let size: ByteSize = text.parse().map_err(|e| ParseError::new(format!("{e}")))?;
    i64::try_from(size.0).or_else(|_| refuse(format!("size too large: {text}")))
}

/// Reads a size, or `-1` for no limit.
pub(crate) fn parse_or_unlimited(text: &str) -> Result<i64, ParseError> {
    if text == "-1" {
        return Ok(-1);
    }
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_no_limit_only_where_it_may_be() {
        assert_eq!(parse("64m"), Ok(64 << 20));
        assert_eq!(parse_or_unlimited("-1"), Ok(-1));
        assert!(parse("-1").is_err() && parse_or_unlimited("-2").is_err() && parse("1x").is_err());
    }
}
