//! Disks that are full, that cannot be written to, or that are others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::sandbox::{Sandbox, TARGET};
use crate::support::{RANKFOLD, assert_verifies, compress, rankfold};

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_that_may_not_grow_gives_an_error_and_no_output() {
    // `write` fails once 4 MiB are in a file, with a signal that ends a process or, where that is ignored, without.
    for ignored in ["", r#"trap "" XFSZ; "#] {
        let sandbox = Sandbox::with_ballast(16);
        let script = format!(r#"{ignored}ulimit -f 4096; exec "$0" compress "$1" -o "$2" --reduction 0.5"#);
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).arg(RANKFOLD).args([sandbox.source(), sandbox.out()]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let message = message(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("error: ") && message.contains("cannot write"), "{message}");
        sandbox.assert_holds_source_and(&[]);
    }
}

/// Runs `script` with the arguments as root of a mount namespace of its own, where that is allowed.
fn with_mounts(script: &str, arguments: &[&Path]) -> Option<Output> {
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: only root may mount the small disk that this test fills");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, RANKFOLD]).args(arguments).stdin(Stdio::null());
    Some(command.output().unwrap())
}

#[test]
fn a_full_disk_gives_an_error_and_no_output() {
    let sandbox = Sandbox::with_ballast(4);
    let script = r#"mount -t tmpfs -o size=2m tmpfs /mnt
        "$0" compress "$1" -o /mnt/out --reduction 0.5; code=$?; ls -A /mnt; exit $code"#;
    let Some(output) = with_mounts(script, &[&sandbox.source()]) else { return };
    let message = message(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write") && message.contains("No space left"), "{message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing stays behind");
}

#[test]
fn a_disk_without_inodes_gives_an_error_and_no_output() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let script = r#"mount -t tmpfs -o size=9m,nr_inodes=6 tmpfs /mnt
        "$0" compress "$1" -o /mnt/out --reduction 0.5; code=$?; ls -A /mnt; exit $code"#;
    let Some(output) = with_mounts(script, &[&sandbox.source()]) else { return };
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing stays behind");
}

#[test]
fn a_disk_that_is_only_read_gives_an_error() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let assert = compress(&sandbox.source(), Path::new("/proc/out"), &TARGET).assert().code(1);
    let message = message(assert.get_output());
    assert!(message.contains("cannot create the directory for the output"), "{message}");
    let script = r#"mount -t tmpfs tmpfs /mnt && mount -o remount,ro /mnt
        exec "$0" compress "$1" -o /mnt/out --reduction 0.5"#;
    let Some(output) = with_mounts(script, &[&sandbox.source()]) else { return };
    assert_eq!(output.status.code(), Some(1));
    assert!(self::message(&output).contains("Read-only file system"), "{}", self::message(&output));
}

#[test]
fn a_folder_that_may_not_be_written_to_gives_an_error() {
    let sandbox = Sandbox::with_fixture("bert-tied");
    let folder = sandbox.directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(sandbox.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Root may write anywhere, so it becomes somebody else, if that one can run the program.
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let probe = Command::new("setpriv").args(nobody).arg(RANKFOLD).arg("--version").output();
    let mut command = match probe {
        Ok(output) if output.status.success() => {
            let mut command = Command::new("setpriv");
            command.args(nobody).arg(RANKFOLD);
            command
        }
        _ if rustix::process::geteuid().is_root() => {
            eprintln!("SKIPPED: nobody but root can run `{RANKFOLD}`");
            return;
        }
        _ => Command::new(RANKFOLD),
    };
    command.arg("compress").arg(sandbox.source()).arg("-o").arg(folder.join("out")).args(TARGET);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message(&output).contains("Permission denied"), "{}", message(&output));
}

#[test]
fn the_output_may_be_on_another_file_system_than_the_source() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let sandbox = Sandbox::with_fixture("bert-tied");
    let (there, back) = (memory.path().join("out"), sandbox.directory.path().join("dense"));
    compress(&sandbox.source(), &there, &TARGET).assert().code(0);
    assert_verifies(&there);
    rankfold([Path::new("restore"), &there, Path::new("-o"), &back]).assert().code(0);
    assert_verifies(&back);
}
