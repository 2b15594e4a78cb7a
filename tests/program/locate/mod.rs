//! Names, shapes and configs of real models as data, and what has to be found in each.

mod families;

use families::families;
use proptest::prelude::*;
use rankfold::format::{TensorUse, UseKind};
use rankfold::locate::{
    Candidate, Evidence, FAMILIES, Inventory, Role, Selection, TIED_BY_DEFAULT, UNTIED_BY_DEFAULT, locate, select,
};
use rankfold::tensor::{Dtype, TensorMeta};
use rankfold::{Error, ErrorKind};
use serde_json::{Value, json};

/// A model: config, tensors, and groups of tensors that hold the same bytes.
struct Model {
    config: Option<Value>,
    tensors: Vec<TensorMeta>,
    same: Vec<Vec<&'static str>>,
}

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> TensorMeta {
    TensorMeta { name: name.into(), dtype, shape: shape.to_vec() }
}

fn model(config: Value, tensors: &[(&str, &[usize])]) -> Model {
    let tensors = tensors.iter().map(|(name, shape)| tensor(name, Dtype::F32, shape)).collect();
    Model { config: (!config.is_null()).then_some(config), tensors, same: vec![] }
}

impl Model {
    fn same(mut self, names: &[&'static str]) -> Self {
        self.same.push(names.to_vec());
        self
    }

    fn candidates(&self) -> Vec<Candidate> {
        let same_bytes = |a: usize, b: usize| {
            let has = |group: &Vec<&str>, at: usize| group.contains(&self.tensors[at].name.as_str());
            Ok(self.same.iter().any(|group| has(group, a) && has(group, b)))
        };
        locate(&Inventory {
            tensors: &self.tensors,
            config: self.config.as_ref(),
            same_bytes: &same_bytes,
            uses: &[],
            same_transposed: &|_, _| Ok(false),
        })
        .unwrap()
    }

    fn select(&self, include: &[&str], exclude: &[&str]) -> Result<Vec<Candidate>, Error> {
        select(&self.tensors, &self.candidates(), &Selection::new(include, exclude)?)
    }

    fn taken(&self) -> Vec<String> {
        self.select(&[], &[]).unwrap().into_iter().map(|table| table.name).collect()
    }

    fn candidate(&self, name: &str) -> Candidate {
        self.candidates().into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("`{name}` is no candidate"))
    }

    /// Name and role of each candidate.
    fn roles(&self) -> Vec<(String, Role)> {
        self.candidates().into_iter().map(|one| (one.name, one.role)).collect()
    }
}

fn has(candidate: &Candidate, test: fn(&Evidence) -> bool) -> bool {
    candidate.evidence.iter().any(test)
}

fn bert(prefix: &str) -> Vec<(String, Vec<usize>)> {
    let name = |rest: &str| format!("{prefix}{rest}");
    vec![
        (name("embeddings.word_embeddings.weight"), vec![30522, 768]),
        (name("embeddings.position_embeddings.weight"), vec![512, 768]),
        (name("embeddings.token_type_embeddings.weight"), vec![2, 768]),
        (name("embeddings.LayerNorm.weight"), vec![768]),
        (name("encoder.layer.0.attention.self.query.weight"), vec![768, 768]),
        (name("encoder.layer.0.attention.output.dense.weight"), vec![768, 768]),
        (name("encoder.layer.0.intermediate.dense.weight"), vec![3072, 768]),
        (name("encoder.layer.0.output.dense.weight"), vec![768, 3072]),
        (name("pooler.dense.weight"), vec![768, 768]),
    ]
}

fn bert_model(prefix: &str, config: Value) -> Model {
    let tensors = bert(prefix);
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    model(config, &tensors)
}

// ---- families ----

#[test]
fn every_family_gives_its_token_tables_and_shows_the_others() {
    for (name, config, tensors, taken, others) in families() {
        let model = model(config, tensors);
        assert_eq!(model.taken(), taken, "{name}");
        let mut expected: Vec<_> = others.iter().map(|&(name, role)| (name.to_string(), role)).collect();
        expected.extend(taken.iter().map(|&name| (name.to_string(), Role::Token)));
        let mut found = model.roles();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn bert_is_found_under_any_prefix() {
    for prefix in ["", "bert.", "0.auto_model.", "model.encoder.bert."] {
        let config = json!({"model_type": "bert", "vocab_size": 30522, "architectures": ["BertModel"]});
        let model = bert_model(prefix, config);
        assert_eq!(model.taken(), [format!("{prefix}embeddings.word_embeddings.weight")]);
        assert_eq!(model.candidates().len(), 3, "{:?}", model.roles());
        assert!(
            !has(&model.candidates()[0], |one| matches!(one, Evidence::TiedByConfig { .. })),
            "no head in BertModel"
        );
    }
}

#[test]
fn every_table_of_names_has_no_row_twice() {
    let mut patterns: Vec<_> = FAMILIES.iter().map(|family| family.pattern).collect();
    patterns.sort_unstable();
    assert!(patterns.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(TIED_BY_DEFAULT.iter().all(|one| !UNTIED_BY_DEFAULT.contains(one)));
}

#[test]
fn tables_that_cannot_be_factorized_are_no_candidates() {
    let mut model = bert_model("", json!({"vocab_size": 30522}));
    model.tensors[0].dtype = Dtype::I8;
    model.tensors.push(tensor("empty.embeddings.word_embeddings.weight", Dtype::F32, &[0, 768]));
    assert!(model.candidates().iter().all(|one| one.role != Role::Token));
    assert_eq!(model.select(&[], &[]).unwrap_err().kind(), ErrorKind::Selection);
}

// ---- vocabulary ----

#[test]
fn a_table_of_unknown_name_is_found_by_its_vocabulary() {
    for config in [
        json!({"vocab_size": 5000}),
        json!({"text_config": {"vocab_size": 5000}}),
        json!({"llm_config": {"vocab_size": 5000}}),
        json!({"thinker_config": {"text_config": {"vocab_size": 5000}}}),
    ] {
        let model = model(
            config,
            &[("lexicon", &[5000, 64]), ("body.dense.weight", &[256, 64]), ("x.mlp.weight", &[5000, 64])],
        );
        assert_eq!(model.taken(), ["lexicon"]);
        assert!(has(&model.candidate("lexicon"), |one| matches!(one, Evidence::Vocabulary { .. })));
    }
}

#[test]
fn the_evidence_names_the_key_of_the_vocabulary() {
    let model =
        model(json!({"a": 1, "text_config": {"vocab_size": 5000}}), &[("lexicon", &[5000, 64]), ("y", &[3, 64])]);
    let text: Vec<_> = model.candidate("lexicon").evidence.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["2-D F32 [5000, 64]", "V = 5000 = text_config.vocab_size", "V/d = 78.1"]);
}

#[test]
fn a_padded_vocabulary_is_weaker_evidence() {
    let padded = model(json!({"vocab_size": 50257}), &[("embedding.weight", &[50304, 512]), ("lexicon", &[50304, 64])]);
    assert!(has(&padded.candidate("embedding.weight"), |one| matches!(one, Evidence::PaddedVocabulary { .. })));
    assert_eq!(padded.taken(), ["embedding.weight"], "padding alone does not make a table of `lexicon`");
    assert!(padded.candidate("lexicon").score < padded.candidate("embedding.weight").score);
}

#[test]
fn a_layer_that_is_as_tall_as_the_vocabulary_is_not_taken() {
    let config = json!({"vocab_size": 3072, "model_type": "bert"});
    let mut model = bert_model("", config);
    model.tensors[0].shape = vec![3072, 768];
    assert_eq!(model.taken(), ["embeddings.word_embeddings.weight"]);
    assert!(model.roles().iter().all(|(name, role)| !name.contains("dense") || *role == Role::Unknown));
}

#[test]
fn a_known_name_outweighs_a_vocabulary_that_differs() {
    let model = bert_model("", json!({"vocab_size": 28996}));
    assert_eq!(model.taken(), ["embeddings.word_embeddings.weight"]);
    assert!(has(&model.candidate("embeddings.word_embeddings.weight"), |one| matches!(
        one,
        Evidence::OtherVocabulary { .. }
    )));
}

// ---- ties ----

fn bert_with_head(config: Value) -> Model {
    let mut model = bert_model("bert.", config);
    model.tensors.push(tensor("cls.predictions.decoder.weight", Dtype::F32, &[30522, 768]));
    model
}

const WORDS: &str = "bert.embeddings.word_embeddings.weight";
const HEAD: &str = "cls.predictions.decoder.weight";

#[test]
fn a_head_of_the_same_bytes_is_tied_and_stored_once() {
    let model = bert_with_head(json!({"vocab_size": 30522})).same(&[WORDS, HEAD]);
    let tables = model.select(&[], &[]).unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!((tables[0].tied[0].name.as_str(), tables[0].tied[0].role), (HEAD, Role::OutputHead));
    assert_eq!(model.candidate(HEAD).same_as.as_deref(), Some(WORDS));
    assert_eq!(model.select(&[HEAD], &[]).unwrap()[0].name, WORDS, "a copy stands for its table");
    assert!(model.select(&[], &[HEAD]).unwrap()[0].tied.is_empty(), "an excluded copy stays as it is");
    assert_eq!(model.select(&[], &[WORDS]).unwrap_err().kind(), ErrorKind::Selection);
}

#[test]
fn a_head_of_other_dtype_or_shape_is_never_compared() {
    let mut model = bert_with_head(json!({"vocab_size": 30522}));
    model.tensors.last_mut().unwrap().dtype = Dtype::F16;
    model.tensors.push(tensor("lm_head.weight", Dtype::F32, &[30528, 768]));
    let refuse = |_, _| Err(Error::new(ErrorKind::Io, "compared"));
    locate(&Inventory {
        tensors: &model.tensors,
        config: None,
        same_bytes: &refuse,
        uses: &[],
        same_transposed: &|_, _| Ok(false),
    })
    .unwrap();
}

#[test]
fn an_error_of_the_comparison_is_passed_on() {
    let model = bert_with_head(Value::Null);
    let refuse = |_, _| Err(Error::new(ErrorKind::Io, "cannot read"));
    let error = locate(&Inventory {
        tensors: &model.tensors,
        config: None,
        same_bytes: &refuse,
        uses: &[],
        same_transposed: &|_, _| Ok(false),
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn bytes_that_differ_contradict_a_config_that_ties() {
    for config in
        [json!({"vocab_size": 30522, "tie_word_embeddings": true}), json!({"vocab_size": 30522, "model_type": "bert"})]
    {
        let model = bert_with_head(config);
        assert_eq!(model.taken(), [WORDS]);
        for name in [WORDS, HEAD] {
            assert!(has(&model.candidate(name), |one| matches!(one, Evidence::TieContradicted { .. })), "{name}");
        }
        assert_eq!(model.select(&["cls*"], &[]).unwrap()[0].name, HEAD, "an untied head can be named");
    }
}

#[test]
fn bytes_that_agree_contradict_a_config_that_does_not_tie() {
    let model = bert_with_head(json!({"vocab_size": 30522, "tie_word_embeddings": false})).same(&[WORDS, HEAD]);
    assert_eq!(model.select(&[], &[]).unwrap()[0].tied.len(), 1);
    assert!(has(&model.candidate(WORDS), |one| matches!(one, Evidence::TiedAgainstConfig { .. })));
}

#[test]
fn a_head_that_is_absent_is_tied_by_config() {
    let tensors: &[(&str, &[usize])] = &[("wte.weight", &[50257, 768]), ("wpe.weight", &[1024, 768])];
    let noted = |config: Value| {
        has(&model(config, tensors).candidate("wte.weight"), |one| matches!(one, Evidence::TiedByConfig { .. }))
    };
    assert!(noted(json!({"vocab_size": 50257, "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})));
    assert!(noted(json!({"vocab_size": 50257, "tie_word_embeddings": true})));
    assert!(noted(json!({"text_config": {"vocab_size": 50257, "tie_word_embeddings": true}})));
    assert!(!noted(json!({"vocab_size": 50257, "tie_word_embeddings": false, "architectures": ["GPT2LMHeadModel"]})));
    assert!(!noted(json!({"vocab_size": 50257, "model_type": "gpt2"})), "no class, no key: no claim");
    assert!(!noted(json!({"vocab_size": 50257, "tie_word_embeddings": true, "architectures": ["GPT2Model"]})));
    assert!(!noted(json!({"vocab_size": 50257, "vision_config": {"tie_word_embeddings": true}})));
}

#[test]
fn the_aliases_of_t5_are_stored_as_shared() {
    let names = ["decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "lm_head.weight", "shared.weight"];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|&name| (name, &[32128usize, 512][..])).collect();
    let t5 = json!({"model_type": "t5", "vocab_size": 32128, "tie_word_embeddings": false});
    let model = model(t5, &tensors).same(&[names[0], names[1], names[3]]);
    let tables = model.select(&[], &[]).unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].name, "shared.weight");
    assert_eq!(tables[0].tied.iter().map(|tie| tie.name.as_str()).collect::<Vec<_>>(), names[..2]);
    assert_eq!(model.candidate("lm_head.weight").role, Role::OutputHead);
    assert!(model.candidate("lm_head.weight").same_as.is_none());
}

// ---- too little, too much ----

#[test]
fn unnamed_tensors_that_fit_equally_well_are_listed_with_the_flag_that_picks_one() {
    let ambiguous = || model(json!({"vocab_size": 5000}), &[("first", &[5000, 64]), ("second", &[5000, 64])]);
    let error = ambiguous().select(&[], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Selection);
    assert!(error.to_string().contains("several tensors"), "{error}");
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("--include 'first'") && hint.contains("`first`") && hint.contains("`second`"), "{hint}");
    assert!(hint.contains("V = 5000 = vocab_size"), "{hint}");
    assert_eq!(ambiguous().select(&["second"], &[]).unwrap()[0].name, "second");
    assert_eq!(ambiguous().same(&["first", "second"]).taken(), ["first"], "copies are one table");
}

#[test]
fn nothing_that_fits_lists_what_there_is() {
    let weak = model(Value::Null, &[("a", &[50000, 300]), ("b", &[300, 10])]);
    let error = weak.select(&[], &[]).unwrap_err();
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("V/d = 166.7") && hint.contains("--include 'a'"), "{hint}");
    let layers = model(Value::Null, &[("x.mlp.weight", &[512, 256]), ("x.fc.weight", &[9, 256])]);
    let error = layers.select(&[], &[]).unwrap_err();
    assert!(error.to_string().contains("`x.mlp.weight` [512, 256]"), "{error}");
    let none = model(json!({"vocab_size": 9}), &[("bias", &[9])]);
    assert!(none.select(&[], &[]).unwrap_err().to_string().contains("no 2-D tensor"));
}

// ---- globs ----

#[test]
fn include_takes_only_what_it_names() {
    let model = bert_model("", json!({"vocab_size": 30522}));
    let names = |include: &[&str], exclude: &[&str]| -> Vec<String> {
        model.select(include, exclude).unwrap().into_iter().map(|table| table.name).collect()
    };
    assert_eq!(names(&["*position*"], &[]), ["embeddings.position_embeddings.weight"]);
    assert_eq!(
        names(&["*embeddings*"], &["*token_type*"]),
        ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"]
    );
    assert_eq!(names(&["pooler.dense.weight"], &[]), ["pooler.dense.weight"], "no candidate, but named");
    let table = &model.select(&["*position*"], &[]).unwrap()[0];
    assert_eq!(table.role, Role::Position);
    assert!(table.evidence.contains(&Evidence::Included { glob: "*position*".into() }));
}

#[test]
fn globs_that_name_nothing_are_refused_with_near_names() {
    let model = bert_model("", json!({"vocab_size": 30522}));
    for (include, exclude) in [(&["*position_embedings*"][..], &[][..]), (&[], &["position.embed"])] {
        let error = model.select(include, exclude).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Selection);
        assert!(error.hint_text().unwrap().contains("`embeddings.position_embeddings.weight`"), "{error:?}");
    }
    let error = model.select(&["*LayerNorm*"], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Selection);
    assert!(error.to_string().contains("tensor `embeddings.LayerNorm.weight`"), "{error}");
    assert!(error.to_string().contains("F32 [768]"), "{error}");
    assert!(error.hint_text().unwrap().contains("word_embeddings"));
    assert_eq!(model.select(&["[x"], &[]).unwrap_err().kind(), ErrorKind::Request);
    assert!(model.select(&[], &["*"]).unwrap_err().to_string().contains("every table is excluded"));
}

#[test]
fn candidates_are_written_as_json() {
    let model = bert_with_head(json!({"vocab_size": 30522})).same(&[WORDS, HEAD]);
    let json = serde_json::to_value(model.candidate(WORDS)).unwrap();
    assert_eq!(json["role"], "token");
    assert_eq!(json["evidence"][1]["kind"], "name");
    assert_eq!(json["tied"][0], json!({"name": HEAD, "role": "output_head"}));
    assert_eq!(json["taken_by_default"], true);
}

proptest! {
    #[test]
    fn no_names_shapes_or_configs_make_it_panic(
        names in prop::collection::vec("[a-z.0-9é]{0,12}|wte.weight|lm_head.weight|decoder.weight|embedding.weight", 0..6),
        shape in prop::collection::vec(0usize..9, 0..4), huge in any::<bool>(), vocabulary in any::<u64>(), glob in any::<String>()
    ) {
        let shape = if huge { vec![usize::MAX, 3] } else { shape };
        let tensors: Vec<_> = names.iter().map(|name| tensor(name, Dtype::F32, &shape)).collect();
        let config = json!({"vocab_size": vocabulary, "tie_word_embeddings": true, "x": {"vocab_size": 8}});
        let candidates = locate(&Inventory { tensors: &tensors, config: Some(&config), same_bytes: &|a, _| Ok(a % 2 == 0), uses: &[], same_transposed: &|_, _| Ok(false) }).unwrap();
        for include in [vec![], vec![glob]] {
            let tables = Selection::new(&include, &[]).and_then(|globs| select(&tensors, &candidates, &globs));
            if let Ok(tables) = tables {
                prop_assert!(!tables.is_empty());
            }
        }
    }
}

// ---- graphs ----

fn looked_up(tensor: usize, indices: &str) -> TensorUse {
    TensorUse { tensor, node: format!("Gather `{tensor}`"), kind: UseKind::LookedUp { indices: indices.into() } }
}

#[test]
fn a_graph_tells_tables_that_no_name_tells() {
    let tensors =
        [("t0", [300, 8]), ("t1", [64, 8]), ("t2", [2, 8]), ("t3", [8, 300]), ("t4", [8, 300]), ("t5", [8, 32])];
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| tensor(name, Dtype::F32, shape)).collect();
    let multiplied = |tensor: usize| TensorUse {
        tensor,
        node: format!("MatMul `{tensor}`"),
        kind: UseKind::Multiplied { is_transposed: true },
    };
    let uses = [
        looked_up(0, "input_ids"),
        looked_up(1, "position_ids"),
        looked_up(2, "token_type_ids"),
        multiplied(3),
        multiplied(4),
    ];
    let found = locate(&Inventory {
        tensors: &tensors,
        config: None,
        same_bytes: &|_, _| Ok(false),
        uses: &uses,
        same_transposed: &|table, copy| Ok((table, copy) == (0, 3)),
    })
    .unwrap();
    let roles: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.role, one.taken_by_default)).collect();
    let expected = [
        ("t0", Role::Token, true),
        ("t1", Role::Position, false),
        ("t2", Role::TokenType, false),
        ("t3", Role::OutputHead, false),
    ];
    assert_eq!(roles, expected, "t4 is a layer of the same shape, and nothing speaks for t5");
    assert_eq!(found[0].tied[0].name, "t3");
    assert_eq!(found[3].same_as.as_deref(), Some("t0"));
}
