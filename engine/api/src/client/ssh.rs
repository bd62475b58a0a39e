//! A daemon on another host: `ssh` runs `system dial-stdio` there, whose standard
//! streams are the connection. Keys, known hosts and jumps are ssh's own affair.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PROGRAM: &str = "ssh";
/// Seconds until a host that does not answer is given up.
const CONNECT_LIMIT: &str = "ConnectTimeout=30";

/// A host that is reached by ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// The daemon's socket there, where it is not the usual one: plain characters only,
    /// a shell reads it.
    pub socket: Option<String>,
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

impl SshHost {
    fn words(&self) -> Vec<String> {
        // There is nobody to answer a question: it would be asked behind a command.
        let options = ["-o", CONNECT_LIMIT, "-o", "BatchMode=yes", "-T"];
        let mut words: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.extend(["--".to_owned(), self.host.clone(), self.remote_command()]);
        words
    }

    /// Whatever shell the user has there, `sh` understands it.
    fn remote_command(&self) -> String {
        let host = match &self.socket {
            Some(socket) => format!(" --host unix://{socket}"),
            None => String::new(),
        };
        format!(
            "exec sh -c 'for program in engine docker; do \
             if command -v $program >/dev/null 2>&1; then \
             exec $program{host} system dial-stdio; fi; done; \
             echo there is neither engine nor docker on this host >&2; exit 127'"
        )
    }

    /// Connects. What ssh complains about goes to our stderr.
    ///
    /// # Errors
    /// When there is no ssh on this host.
    pub(super) fn dial(&self) -> io::Result<SshStream> {
        let mut child = Command::new(PROGRAM)
            .args(self.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt that is meant for the container must not end the connection.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot run {PROGRAM}: {error}"))
            })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Ok(SshStream {
            stdin,
            stdout: stdout.ok_or(io::ErrorKind::BrokenPipe)?,
            _child: child,
        })
    }
}

/// The streams of an ssh, which ends with them.
pub(super) struct SshStream {
    /// Closed once nothing more is sent.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _child: Child,
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_never_an_option() {
        let host = SshHost {
            user: Some("u".to_owned()),
            host: "h.example".to_owned(),
            port: Some(22),
            socket: Some("/run/x.sock".to_owned()),
        };
        assert_eq!(host.to_string(), "ssh://u@h.example:22/run/x.sock");
        let words = host.words();
        let (options, rest) = words.split_at(words.iter().position(|w| w == "--").unwrap());
        assert!(options.join(" ").ends_with("-l u -p 22"), "{options:?}");
        assert_eq!(rest[1], "h.example");
        assert!(rest[2].contains("--host unix:///run/x.sock system dial-stdio"));
    }
}
