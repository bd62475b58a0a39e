//! `--platform` of commands about images.

use serde_json::json;

use super::{ParseError, refuse};

/// Reads `os/architecture[/variant]` and returns it as the API takes it.
pub(crate) fn parse(text: &str) -> Result<String, ParseError> {
    let parts: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match parts.as_slice() {
        [os, architecture] => (*os, *architecture, None),
        [os, architecture, variant] => (*os, *architecture, Some(*variant)),
        [architecture] => ("linux", *architecture, None),
        _ => return refuse(format!("{text:?}: a platform is os/architecture[/variant]")),
    };
    let is_word = |part: &&str| {
        let is_in = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        !part.is_empty() && part.bytes().all(is_in)
    };
    if !parts.iter().all(is_word) {
        return refuse(format!("{text:?}: a platform is os/architecture[/variant]"));
    }
    let architecture = match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut platform = json!({"os": os, "architecture": architecture});
    if let Some(variant) = variant {
        platform["variant"] = json!(variant);
    }
    Ok(platform.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_sent_as_objects() {
        let cases = [
            ("linux/amd64", r#"{"architecture":"amd64","os":"linux"}"#),
            ("x86_64", r#"{"architecture":"amd64","os":"linux"}"#),
            (
                "linux/arm/v7",
                r#"{"architecture":"arm","os":"linux","variant":"v7"}"#,
            ),
        ];
        for (text, sent) in cases {
            assert_eq!(parse(text).unwrap(), sent, "{text}");
        }
        for text in ["", "linux/", "a/b/c/d", "linux/a b"] {
            parse(text).unwrap_err();
        }
    }
}
