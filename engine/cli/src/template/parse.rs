//! The words of a template's actions to a tree.

use super::TemplateError;
use super::lex::{Piece, Token, pieces};

/// How deep blocks and parentheses may lie within each other.
const DEPTH_LIMIT: usize = 32;

/// A template that has been read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(pub(super) Vec<Node>);

/// One part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Range),
}

/// `{{range $key, $value := .Map}}…{{else}}…{{end}}`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub over: Pipeline,
    /// None, the value's, or the key's and the value's name.
    pub variables: Vec<String>,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Calls, each given the result of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline(pub Vec<Vec<Operand>>);

/// A function's name, or a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Function(String),
    Path(Option<String>, Vec<String>),
    Text(String),
    Number(i64),
    Bool(bool),
    Nil,
    /// A parenthesis, and fields of its value.
    Group(Pipeline, Vec<String>),
}

impl std::str::FromStr for Template {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut reader = Reader {
            pieces: pieces(text)?.into_iter(),
            depth: 0,
        };
        let (nodes, end) = reader.block()?;
        match end {
            Until::Template => Ok(Self(nodes)),
            Until::End | Until::Else => Err(error("{{end}} or {{else}} without a block")),
        }
    }
}

fn error(message: impl Into<String>) -> TemplateError {
    TemplateError::Parse(message.into())
}

/// What a block ends with.
#[derive(Debug, PartialEq, Eq)]
enum Until {
    Template,
    Else,
    End,
}

struct Reader {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

impl Reader {
    fn block(&mut self) -> Result<(Vec<Node>, Until), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, Until::End)),
                "else" if tokens.len() == 1 => return Ok((nodes, Until::Else)),
                "if" | "with" | "range" => nodes.push(self.nested(keyword, &tokens[1..])?),
                "else" | "define" | "template" | "block" | "break" | "continue" => {
                    return Err(error(format!("{keyword:?} is not supported")));
                }
                _ => nodes.push(Node::Print(pipeline(&tokens)?)),
            }
        }
        Ok((nodes, Until::Template))
    }

    fn nested(&mut self, keyword: &str, head: &[Token]) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(error(format!(
                "more than {DEPTH_LIMIT} blocks in each other"
            )));
        }
        let (variables, condition) = match keyword {
            "range" => variables(head)?,
            _ => (Vec::new(), head),
        };
        let condition = pipeline(condition)?;
        let (body, end) = self.block()?;
        let (otherwise, end) = match end {
            Until::Else => self.block()?,
            end => (Vec::new(), end),
        };
        self.depth -= 1;
        if end != Until::End {
            return Err(error(format!("{{{{{keyword}}}}} without {{{{end}}}}")));
        }
        Ok(match keyword {
            "if" => Node::If(condition, body, otherwise),
            "with" => Node::With(condition, body, otherwise),
            _ => Node::Range(Range {
                over: condition,
                variables,
                body,
                otherwise,
            }),
        })
    }
}

/// Takes `$v :=` or `$k, $v :=` off the head of a range.
fn variables(head: &[Token]) -> Result<(Vec<String>, &[Token]), TemplateError> {
    let Some(at) = head.iter().position(|token| *token == Token::Assign) else {
        return Ok((Vec::new(), head));
    };
    let names = head[..at].iter().filter(|token| **token != Token::Comma);
    let name = |token: &Token| match token {
        Token::Path(Some(name), fields) if fields.is_empty() && !name.is_empty() => {
            Ok(name.clone())
        }
        _ => Err(error("a range assigns to one or two variables")),
    };
    let names: Vec<String> = names.map(name).collect::<Result<_, _>>()?;
    match names.len() {
        1 | 2 => Ok((names, &head[at + 1..])),
        _ => Err(error("a range assigns to one or two variables")),
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut rest = tokens;
    let pipeline = calls(&mut rest, 0)?;
    match rest.first() {
        None => Ok(pipeline),
        Some(token) => Err(error(format!("unexpected {token:?}"))),
    }
}

fn calls(rest: &mut &[Token], depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > DEPTH_LIMIT {
        return Err(error(format!(
            "more than {DEPTH_LIMIT} parentheses in each other"
        )));
    }
    let mut calls = vec![Vec::new()];
    while let Some((token, tail)) = rest.split_first() {
        let operand = match token {
            Token::Close => break,
            Token::Pipe => {
                *rest = tail;
                calls.push(Vec::new());
                continue;
            }
            Token::Open => {
                *rest = tail;
                let group = self::calls(rest, depth + 1)?;
                if rest.first() != Some(&Token::Close) {
                    return Err(error("unclosed parenthesis"));
                }
                let fields = match rest.get(1) {
                    Some(Token::Fields(fields)) => fields.clone(),
                    _ => Vec::new(),
                };
                if !fields.is_empty() {
                    *rest = &rest[1..];
                }
                Operand::Group(group, fields)
            }
            token => operand(token)?,
        };
        *rest = rest.get(1..).unwrap_or_default();
        calls
            .last_mut()
            .expect("it begins with one call")
            .push(operand);
    }
    match calls.iter().any(Vec::is_empty) {
        true => Err(error("missing value for command")),
        false => Ok(Pipeline(calls)),
    }
}

fn operand(token: &Token) -> Result<Operand, TemplateError> {
    Ok(match token {
        Token::Path(variable, fields) => Operand::Path(variable.clone(), fields.clone()),
        Token::Text(text) => Operand::Text(text.clone()),
        Token::Number(number) => Operand::Number(*number),
        Token::Word(word) => match word.as_str() {
            "true" => Operand::Bool(true),
            "false" => Operand::Bool(false),
            "nil" => Operand::Nil,
            _ => Operand::Function(word.clone()),
        },
        token => return Err(error(format!("unexpected {token:?}"))),
    })
}
