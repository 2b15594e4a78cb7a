//! Every field of the manifest changed, alone and with the list of digests made to fit.

use std::fs;
use std::path::Path;

use rankfold::manifest::{Change, MANIFEST_NAME, SUMS_NAME, digest};
use serde_json::{Value, json};

use crate::Output;
use crate::support::rankfold;

/// Pointers to every value in `value`, itself not among them.
fn pointers(value: &Value, place: &str, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), member)).collect(),
        Value::Array(members) => members.iter().enumerate().map(|(at, member)| (at.to_string(), member)).collect(),
        _ => Vec::new(),
    };
    for (name, member) in members {
        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(place.clone());
        pointers(member, &place, found);
    }
}

/// Other values that a field could have.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(1), json!("x")],
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => {
            let plus = number.as_u64().map_or(json!(number.as_f64().unwrap() + 0.5), |whole| json!(whole + 1));
            vec![plus, json!(0.25)]
        }
        Value::String(text) => {
            let first = if text.starts_with('0') { "1" } else { "0" };
            let flipped = format!("{first}{}", text.get(1..).unwrap_or_default());
            vec![json!(format!("{text}x")), json!(flipped)]
        }
        Value::Array(members) => vec![json!([]), Value::Array([&members[..], &[json!(3)]].concat())],
        Value::Object(_) => vec![json!({}), Value::Null],
    }
}

/// `manifest` as this program writes it.
fn canonical(manifest: &Value) -> String {
    format!("{manifest:#}\n")
}

/// Calls `check` with the manifest changed in every field, each value in some ways and removed once.
fn each_change(manifest: &Value, mut check: impl FnMut(&str, &Value)) {
    let mut places = Vec::new();
    pointers(manifest, "", &mut places);
    for place in places {
        let old = manifest.pointer(&place).unwrap();
        for value in others(old).iter().filter(|value| *value != old) {
            let mut changed = manifest.clone();
            *changed.pointer_mut(&place).unwrap() = value.clone();
            check(&place, &changed);
        }
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut changed = manifest.clone();
        match changed.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
            Value::Array(members) => drop(members.remove(name.parse().unwrap())),
            _ => unreachable!("only those have members"),
        }
        check(&place, &changed);
    }
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&fs::read(output.file(MANIFEST_NAME)).unwrap()).unwrap()
}

#[test]
fn a_changed_field_of_the_manifest_is_found_and_the_manifest_named() {
    let output = Output::new();
    let mut count = 0;
    each_change(&parsed(&output), |place, changed| {
        fs::write(output.file(MANIFEST_NAME), canonical(changed)).unwrap();
        assert!(output.is_found(MANIFEST_NAME), "{place}");
        count += 1;
    });
    assert!(count > 500, "{count} changes");
    eprintln!("{count} changes of fields of the manifest, 0 missed");
}

/// Who can change the manifest can change the list of digests too. What contradicts the files is found even so; the
/// rest by whoever has the manifest's own digest.
#[test]
fn a_changed_field_with_the_list_of_digests_made_to_fit_is_found_by_the_digest() {
    let output = Output::new();
    let own = output.verification().manifest_sha256.unwrap();
    let sums = fs::read_to_string(output.file(SUMS_NAME)).unwrap();
    let (mut count, mut found_alone) = (0, 0);
    each_change(&parsed(&output), |place, changed| {
        let text = canonical(changed);
        fs::write(output.file(MANIFEST_NAME), &text).unwrap();
        fs::write(output.file(SUMS_NAME), sums.replace(&own, &digest(text.as_bytes()))).unwrap();
        if let Ok((_, verification)) = rankfold::manifest::verify(&output.path(), &rankfold::observe::Silent) {
            assert_ne!(verification.manifest_sha256.as_ref(), Some(&own), "{place}");
            found_alone += usize::from(!verification.differences.is_empty());
        } else {
            found_alone += 1;
        }
        count += 1;
    });
    eprintln!("{count} changes with a list that fits: {found_alone} found without the digest, all with it");
    let verify = |digest: &str| rankfold([Path::new("verify"), &output.path(), "--digest".as_ref(), digest.as_ref()]);
    verify(&own).assert().code(3);
    fs::write(output.file(SUMS_NAME), &sums).unwrap();
}

#[test]
fn errors_that_are_stated_too_small_are_found_with_the_source() {
    let output = Output::new();
    let own = output.verification().manifest_sha256.unwrap();
    let mut manifest = parsed(&output);
    let error = manifest.pointer_mut("/tables/0/errors/relative_frobenius").unwrap();
    *error = json!(error.as_f64().unwrap() / 2.0);
    // As whoever can change the manifest would, with everything that has its digest made to fit.
    let text = canonical(&manifest);
    let sums = fs::read_to_string(output.file(SUMS_NAME)).unwrap();
    fs::write(output.file(MANIFEST_NAME), &text).unwrap();
    fs::write(output.file(SUMS_NAME), sums.replace(&own, &digest(text.as_bytes()))).unwrap();
    let verify = [Path::new("verify"), &output.path(), Path::new("--source"), &output.source()];
    let assert = rankfold(verify).assert().code(3);
    let found = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(found.contains("table") && found.contains("relative_frobenius"), "{found}");
}

#[test]
fn the_digest_that_compress_prints_is_the_one_that_verify_takes() {
    let output = Output::new();
    let again = output.directory.path().join("again");
    let assert = crate::support::compress(&output.source(), &again, &["--reduction", "0.5", "--no-stub"]).assert();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let printed = text.lines().find_map(|line| line.strip_prefix("manifest: sha256 ")).unwrap();
    rankfold(["verify", again.to_str().unwrap(), "--digest", printed]).assert().code(0);
    rankfold(["verify", again.to_str().unwrap(), "--digest", &printed.replace(&printed[..4], "0000")]).assert().code(3);
}

#[test]
fn a_manifest_that_leads_out_of_its_directory_is_refused_by_verify_and_restore() {
    let output = Output::new();
    let dense = output.directory.path().join("dense");
    for name in ["../escaped.safetensors", "/tmp/escaped.safetensors", "a/../../escaped.safetensors", ""] {
        for list in ["/files/0/path", "/source/files/0/path"] {
            let mut manifest = parsed(&output);
            *manifest.pointer_mut(list).unwrap() = name.into();
            let original = fs::read(output.file(MANIFEST_NAME)).unwrap();
            fs::write(output.file(MANIFEST_NAME), canonical(&manifest)).unwrap();
            let [only] = &output.differences()[..] else { panic!("one difference") };
            assert_eq!((only.name.as_str(), only.change), (MANIFEST_NAME, Change::Changed));
            assert!(only.detail.contains("leaves the directory"), "{only}");
            rankfold([Path::new("restore"), &output.path(), Path::new("-o"), &dense]).assert().code(1);
            assert!(!dense.exists() && !output.directory.path().join("escaped.safetensors").exists());
            fs::write(output.file(MANIFEST_NAME), original).unwrap();
        }
    }
}

/// What `restore` says of the output with this manifest; nothing is written.
fn refusal(output: &Output, manifest: &Value) -> String {
    let dense = output.directory.path().join("dense");
    fs::write(output.file(MANIFEST_NAME), canonical(manifest)).unwrap();
    let assert = rankfold([Path::new("restore"), &output.path(), Path::new("-o"), &dense]).assert().code(1);
    assert!(!dense.exists());
    assert!(output.is_found(MANIFEST_NAME));
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_manifest_that_asks_for_copies_without_end_is_refused() {
    let output = Output::new();
    let manifest = parsed(&output);
    let table = manifest.pointer("/tables/0/name").unwrap().clone();
    let names: Vec<Value> = (0..300).map(|at| format!("copy.{at}").into()).collect();
    let listed = |manifest: &mut Value| {
        let tensors = manifest.pointer_mut("/source/files").unwrap().as_array_mut().unwrap();
        let file = tensors.iter_mut().find(|file| file.get("tensors").is_some()).unwrap();
        let tensors = file["tensors"].as_array_mut().unwrap();
        let one = tensors.iter().find(|tensor| tensor["name"] == table).unwrap().clone();
        tensors.extend(names.iter().map(|name| {
            let mut copy = one.clone();
            copy["name"] = name.clone();
            copy
        }));
    };
    let mut tied = manifest.clone();
    tied["tables"][0]["tied"] = names.clone().into();
    listed(&mut tied);
    assert!(refusal(&output, &tied).contains("too many tensors are stored as one"));
    let mut stored_once = manifest.clone();
    stored_once["stored_once"] = names.iter().map(|name| (name.as_str().unwrap().to_owned(), table.clone())).collect();
    listed(&mut stored_once);
    assert!(refusal(&output, &stored_once).contains("too many tensors are stored as one"));
}

#[test]
fn a_manifest_whose_tables_share_their_parts_is_refused() {
    let output = Output::new();
    let mut manifest = parsed(&output);
    let mut table = manifest["tables"][0].clone();
    table["name"] = json!("another");
    manifest["tables"].as_array_mut().unwrap().push(table);
    assert!(refusal(&output, &manifest).contains("a part belongs to two tables"));
}
