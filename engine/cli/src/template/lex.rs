//! A template's text to pieces: plain text, and the words of each action.

use super::TemplateError;

/// One word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.`, `.A.B`, `$`, `$v.A`: the variable, empty for the dot, and fields.
    Path(Option<String>, Vec<String>),
    /// Fields of a group, right behind its closing parenthesis.
    Fields(Vec<String>),
    /// A function or a keyword.
    Word(String),
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
    Comma,
    Assign,
}

/// Plain text or an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

fn error(message: impl Into<String>) -> TemplateError {
    TemplateError::Parse(message.into())
}

/// Splits a template at `{{` and `}}`; `{{-` and `-}}` trim white space.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let Some((action, tail)) = after.split_once("}}") else {
            return Err(error(format!("unclosed action {{{{{after}")));
        };
        let trim_left = action.starts_with("- ") || action == "-";
        push_text(&mut pieces, text, trim, trim_left);
        trim = action.ends_with(" -") || action == "-";
        let action = action
            .strip_prefix('-')
            .filter(|_| trim_left)
            .unwrap_or(action);
        let action = action.strip_suffix('-').filter(|_| trim).unwrap_or(action);
        if !action.trim_start().starts_with("/*") {
            pieces.push(Piece::Action(tokens(action)?));
        }
        rest = tail;
    }
    push_text(&mut pieces, rest, trim, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, tail) = match first {
            '|' => (Token::Pipe, &rest[1..]),
            '(' => (Token::Open, &rest[1..]),
            ')' => (Token::Close, &rest[1..]),
            ',' => (Token::Comma, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Assign, &rest[2..]),
            '"' => quoted(rest)?,
            '`' => raw(rest)?,
            '.' if is_behind_group(&tokens, action, rest) => match path(rest)? {
                (Token::Path(_, fields), tail) => (Token::Fields(fields), tail),
                other => other,
            },
            '.' | '$' => path(rest)?,
            c if c.is_ascii_digit() || c == '-' => number(rest)?,
            c if c.is_alphabetic() => word(rest),
            c => return Err(error(format!("unexpected {c:?} in {action:?}"))),
        };
        tokens.push(token);
        rest = tail.trim_start();
    }
    Ok(tokens)
}

/// Returns whether nothing stands between `rest` and a closing parenthesis.
fn is_behind_group(tokens: &[Token], action: &str, rest: &str) -> bool {
    let before = &action[..action.len() - rest.len()];
    tokens.last() == Some(&Token::Close) && before.ends_with(')')
}

fn identifier_end(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

fn word(text: &str) -> (Token, &str) {
    let (word, rest) = text.split_at(identifier_end(text));
    (Token::Word(word.to_owned()), rest)
}

fn number(text: &str) -> Result<(Token, &str), TemplateError> {
    let end = text[1..]
        .find(|c: char| !c.is_ascii_digit())
        .map_or(text.len(), |end| end + 1);
    let (digits, rest) = text.split_at(end);
    let number = digits
        .parse()
        .map_err(|_| error(format!("bad number {digits:?}")))?;
    Ok((Token::Number(number), rest))
}

fn path(text: &str) -> Result<(Token, &str), TemplateError> {
    let mut rest = text;
    let mut variable = None;
    if let Some(after) = rest.strip_prefix('$') {
        let (name, tail) = after.split_at(identifier_end(after));
        variable = Some(name.to_owned());
        rest = tail;
    }
    let mut fields = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        let (name, tail) = after.split_at(identifier_end(after));
        if name.is_empty() && (variable.is_some() || !fields.is_empty()) {
            return Err(error(format!("field name expected in {text:?}")));
        }
        rest = tail;
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
    }
    Ok((Token::Path(variable, fields), rest))
}

fn raw(text: &str) -> Result<(Token, &str), TemplateError> {
    match text[1..].split_once('`') {
        Some((inside, rest)) => Ok((Token::Text(inside.to_owned()), rest)),
        None => Err(error(format!("unterminated quote in {text:?}"))),
    }
}

fn quoted(text: &str) -> Result<(Token, &str), TemplateError> {
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(inside), &text[index + 1..])),
            '\\' => inside.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, c @ ('"' | '\\'))) => c,
                _ => return Err(error(format!("unknown escape in {text:?}"))),
            }),
            c => inside.push(c),
        }
    }
    Err(error(format!("unterminated quote in {text:?}")))
}
