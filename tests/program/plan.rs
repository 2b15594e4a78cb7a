//! Targets, sizes, ranks, and the allocation of one budget against exhaustive search.

use proptest::prelude::*;
use rankfold::ErrorKind;
use rankfold::plan::{
    Ladder, Override, Overrides, Plan, Size, Step, TablePlan, Target, allocate, check_rank, fit_size,
    largest_saving_rank, rank_for_reduction,
};
use rankfold::tensor::Dtype;

// ---- rank ----

#[test]
fn ranks_of_reductions_are_those_of_the_paper_for_minilm() {
    for (reduction, words, positions) in [(0.5, 189, 109), (0.9, 37, 21)] {
        assert_eq!(rank_for_reduction(reduction, 30522, 384).unwrap(), words);
        assert_eq!(rank_for_reduction(reduction, 512, 384).unwrap(), positions);
    }
}

#[test]
fn an_integer_quotient_is_not_rounded_below_itself() {
    // 0.1 * 300 * 600 / 900 = 20 exactly, while (1 - 0.9) in doubles is 0.09999999999999998.
    assert_eq!(rank_for_reduction(0.9, 300, 600).unwrap(), 20);
    for tenths in 1..10 {
        let reduction = f64::from(tenths) / 10.0;
        assert_eq!(rank_for_reduction(reduction, 100, 100).unwrap(), 50 - 5 * tenths as usize, "{reduction}");
    }
}

#[test]
fn a_reduction_that_leaves_no_rank_names_the_largest_that_leaves_one() {
    let error = rank_for_reduction(0.999, 100, 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert_eq!(error.hint_text(), Some("the largest reduction of this table is 0.940000"));
    assert_eq!(rank_for_reduction(0.94, 100, 20).unwrap(), 1);
    assert!(rank_for_reduction(0.5, 1, 8).unwrap_err().hint_text().unwrap().contains("--exclude"));
    assert_eq!(rank_for_reduction(0.5, 0, 0).unwrap_err().kind(), ErrorKind::Request);
}

#[test]
fn reductions_outside_the_open_unit_interval_are_refused() {
    for reduction in [0.0, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(rank_for_reduction(reduction, 100, 20).unwrap_err().kind(), ErrorKind::Request, "{reduction}");
    }
}

#[test]
fn a_rank_that_saves_nothing_is_refused_with_the_largest_that_saves() {
    // 10 * 10 * 4 = 400 bytes; rank 5 takes exactly as many, rank 4 takes 320.
    assert_eq!(largest_saving_rank(10, 10, Dtype::F32, Dtype::F32), 4);
    check_rank(4, 10, 10, Dtype::F32, Dtype::F32).unwrap();
    let error = check_rank(5, 10, 10, Dtype::F32, Dtype::F32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert_eq!(error.hint_text(), Some("the largest rank that saves bytes is 4"));
    assert!(check_rank(0, 10, 10, Dtype::F32, Dtype::F32).unwrap_err().to_string().contains("from 1 to 4"));
    assert!(check_rank(1, 1, 9, Dtype::F32, Dtype::F32).unwrap_err().to_string().contains("no rank saves bytes"));
}

proptest! {
    #[test]
    fn the_largest_saving_rank_saves_and_the_next_does_not(
        rows in 1usize..5000, columns in 1usize..600, wide in any::<bool>()
    ) {
        let factor = if wide { Dtype::F32 } else { Dtype::F16 };
        let rank = largest_saving_rank(rows, columns, Dtype::F32, factor);
        let bytes = |rank: usize| (rows + columns) * rank * factor.bytes();
        prop_assert!(rank == 0 || bytes(rank) < rows * columns * 4);
        prop_assert!(bytes(rank + 1) >= rows * columns * 4 || rank == rows.min(columns));
    }

    #[test]
    fn the_rank_of_a_reduction_is_the_last_that_removes_as_much(
        rows in 2usize..5000, columns in 2usize..600, permille in 1u64..1000
    ) {
        let reduction = permille as f64 / 1000.0;
        let keeps = |rank: u64| rank * (rows + columns) as u64 * 1000 <= (1000 - permille) * (rows * columns) as u64;
        match rank_for_reduction(reduction, rows, columns) {
            Ok(rank) => prop_assert!(keeps(rank as u64) && !keeps(rank as u64 + 1)),
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Request);
                prop_assert!(!keeps(1));
            }
        }
    }
}

// ---- size ----

#[test]
fn sizes_are_read_in_powers_of_ten_of_two_and_shares() {
    for (text, bytes) in [
        ("12345", 12_345),
        ("12345B", 12_345),
        ("12MB", 12_000_000),
        ("12 mb", 12_000_000),
        ("12MiB", 12 << 20),
        ("1.5GB", 1_500_000_000),
        ("0.5KiB", 512),
        ("2TB", 2_000_000_000_000),
        ("1.0009kB", 1000),
    ] {
        assert_eq!(text.parse::<Size>().unwrap(), Size::Bytes(bytes), "{text}");
    }
    assert_eq!("90%".parse::<Size>().unwrap().bytes(1000), 900);
    assert_eq!("29%".parse::<Size>().unwrap().bytes(100), 29);
    assert_eq!("33.3 %".parse::<Size>().unwrap().bytes(1000), 333);
    assert_eq!("100%".parse::<Size>().unwrap().bytes(u64::MAX), u64::MAX);
}

#[test]
fn what_is_not_a_size_is_refused_with_its_text() {
    for text in [
        "",
        "MB",
        "12XB",
        "-3MB",
        "1e6",
        "1.2.3MB",
        ".",
        "0",
        "0.5B",
        "0%",
        "100.1%",
        "99999999999TB",
        "123456789012345678901",
        "1,5GB",
        "∞",
        "12\u{0}MB",
    ] {
        let error = text.parse::<Size>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{text}");
        assert!(error.to_string().contains(&format!("`{}`", text.escape_debug())), "{error}");
    }
    assert!("12M".parse::<Size>().unwrap_err().hint_text().unwrap().contains("`12MB`"));
    assert!("12Gi".parse::<Size>().unwrap_err().hint_text().unwrap().contains("`12GiB`"));
}

#[test]
fn a_size_prints_as_it_can_be_read() {
    assert_eq!("29%".parse::<Size>().unwrap().to_string(), "29% of the source");
    assert_eq!("1kB".parse::<Size>().unwrap().to_string(), "1000 bytes");
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = text.parse::<Size>();
        let _ = text.parse::<Override>();
        let _ = format!("{text}%").parse::<Size>();
        let _ = format!("x:{text}").parse::<Override>();
    }
}

// ---- overrides ----

#[test]
fn the_last_matching_override_counts() {
    let parse = |text: &str| text.parse::<Override>().unwrap();
    let overrides =
        Overrides::new(vec![parse("*:reduction=.9"), parse("*.wte.weight:rank=64"), parse("a:b*:energy=0.99")]);
    assert_eq!(overrides.target_for("transformer.wte.weight"), Some(Target::Rank(64)));
    assert_eq!(overrides.target_for("other"), Some(Target::Reduction(0.9)));
    assert_eq!(overrides.target_for("a:b.weight"), Some(Target::Energy(0.99)));
    assert_eq!(parse("x:max-error=.1").target(), Target::MaxError(0.1));
    assert_eq!(Overrides::default().target_for("other"), None);
}

#[test]
fn an_override_that_cannot_be_read_says_what_one_looks_like() {
    for (text, part) in [
        ("wte.weight", "not an override"),
        ("wte:rank", "not an override"),
        (":rank=3", "not an override"),
        ("wte:rank=0", "`rank` is out of range"),
        ("wte:rank=1.5", "whole number"),
        ("wte:energy=1.1", "above 0 and at most 1"),
        ("wte:max-error=NaN", "out of range"),
        ("wte:speed=3", "unknown target"),
        ("wte:target-size=3MB", "not an override"),
        ("[wte:rank=3", "not an override"),
    ] {
        let error = text.parse::<Override>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{text}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn an_override_of_no_table_is_refused() {
    let overrides = Overrides::new(vec!["wpe*:rank=3".parse().unwrap()]);
    overrides.check(&["wpe.weight"]).unwrap();
    let error = overrides.check(&["wte.weight"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Selection);
    assert!(error.to_string().contains("`wte.weight`") && error.to_string().contains("`wpe*`"), "{error}");
}

// ---- one table ----

fn ladder(norm: f64, steps: &[(u64, f64)]) -> Ladder {
    let steps = steps.iter().map(|&(bytes, squared_error)| Step { bytes, squared_error }).collect();
    Ladder::new(norm, 1000, steps).unwrap()
}

#[test]
fn energy_and_error_pick_the_smallest_step_that_reaches_them() {
    let table = ladder(100.0, &[(10, 50.0), (20, 19.0), (30, 4.0), (40, 1.0)]);
    assert_eq!(table.at_energy(0.5).unwrap(), 0);
    assert_eq!(table.at_energy(0.51).unwrap(), 1);
    assert_eq!(table.at_energy(0.99).unwrap(), 3);
    assert_eq!(table.at_max_error(0.2).unwrap(), 2);
    assert_eq!(table.at_max_error(0.1).unwrap(), 3);
    let error = table.at_max_error(0.05).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gate);
    assert!(error.to_string().contains("1.000000e-1 at best"), "{error}");
    assert!(table.at_energy(0.995).unwrap_err().to_string().contains("at most 0.990000000"));
}

#[test]
fn a_table_of_zeros_is_exact_at_its_smallest_step() {
    let table = ladder(0.0, &[(10, 0.0), (20, 0.0)]);
    assert_eq!((table.at_energy(1.0).unwrap(), table.at_max_error(0.1).unwrap()), (0, 0));
    assert_eq!(allocate(&[table], 100).unwrap().bytes, 10, "nothing is paid for no gain");
}

#[test]
fn ladders_that_cannot_be_compared_are_refused() {
    let step = |bytes, squared_error| Step { bytes, squared_error };
    assert_eq!(Ladder::new(1.0, 9, vec![]).unwrap_err().kind(), ErrorKind::Request);
    assert_eq!(Ladder::new(1.0, 9, vec![step(2, 1.0), step(1, 0.5)]).unwrap_err().kind(), ErrorKind::Request);
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(Ladder::new(1.0, 9, vec![step(1, value)]).unwrap_err().kind(), ErrorKind::NonFinite);
        assert_eq!(Ladder::new(value, 9, vec![step(1, 0.0)]).unwrap_err().kind(), ErrorKind::NonFinite);
    }
}

// ---- several tables ----

/// Squared singular values (not increasing) and the bytes of one rank.
fn low_rank(energies: &[u32], bytes_per_rank: u64) -> Ladder {
    let mut energies: Vec<f64> = energies.iter().map(|&energy| f64::from(energy)).collect();
    energies.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = energies.iter().sum();
    let mut left = total;
    let step = |(index, energy): (usize, &f64)| {
        left -= energy;
        Step { bytes: bytes_per_rank * (index as u64 + 1), squared_error: left.max(0.0) }
    };
    Ladder::new(total, 1_000_000, energies.iter().enumerate().map(step).collect()).unwrap()
}

fn low_rank_ladders() -> impl Strategy<Value = Vec<Ladder>> {
    let table = (prop::collection::vec(0u32..1000, 1..9), 1u64..30).prop_map(|(e, c)| low_rank(&e, c));
    prop::collection::vec(table, 1..5)
}

/// Ladders of any form, not convex.
fn any_ladders() -> impl Strategy<Value = Vec<Ladder>> {
    let table = prop::collection::vec((1u64..40, 0u32..500), 1..8).prop_map(|steps| {
        let (mut bytes, mut error) = (0, 5000.0);
        let step = |(more, less)| {
            bytes += more;
            error -= f64::from(less);
            Step { bytes, squared_error: error }
        };
        Ladder::new(5000.0, 1_000_000, steps.into_iter().map(step).collect()).unwrap()
    });
    prop::collection::vec(table, 1..5)
}

/// The least summed error over every choice with `fits(steps)`; infinite where none fits.
fn exhaustive(ladders: &[Ladder], fits: &dyn Fn(&[usize]) -> bool) -> f64 {
    let mut best = f64::INFINITY;
    let mut steps = vec![0; ladders.len()];
    loop {
        if fits(&steps) {
            best = best.min(error_of(ladders, &steps));
        }
        let Some(table) = (0..steps.len()).find(|&table| steps[table] + 1 < ladders[table].steps().len()) else {
            return best;
        };
        steps[table] += 1;
        steps[..table].fill(0);
    }
}

fn bytes_of(ladders: &[Ladder], steps: &[usize]) -> u64 {
    ladders.iter().zip(steps).map(|(ladder, &step)| ladder.steps()[step].bytes).sum()
}

fn error_of(ladders: &[Ladder], steps: &[usize]) -> f64 {
    ladders.iter().zip(steps).map(|(ladder, &step)| ladder.steps()[step].squared_error).sum()
}

/// Ranks taken one by one by gain per byte: the budgets at which it stops exactly.
fn greedy_budgets(ladders: &[Ladder]) -> Vec<(u64, f64)> {
    let mut steps = vec![0; ladders.len()];
    let mut stops = vec![(bytes_of(ladders, &steps), error_of(ladders, &steps))];
    let rate = |table: usize, step: usize| {
        let (from, to) = (ladders[table].steps()[step], ladders[table].steps()[step + 1]);
        (from.squared_error - to.squared_error) / (to.bytes - from.bytes) as f64
    };
    while let Some(table) = (0..steps.len())
        .filter(|&table| steps[table] + 1 < ladders[table].steps().len())
        .max_by(|&a, &b| rate(a, steps[a]).total_cmp(&rate(b, steps[b])))
    {
        steps[table] += 1;
        stops.push((bytes_of(ladders, &steps), error_of(ladders, &steps)));
    }
    stops
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + b.abs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn greedy_on_gain_per_byte_is_optimal_at_the_budgets_where_it_stops(ladders in low_rank_ladders()) {
        for (budget, error) in greedy_budgets(&ladders) {
            let best = exhaustive(&ladders, &|steps| bytes_of(&ladders, steps) <= budget);
            prop_assert!(close(error, best), "greedy {error}, exhaustive {best} at {budget}");
            prop_assert!(close(allocate(&ladders, budget).unwrap().squared_error, best));
        }
    }

    #[test]
    fn allocation_is_optimal_at_any_budget_for_low_rank(ladders in low_rank_ladders(), budget in 0u64..800) {
        check_against_exhaustive(&ladders, budget)?;
    }

    #[test]
    fn allocation_is_optimal_at_any_budget_for_any_ladder(ladders in any_ladders(), budget in 0u64..600) {
        check_against_exhaustive(&ladders, budget)?;
    }

    #[test]
    fn a_fitted_size_is_kept_and_no_further_step_fits(
        ladders in any_ladders(), limit in 0u64..900, copied in 0u64..100, hold in any::<bool>()
    ) {
        // A header that grows by the digits of the steps and is padded to eight bytes.
        let total = |steps: &[usize]| {
            let header: usize = steps.iter().map(|step| 3 * (step * 7).to_string().len()).sum();
            bytes_of(&ladders, steps) + copied + header.next_multiple_of(8) as u64
        };
        let fixed: Vec<_> = if hold { vec![Some(ladders[0].steps().len() - 1)] } else { vec![] };
        let held = |steps: &[usize]| !hold || steps[0] == ladders[0].steps().len() - 1;
        let best = exhaustive(&ladders, &|steps| held(steps) && total(steps) <= limit);
        match fit_size(&ladders, &fixed, limit, &total) {
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Request);
                prop_assert!(best.is_infinite());
            }
            Ok(found) => {
                prop_assert!(total(&found.steps) <= limit && held(&found.steps));
                prop_assert!(found.lower_bound <= best + 1e-9 && best <= found.squared_error + 1e-9);
                for table in usize::from(hold)..ladders.len() {
                    for step in found.steps[table] + 1..ladders[table].steps().len() {
                        let mut further = found.steps.clone();
                        further[table] = step;
                        let lowers = error_of(&ladders, &further) < found.squared_error - 1e-9;
                        prop_assert!(!lowers || total(&further) > limit);
                    }
                }
                if found.proven {
                    let best = exhaustive(&ladders, &|steps| held(steps) && bytes_of(&ladders, steps) <= found.bytes);
                    prop_assert!(close(found.squared_error, best));
                }
            }
        }
    }
}

fn check_against_exhaustive(ladders: &[Ladder], budget: u64) -> Result<(), TestCaseError> {
    let best = exhaustive(ladders, &|steps| bytes_of(ladders, steps) <= budget);
    match allocate(ladders, budget) {
        Err(error) => {
            prop_assert_eq!(error.kind(), ErrorKind::Request);
            prop_assert!(best.is_infinite());
        }
        Ok(found) => {
            prop_assert!(found.proven);
            prop_assert_eq!(found.bytes, bytes_of(ladders, &found.steps));
            prop_assert!(found.bytes <= budget);
            prop_assert!(close(found.squared_error, error_of(ladders, &found.steps)));
            prop_assert!(close(found.squared_error, best), "found {}, best {best}", found.squared_error);
            prop_assert!(found.lower_bound <= best + 1e-9);
        }
    }
    Ok(())
}

/// `count` tables with `ranks` ranks each and spectra that fall like those of real tables.
fn large_ladders(count: usize, ranks: usize) -> Vec<Ladder> {
    let table = |table: usize| {
        let energy = |rank: usize| ((rank + 3) as f64).powf(-0.7 - 0.1 * table as f64) * (2.0 + table as f64);
        let total: f64 = (0..ranks).map(energy).sum();
        let mut left = total;
        let step = |rank: usize| {
            left -= energy(rank);
            Step { bytes: (rank as u64 + 1) * (123_457 + 61_723 * table as u64), squared_error: left.max(0.0) }
        };
        Ladder::new(total, u64::MAX, (0..ranks).map(step).collect()).unwrap()
    };
    (0..count).map(table).collect()
}

#[test]
fn ladders_of_sixteen_thousand_steps_are_allocated_close_to_the_bound() {
    for count in [1, 2, 3, 6, 12] {
        let ladders = large_ladders(count, 16_384);
        let budget = ladders.iter().map(|ladder| ladder.steps()[5000].bytes).sum::<u64>() + 77_777;
        let found = allocate(&ladders, budget).unwrap();
        assert!(found.bytes <= budget);
        assert!(found.squared_error >= found.lower_bound * (1.0 - 1e-12));
        assert!(found.squared_error <= found.lower_bound * (1.0 + 1e-4), "{found:?}");
    }
}

#[test]
fn a_size_below_the_smallest_output_names_what_can_be_reached() {
    let ladders = [low_rank(&[3, 2, 1], 10), low_rank(&[3, 2, 1], 7)];
    let error = fit_size(&ladders, &[], 20, &|steps| bytes_of(&ladders, steps) + 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "size cannot be reached: expected at most 20 bytes, found 22 bytes with every table at its smallest"
    );
    assert!(allocate(&ladders, 16).unwrap_err().hint_text().unwrap().contains("17 bytes"));
    assert_eq!(fit_size(&ladders, &[Some(3)], 99, &|_| 0).unwrap_err().kind(), ErrorKind::Request);
}

#[test]
fn no_tables_need_no_bytes() {
    assert_eq!(allocate(&[], 0).unwrap().steps, Vec::<usize>::new());
}

// ---- plan ----

#[test]
fn a_plan_prints_every_figure_of_a_table_and_the_totals() {
    let setting = serde_json::json!({"rank": 37}).as_object().cloned().unwrap();
    let table = TablePlan {
        name: "embeddings.word_embeddings.weight".into(),
        shape: [30522, 384],
        dtype: Dtype::F32,
        stored_dtype: Dtype::F16,
        method: "low-rank".into(),
        setting,
        bytes_before: 46_881_792,
        bytes_after: 2_287_044,
        parameters_before: 11_720_448,
        parameters_after: 1_143_522,
        flops_per_token_before: 0,
        flops_per_token_after: 28_416,
        relative_frobenius_error: 0.8276,
        weighted: false,
        retained_energy: Some(0.3151),
        tied: vec!["cls.predictions.decoder.weight".into()],
    };
    let plan = Plan { target: "reduction 0.9".into(), tables: vec![table], weights_before: 1000, weights_after: 250 };
    let text = plan.to_string();
    for part in [
        "reduction 0.9",
        "[30522, 384]",
        "F32 -> F16",
        "rank=37",
        "11720448 -> 1143522",
        "0 -> 28416",
        "0.827600",
        "0.315100",
        "serves `cls.predictions.decoder.weight` too",
        "1000 -> 250 bytes (25.0%)",
    ] {
        assert!(text.contains(part), "`{part}` is missing from\n{text}");
    }
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["tables"][0]["setting"]["rank"], 37);
    assert_eq!(json["tables"][0]["stored_dtype"], "F16");
}
