//! `WWW-Authenticate`: which proof a server asks for (RFC 9110, section 11).

/// More challenges and parameters than any registry sends.
const MAX_PARTS: usize = 64;

/// One challenge of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// `bearer`, `basic`, …, in lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns the parameter `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Returns the challenges of one header; what is broken ends the list.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    for _ in 0..MAX_PARTS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else {
            break;
        };
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        let Some(value) = value.map(|v| v.trim_start_matches([' ', '\t'])) else {
            challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            rest = after;
            continue;
        };
        let (Some(challenge), Some((value, after))) = (challenges.last_mut(), value_of(value))
        else {
            break;
        };
        challenge
            .parameters
            .push((word.to_ascii_lowercase(), value));
        rest = after;
    }
    challenges
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[position + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &[(&str, &[(&str, &str)])]) {
        let found = parse(header);
        let found: Vec<(&str, Vec<(&str, &str)>)> = found
            .iter()
            .map(|c| {
                let pairs = c.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                (c.scheme.as_str(), pairs.collect())
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(s, p)| (*s, p.to_vec())).collect();
        assert_eq!(found, expected, "{header}");
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )],
        );
        check(
            r#"Basic realm="a \"b\", c""#,
            &[("basic", &[("realm", r#"a "b", c"#)])],
        );
        check(
            r#"Basic realm=x , BEARER Realm = "y",error=invalid_token"#,
            &[
                ("basic", &[("realm", "x")]),
                ("bearer", &[("realm", "y"), ("error", "invalid_token")]),
            ],
        );
        check("Negotiate", &[("negotiate", &[])]);
    }

    #[test]
    fn broken_headers_yield_what_was_readable() {
        check("", &[]);
        check("=x", &[]);
        check(r#"realm="x""#, &[]);
        check(r#"Bearer realm="open"#, &[("bearer", &[])]);
        check("Bearer realm=", &[("bearer", &[])]);
        let many = "Basic a=b,".repeat(1000);
        assert!(parse(&many).len() <= MAX_PARTS);
    }
}
