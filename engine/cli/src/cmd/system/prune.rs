//! `engine system prune`: what nobody uses, of every kind.

use clap::Args;

use crate::cmd::prune::{PruneOptions, Pruned, ask};
use crate::cmd::{container, image, network, volume};
use crate::context::Context;
use crate::error::CliError;

/// Removes what nobody uses.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove anonymous volumes too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    options: PruneOptions,
}

impl Prune {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let filters = &self.options.filter;
        if self.volumes && filters.iter().any(|filter| filter.key() == "until") {
            return Err(CliError::Usage(
                "ERROR: The \"until\" filter is not supported with \"--volumes\"".to_owned(),
            ));
        }
        if !self.options.force && !ask(context, &self.warning())? {
            return Ok(());
        }
        let containers = container::prune(context, filters).await?;
        context.print(&containers.text)?;
        context.print(&network::prune(context, filters).await?)?;
        let volumes = match self.volumes {
            true => volume::prune(context, false, filters).await?,
            false => Pruned::default(),
        };
        context.print(&volumes.text)?;
        let images = image::prune(context, self.all, filters).await?;
        let reclaimed_bytes =
            containers.reclaimed_bytes + volumes.reclaimed_bytes + images.reclaimed_bytes;
        Pruned {
            text: images.text,
            reclaimed_bytes,
        }
        .print(context)
    }

    /// Returns what will be removed, and what is left out of that.
    fn warning(&self) -> String {
        let mut kinds = vec![
            "all stopped containers",
            "all networks not used by at least one container",
        ];
        if self.volumes {
            kinds.push("all anonymous volumes not used by at least one container");
        }
        kinds.push(match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        });
        let list = |lines: &[String]| -> String { lines.concat() };
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("  - {kind}\n")).collect();
        let mut text = format!("WARNING! This will remove:\n{}\n", list(&kinds));
        let mut filters: Vec<String> = self
            .options
            .filter
            .iter()
            .map(|filter| format!("  - {filter}\n"))
            .collect();
        filters.sort();
        if !filters.is_empty() {
            text += "  Items to be pruned will be filtered with:\n";
            text += &list(&filters);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        prune: Prune,
    }

    #[test]
    fn the_warning_names_every_kind_and_filter() {
        let plain = Words::parse_from(["prune"]).prune.warning();
        assert_eq!(
            plain,
            "WARNING! This will remove:\n  - all stopped containers\n  \
             - all networks not used by at least one container\n  - all dangling images\n\n"
        );
        let words = "prune -a --volumes --filter label=b --filter label!=a=1";
        let all = Words::parse_from(words.split(' ')).prune.warning();
        assert_eq!(
            all,
            "WARNING! This will remove:\n  - all stopped containers\n  \
             - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  \
             - all images without at least one container associated to them\n\n  \
             Items to be pruned will be filtered with:\n  - label!=a=1\n  - label=b\n\n"
        );
    }
}
