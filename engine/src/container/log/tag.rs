//! Tags of lines: text with `{{.Name}}` and the like in it.
//!
//! Of Go's templates there are the fields that Docker documents and `index` of
//! the labels; anything else is refused by its name.

use std::collections::BTreeMap;

use crate::container::Container;

/// What Docker calls an installation.
const DAEMON_NAME: &str = "docker";
const SHORT_CHARACTERS: usize = 12;

/// What a tag may speak of.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) command: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) environment: Vec<String>,
}

impl Subject {
    pub(super) fn of(container: &Container) -> Self {
        let config = container.config();
        Self {
            id: container.id.to_string(),
            name: container.name(),
            image: config.image.clone(),
            image_id: config.image_id.to_string(),
            command: config.process.arguments.join(" "),
            labels: config.labels.clone(),
            environment: config.process.environment.clone(),
        }
    }

    pub(super) fn short_id(&self) -> &str {
        self.id.get(..SHORT_CHARACTERS).unwrap_or(&self.id)
    }
}

/// A tag, read.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(Field),
    Label(String),
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    FullId,
    Name,
    SlashName,
    ImageId,
    ImageFullId,
    ImageName,
    DaemonName,
    Command,
    Hostname,
}

impl Template {
    /// Reads a tag.
    ///
    /// # Errors
    /// What is wrong with it, as Go says it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, action)) = rest.split_once("{{") {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((action, after)) = action.split_once("}}") else {
                return Err("template: log-tag:1: unclosed action".to_owned());
            };
            pieces.push(piece(
                action.trim(),
                text.len() - rest.len() + before.len() + 2,
            )?);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// Returns the tag of one container.
    pub(super) fn render(&self, subject: &Subject) -> String {
        let words = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Label(name) => subject.labels.get(name).cloned().unwrap_or_default(),
            Piece::Field(field) => field.of(subject),
        };
        self.0.iter().map(words).collect()
    }
}

fn piece(action: &str, offset: usize) -> Result<Piece, String> {
    if let Some(name) = action.strip_prefix('.') {
        return Field::named(name).map(Piece::Field).ok_or_else(|| {
            format!(
                "template: log-tag:1:{offset}: executing \"log-tag\" at <.{name}>: \
                 can't evaluate field {name} in type *logger.Info"
            )
        });
    }
    let label = action
        .strip_prefix("index ")
        .and_then(|rest| rest.trim_start().strip_prefix(".ContainerLabels "))
        .and_then(|rest| rest.trim().strip_prefix('"')?.strip_suffix('"'));
    match label {
        Some(label) if !label.contains(['"', '\\']) => Ok(Piece::Label(label.to_owned())),
        _ => Err(format!(
            "template: log-tag:1:{offset}: {{{{{action}}}}} is not supported: \
             expected a field or index .ContainerLabels"
        )),
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ID" => Self::Id,
            "FullID" | "ContainerID" => Self::FullId,
            "Name" => Self::Name,
            "ContainerName" => Self::SlashName,
            "ImageID" => Self::ImageId,
            "ImageFullID" | "ContainerImageID" => Self::ImageFullId,
            "ImageName" | "ContainerImageName" => Self::ImageName,
            "DaemonName" => Self::DaemonName,
            "Command" => Self::Command,
            "Hostname" => Self::Hostname,
            _ => return None,
        })
    }

    fn of(self, subject: &Subject) -> String {
        match self {
            Self::Id => subject.short_id().to_owned(),
            Self::FullId => subject.id.clone(),
            Self::Name => subject.name.clone(),
            Self::SlashName => format!("/{}", subject.name),
            Self::ImageId => {
                let short = subject.image_id.get(..SHORT_CHARACTERS);
                short.unwrap_or(&subject.image_id).to_owned()
            }
            Self::ImageFullId => subject.image_id.clone(),
            Self::ImageName => subject.image.clone(),
            Self::DaemonName => DAEMON_NAME.to_owned(),
            Self::Command => subject.command.clone(),
            Self::Hostname => {
                let host = rustix::system::uname();
                host.nodename().to_string_lossy().into_owned()
            }
        }
    }
}
