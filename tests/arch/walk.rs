//! Finding source files below the repository root.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository root: the parent of this crate's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies below the root")
        .to_path_buf()
}

/// All files under `folder` whose extension is one of `extensions`, in a stable order; nothing when the folder does not exist.
/// Folders that hold built or installed things are not entered.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder entry").path())
        .collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            let skipped = name.starts_with('.')
                || name.starts_with("target")
                || name.starts_with("build")
                || name == "__pycache__";
            if !skipped {
                found.extend(files(&path, extensions));
            }
        } else if path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        {
            found.push(path);
        }
    }
    found
}
