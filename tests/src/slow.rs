//! What takes long enough to be interrupted: an image with a large layer, and a
//! loopback that is slow.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use base::file::{FileMode, replace};

use crate::{Installation, run};

/// Of bytes that no compression makes fewer.
const LARGE_LAYER_BYTES: usize = 8 << 20;
/// A transfer is interrupted once this much of the layer has come.
pub const PART_BYTES: u64 = 1 << 20;
/// What a slow loopback lets through, so that there is time to.
const SLOW: &str = "root tbf rate 16mbit burst 256kb limit 4mb";

impl Installation {
    /// Makes the loopback slow.
    pub fn slow_down(&self) {
        shape("add", SLOW);
    }

    /// Makes the loopback as fast as it was.
    pub fn speed_up(&self) {
        shape("del", "root");
    }

    /// Imports an image with one large file in it.
    pub fn import_large(&self, name: &str) {
        let tree = self.scratch().join("large");
        fs::create_dir(&tree).expect("made");
        let mut bytes = vec![0; LARGE_LAYER_BYTES];
        let mut random = fs::File::open("/dev/urandom").expect("it is a device");
        random.read_exact(&mut bytes).expect("it never ends");
        replace(&tree.join("data"), &bytes, FileMode::Public).expect("written");
        let archive = self.scratch().join("large-tree.tar");
        let mut tar = Command::new("tar");
        let said = run(tar.arg("-C").arg(&tree).arg("-cf").arg(&archive).arg("."));
        assert_eq!(said.code, 0, "{said:?}");
        self.ok(&["import", &archive.display().to_string(), name]);
    }

    /// Returns how many bytes there are of downloads that are not complete.
    pub fn downloaded(&self) -> u64 {
        let files = fs::read_dir(self.instance.root().join("images/ingest"));
        let files = files.into_iter().flatten().flatten();
        files
            .map(|file| file.metadata().map_or(0, |file| file.len()))
            .sum()
    }
}

fn shape(change: &str, how: &str) {
    let mut tc = Command::new("tc");
    tc.args(["qdisc", change, "dev", "lo"]);
    let said = run(tc.args(how.split(' ')));
    assert_eq!(said.code, 0, "{said:?}");
}
