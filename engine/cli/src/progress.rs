//! What a pull, a load or an import reports: bars on a terminal, lines elsewhere.

use std::collections::HashMap;

use engine_api::client::{BodyStream, JsonStream};
use engine_api::progress::ProgressMessage;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;
use crate::error::CliError;
use crate::terminal;

/// Bars at once; what goes beyond has none.
const BAR_LIMIT: usize = 256;

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Stdout,
    Stderr,
    Nowhere,
}

/// Shows the messages of `stream` until it ends.
///
/// # Errors
/// When the stream breaks, or the daemon reports an error in it.
pub(crate) async fn show(
    stream: BodyStream,
    context: &Context,
    show: Show,
) -> Result<(), CliError> {
    let mut messages: JsonStream<ProgressMessage> = stream.json();
    let mut display = Display::new(context, show);
    while let Some(message) = messages.next().await? {
        if let Some(failure) = message.failure() {
            display.finish();
            return Err(CliError::Progress(failure.to_owned()));
        }
        display.take(&message)?;
    }
    display.finish();
    Ok(())
}

/// The way messages are shown.
enum Display<'a> {
    Bars(Box<Bars>),
    Lines(&'a Context, Show),
    Nothing,
}

impl<'a> Display<'a> {
    fn new(context: &'a Context, show: Show) -> Self {
        let file = match show {
            Show::Nowhere => return Self::Nothing,
            Show::Stdout => &context.streams.stdout,
            Show::Stderr => &context.streams.stderr,
        };
        match terminal::is_terminal(file) {
            true => Self::Bars(Box::new(Bars::new(show))),
            false => Self::Lines(context, show),
        }
    }

    fn take(&mut self, message: &ProgressMessage) -> Result<(), CliError> {
        match self {
            Self::Nothing => {}
            Self::Bars(bars) => bars.take(message),
            Self::Lines(context, show) => {
                if let Some(text) = line(message) {
                    match show {
                        Show::Stderr => context.warn(text.trim_end_matches('\n')),
                        Show::Stdout | Show::Nowhere => context.print(&text)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(&self) {
        if let Self::Bars(bars) = self {
            bars.finish();
        }
    }
}

/// Returns the line a message is, `None` for the steps of a bar.
fn line(message: &ProgressMessage) -> Option<String> {
    if !message.stream.is_empty() {
        return Some(message.stream.clone());
    }
    let detail = message.progress_detail.as_ref();
    if message.status.is_empty() || detail.is_some_and(|detail| detail.current > 0) {
        return None;
    }
    Some(match message.id.is_empty() {
        true => format!("{}\n", message.status),
        false => format!("{}: {}\n", message.id, message.status),
    })
}

/// One bar for each id.
struct Bars {
    all: MultiProgress,
    by_id: HashMap<String, Bar>,
    plain: ProgressStyle,
    sized: ProgressStyle,
}

/// A bar and what it shows; changing nothing must not draw it anew.
struct Bar {
    bar: ProgressBar,
    total: u64,
    status: String,
}

impl Bars {
    fn new(show: Show) -> Self {
        let target = match show {
            Show::Stdout => ProgressDrawTarget::stdout(),
            Show::Stderr | Show::Nowhere => ProgressDrawTarget::stderr(),
        };
        let style = |template| {
            ProgressStyle::with_template(template)
                .expect("the template is a constant that is tested")
        };
        Self {
            all: MultiProgress::with_draw_target(target),
            by_id: HashMap::new(),
            plain: style(PLAIN),
            sized: style(SIZED).progress_chars("=> "),
        }
    }

    fn take(&mut self, message: &ProgressMessage) {
        if message.id.is_empty() {
            if let Some(text) = line(message) {
                // The terminal may be gone; the pull goes on.
                drop(self.all.println(text.trim_end_matches('\n')));
            }
            return;
        }
        let detail = message.progress_detail.clone().unwrap_or_default();
        let total = u64::try_from(detail.total).unwrap_or(0);
        let style = if total > 0 { &self.sized } else { &self.plain }.clone();
        let Some(bar) = self.bar(&message.id) else {
            return;
        };
        if bar.total != total {
            bar.total = total;
            bar.bar.set_style(style);
            bar.bar.set_length(total.max(1));
        }
        if bar.status != message.status {
            bar.status.clone_from(&message.status);
            bar.bar.set_message(message.status.clone());
        }
        if total > 0 {
            bar.bar
                .set_position(u64::try_from(detail.current).unwrap_or(0));
        }
    }

    fn bar(&mut self, id: &str) -> Option<&mut Bar> {
        if !self.by_id.contains_key(id) && self.by_id.len() < BAR_LIMIT {
            let bar = ProgressBar::new(1).with_style(self.plain.clone());
            let bar = self.all.add(bar.with_prefix(id.to_owned()));
            let (total, status) = (0, String::new());
            self.by_id.insert(id.to_owned(), Bar { bar, total, status });
        }
        self.by_id.get_mut(id)
    }

    /// Leaves the bars as they are.
    fn finish(&self) {
        for bar in self.by_id.values() {
            bar.bar.abandon();
        }
    }
}

const PLAIN: &str = "{prefix}: {msg}";
const SIZED: &str = "{prefix}: {msg} [{bar:25}] {decimal_bytes}/{decimal_total_bytes}";

#[cfg(test)]
mod tests {
    use super::*;
    use engine_api::progress::ProgressDetail;

    #[test]
    fn steps_of_a_bar_are_no_lines() {
        let mut message = ProgressMessage::about("abc", "Downloading");
        assert_eq!(line(&message).unwrap(), "abc: Downloading\n");
        message.progress_detail = Some(ProgressDetail {
            current: 1,
            total: 2,
        });
        assert_eq!(line(&message), None);
        assert_eq!(
            line(&ProgressMessage::status("Digest: x")).unwrap(),
            "Digest: x\n"
        );
    }

    #[test]
    fn the_bars_templates_are_valid() {
        let mut bars = Bars::new(Show::Stderr);
        bars.take(&ProgressMessage::about("abc", "Waiting"));
        assert!(ProgressStyle::with_template(SIZED).is_ok());
        assert_eq!(bars.by_id.len(), 1);
    }
}
