//! `ps`: the processes of a container, as host pids or as a table of `ps`.

use std::process::{Command, ExitCode};

use super::{CommandError, Context, Failure, find, print};

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    format: PsFormat,
    /// The container's id
    id: String,
    /// Options for ps, -ef by default; its output must have a PID column
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// The forms a process list can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PsFormat {
    #[default]
    Table,
    Json,
}

/// Prints the processes.
///
/// # Errors
/// When the container does not exist, or `ps` cannot be used.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    // Of a container that has ended, others than init may be left.
    let (_, record) = find(context, &args.id)?;
    if !record.cgroup.has_groups() {
        return Err(CommandError::NoGroups.into());
    }
    let pids = record.cgroup.processes()?;
    let text = match args.format {
        PsFormat::Json => serde_json::to_string(&pids).expect("numbers serialize") + "\n",
        PsFormat::Table => {
            let table = run_ps(&args.options)?;
            filter(&table, &pids)
                .ok_or_else(|| CommandError::PsFailed("its output has no PID column".to_owned()))?
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn run_ps(options: &[String]) -> Result<String, CommandError> {
    let mut command = Command::new("ps");
    match options {
        [] => command.arg("-ef"),
        options => command.args(options),
    };
    let output = command.output().map_err(CommandError::Ps)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(CommandError::PsFailed(text.trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the heading and the lines of the given processes.
fn filter(table: &str, pids: &[i32]) -> Option<String> {
    let (heading, rows) = table.split_once('\n')?;
    let column = heading
        .split_ascii_whitespace()
        .position(|name| name == "PID")?;
    let mut text = format!("{heading}\n");
    for row in rows.lines() {
        let pid = row.split_ascii_whitespace().nth(column);
        if pid
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
        {
            text.push_str(row);
            text.push('\n');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn only_rows_of_the_container_are_kept() {
        let table = "UID  PID PPID CMD\nroot   1    0 init 7\nroot   7    1 sh\n";
        let kept = filter(table, &[7]).unwrap();
        assert_eq!(kept, "UID  PID PPID CMD\nroot   7    1 sh\n");
        assert_eq!(filter("USER CMD\nroot sh\n", &[7]), None);
    }
}
