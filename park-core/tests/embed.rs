//! The embedding example runs where there is nothing: no PATH, no environment, no folder that could be written to.

use std::path::PathBuf;
use std::process::Command;

fn example() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe.ancestors().nth(2).expect("below target/").join("examples");
    let path = folder.join("embed");
    assert!(
        path.is_file(),
        "{} is built by `cargo test` and `cargo build --examples`",
        path.display()
    );
    path
}

#[test]
fn two_processes_share_a_store_with_nothing_around_them() {
    let output = Command::new(example())
        .env_clear()
        .env("PATH", "")
        .current_dir("/proc")
        .output()
        .expect("the example starts");
    let sum: u64 = (0..1_000_000).sum();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("here {sum}, there {sum}\n"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
}
