//! `engine images`.

use base::Timestamp;
use base::size::ByteSize;
use clap::Args;
use engine_api::client::Call;
use engine_api::image::ImageSummary;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::CliError;
use crate::human;
use crate::listing::{Columns, Row, Style};
use crate::parse::filter::{self, Filter};

/// What stands for a name or a digest that an image does not have.
const NONE: &str = "<none>";

pub(super) const COLUMNS: Columns = Columns {
    headings: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    id: "ID",
};

/// Lists images.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Show intermediate images too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what fits, key=value
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Images {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut filters = filter::collect(&self.filter);
        if let Some(name) = &self.name {
            filters.add("reference", name);
        }
        let call = Call::get("/images/json")
            .query_flag("all", self.all)
            .query_some("filters", (!filters.is_empty()).then(|| filters.to_json()));
        let images: Vec<ImageSummary> = context.connect().await?.json(call).await?;
        context.print(&self.render(&images, Timestamp::now())?)
    }

    fn render(&self, images: &[ImageSummary], now: Timestamp) -> Result<String, CliError> {
        let mut table = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
        if self.digests {
            table.insert(2, "Digest");
        }
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: &table,
        };
        let rows = images.iter().flat_map(|image| {
            let names = names(image);
            let names = if self.quiet && self.format.is_none() {
                &names[..1]
            } else {
                &names
            };
            names
                .iter()
                .map(|name| row(image, name, self.no_trunc, now))
                .collect::<Vec<_>>()
        });
        COLUMNS.render(rows.collect(), style)
    }
}

/// Returns a row for each of an image's names.
pub(super) fn rows(image: &ImageSummary, now: Timestamp) -> Vec<Row> {
    let names = names(image);
    let rows = names.iter().map(|name| row(image, name, false, now));
    rows.collect()
}

fn row(image: &ImageSummary, name: &Name, no_trunc: bool, now: Timestamp) -> Row {
    let created = Timestamp::from_seconds(image.created);
    let id = match no_trunc {
        true => image.id.as_str(),
        false => human::short_id(&image.id),
    };
    let containers = match image.containers {
        -1 => "N/A".to_owned(),
        count => count.to_string(),
    };
    let row = json!({
        "Repository": name.repository,
        "Tag": name.tag,
        "Digest": name.digest,
        "ID": id,
        "CreatedSince": human::ago(created, now),
        "CreatedAt": human::date(created),
        "Size": ByteSize(u64::try_from(image.size).unwrap_or(0)).to_string(),
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": containers,
    });
    match row {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// One of an image's names.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// Returns an image's names, at least one.
fn names(image: &ImageSummary) -> Vec<Name> {
    let digests: Vec<(&str, &str)> = image
        .repo_digests
        .iter()
        .filter_map(|name| name.split_once('@'))
        .collect();
    let digest_of = |repository: &str| {
        let found = digests.iter().find(|(name, _)| *name == repository);
        found.map_or(NONE, |(_, digest)| digest).to_owned()
    };
    let tagged = image
        .repo_tags
        .iter()
        .filter_map(|name| name.rsplit_once(':'));
    let mut names: Vec<Name> = tagged
        .filter(|(repository, _)| *repository != NONE)
        .map(|(repository, tag)| Name {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest_of(repository),
        })
        .collect();
    for (repository, digest) in digests {
        if !names.iter().any(|name| name.repository == repository) && repository != NONE {
            names.push(Name {
                repository: repository.to_owned(),
                tag: NONE.to_owned(),
                digest: digest.to_owned(),
            });
        }
    }
    if names.is_empty() {
        let none = || NONE.to_owned();
        names.push(Name {
            repository: none(),
            tag: none(),
            digest: none(),
        });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        images: Images,
    }

    fn check(words: &[&str], expected: &str) {
        let image = |tags: &[&str], digests: &[&str]| ImageSummary {
            id: "sha256:0123456789abcdef".to_owned(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            repo_digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
            size: 4_260_000,
            containers: -1,
            ..ImageSummary::default()
        };
        let images = [
            image(
                &["localhost:5000/web:1", "web:2"],
                &["localhost:5000/web@sha256:aa"],
            ),
            image(&[], &[]),
        ];
        let images_command = Words::parse_from([&["images"], words].concat()).images;
        let text = images_command
            .render(&images, Timestamp::from_seconds(7200))
            .unwrap();
        assert_eq!(text, expected, "{words:?}");
    }

    #[test]
    fn every_name_has_a_row() {
        check(
            &[],
            "REPOSITORY           TAG       IMAGE ID       CREATED       SIZE\n\
             localhost:5000/web   1         0123456789ab   2 hours ago   4.26MB\n\
             web                  2         0123456789ab   2 hours ago   4.26MB\n\
             <none>               <none>    0123456789ab   2 hours ago   4.26MB\n",
        );
        check(&["-q"], "0123456789ab\n0123456789ab\n");
        check(
            &["--format", "{{.Repository}}@{{.Digest}}"],
            "localhost:5000/web@sha256:aa\nweb@<none>\n<none>@<none>\n",
        );
    }
}
