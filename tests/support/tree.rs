//! Directories as values.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The content of every file below a directory (or of a lone file), by path relative to it.
pub(crate) fn read(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    visit(root, Path::new(""), &mut files);
    files
}

fn visit(path: &Path, relative: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if path.is_dir() {
        for name in names(path) {
            visit(&path.join(&name), &relative.join(&name), files);
        }
    } else {
        files.insert(relative.to_path_buf(), fs::read(path).unwrap());
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (relative, content) in read(from) {
        let target = to.join(relative);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
}

/// Fails unless two directories hold the same files with the same bytes; names the first that differs.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left_files, right_files) = (read(left), read(right));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left_files), names(&right_files), "files of {} and {}", left.display(), right.display());
    for (name, content) in &left_files {
        assert!(right_files[name] == *content, "`{}` differs", name.display());
    }
}
