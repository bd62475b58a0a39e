//! The archive of a small root filesystem made from busybox-static.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUSYBOX: &str = "/bin/busybox";

/// Makes the archive in `directory` and returns its path.
#[expect(
    clippy::disallowed_methods,
    reason = "the files of a test's image need no atomic writes"
)]
pub(crate) fn busybox(directory: &Path) -> PathBuf {
    let tree = directory.join("busybox");
    for part in ["bin", "etc", "root", "tmp", "www", "proc", "sys", "dev"] {
        fs::create_dir_all(tree.join(part)).expect("a directory can be made");
    }
    let busybox = if Path::new(BUSYBOX).exists() {
        BUSYBOX
    } else {
        "/usr/bin/busybox"
    };
    fs::copy(busybox, tree.join("bin/busybox")).expect("busybox-static is installed");
    let applets = crate::run(Command::new(busybox).arg("--list")).stdout;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet)).expect("a link can be made");
    }
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/www:/bin/sh\n",
    )
    .expect("written");
    fs::write(tree.join("etc/group"), "root:x:0:\nweb:x:44:\n").expect("written");
    fs::write(tree.join("www/index.html"), "from the image\n").expect("written");
    let archive = directory.join("busybox.tar");
    let said = crate::run(
        Command::new("tar")
            .arg("-C")
            .arg(&tree)
            .arg("-cf")
            .arg(&archive)
            .arg("."),
    );
    assert_eq!(said.code, 0, "{said:?}");
    archive
}
