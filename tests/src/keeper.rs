//! A container that uses everything a container can use, and must not notice
//! what happens to the daemons.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::{Installation, wait_until};

/// The keeper's name.
pub const KEEPER: &str = "keeper";
/// A volume that the keeper has, filled from the image's `/www`.
const KEPT_VOLUME: &str = "kept";
const PAGE: &str = "from the image\n";
/// A new container must work this soon after a kill.
const RECOVERY_LIMIT: Duration = Duration::from_secs(5);
const PORT: u16 = 8090;
/// Counts in the log while the web server serves.
const SCRIPT: &str =
    "httpd -p 80 -h /www; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done";

/// The running keeper.
#[derive(Debug)]
pub struct Keeper {
    pid: String,
}

impl Keeper {
    /// Starts it on a network of its own, with a volume and a published port.
    pub fn start(host: &Installation) -> Self {
        host.ok(&["network", "create", "kept"]);
        let volume = format!("{KEPT_VOLUME}:/www");
        let port = format!("{PORT}:80");
        let mut run = vec!["run", "-d", "--name", KEEPER, "--network", "kept"];
        run.extend(["-v", &volume, "-p", &port, "busybox:1", "sh", "-c", SCRIPT]);
        host.ok(&run);
        let keeper = Self {
            pid: Self::pid(host),
        };
        wait_until("the keeper serves", || is_served(PORT));
        keeper
    }

    /// Fails unless it is the same process, serves, has lost no line of its
    /// log, and further processes can be started in it.
    pub fn check(&self, host: &Installation) {
        assert_eq!(Self::pid(host), self.pid, "it is the same process");
        wait_until("the keeper serves", || is_served(PORT));
        let logs = host.ok(&["logs", KEEPER]);
        let expected = (0..).map(|i| format!("tick {i}"));
        assert!(logs.lines().count() > 0, "its log is there");
        let differs = logs
            .lines()
            .zip(expected)
            .find(|(line, expected)| line != expected);
        assert_eq!(differs, None, "its log is complete");
        assert_eq!(host.ok(&["exec", KEEPER, "echo", "here"]), "here\n");
    }

    /// Fails unless a new container that shares the keeper's volume works soon.
    pub fn check_new_run(&self, host: &Installation) {
        let begun = Instant::now();
        let volume = format!("{KEPT_VOLUME}:/data");
        let cat = [
            "run",
            "--rm",
            "-v",
            &volume,
            "busybox:1",
            "cat",
            "/data/index.html",
        ];
        assert_eq!(host.ok(&cat), PAGE);
        let took = begun.elapsed();
        assert!(took < RECOVERY_LIMIT, "a new container took {took:?}");
    }

    fn pid(host: &Installation) -> String {
        let format = "{{.State.Status}} {{.State.Pid}}";
        let said = host.ok(&["inspect", "-f", format, KEEPER]);
        assert!(said.starts_with("running "), "the keeper is {said}");
        said
    }
}

fn is_served(port: u16) -> bool {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port))
        && stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
    {
        stream.read_to_string(&mut answer).unwrap_or_default();
    }
    answer.ends_with(PAGE)
}
