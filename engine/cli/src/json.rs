//! JSON texts laid out for people, every field in the order the daemon sent it.

/// Returns `text`, which must be JSON, indented by four spaces a level.
pub(crate) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => copy_string(&mut chars, &mut out),
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
                if let Some(close) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                    continue;
                }
                depth += 1;
                new_line(depth, &mut out);
            }
            '}' | ']' => {
                depth = usize::saturating_sub(depth, 1);
                new_line(depth, &mut out);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(depth, &mut out);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// Copies the rest of a string, whose opening quote has been read.
fn copy_string(chars: &mut impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn new_line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_strings_stay_as_they_are() {
        let text = r#"{"b":[1, {"x":null}],"a":"{\"[,:","e":{ },"l":[]}"#;
        let expected = r#"{
    "b": [
        1,
        {
            "x": null
        }
    ],
    "a": "{\"[,:",
    "e": {},
    "l": []
}"#;
        assert_eq!(indent(text), expected);
    }
}
