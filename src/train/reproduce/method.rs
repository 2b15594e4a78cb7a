//! The methods that are compared: where the table comes from, what is stored of it, and whether that is trained.

use serde::Serialize;

use crate::codec::{CODECS, Codec, FixedPoint, LowRank};

/// What a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The classifier trained with the uncompressed table.
    Trained,
    /// A fresh classifier and the vectors that training starts from, compressed before it.
    Vectors,
    /// A fresh classifier and a factor pair of random numbers.
    Random,
}

/// What is stored of the table.
#[derive(Clone, Copy)]
pub enum Form {
    /// The table itself.
    Dense,
    /// The table after it was encoded and decoded: of the size it had, and no better than its encoded form.
    Decoded(&'static dyn Codec),
    /// A factor pair of singles.
    Factors,
    /// A factor pair, each factor encoded.
    EncodedFactors(&'static dyn Codec),
    /// The table encoded.
    Encoded(&'static dyn Codec),
}

/// How large the stored form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As large as the table.
    Whole,
    /// What each reduction leaves: as rank, or as bytes that the factor pair of that rank would take.
    Reduction,
    /// The same, at the reduction of the claims alone: the codes are found for the whole table anew again and again.
    Claimed,
    /// Codes of this width, whatever they take.
    Bits(u32),
    /// What each of the larger reductions leaves as rank, each factor in codes of this width.
    ReductionAndBits(u32),
}

/// The reduction of the paper's claim.
pub(super) const CLAIMED: f64 = 0.9;

/// The least reduction at which factors are encoded: the smallest table is what is sought of them.
const FACTORS_ENCODED_FROM: f64 = 0.7;

/// A method.
#[derive(Clone)]
pub struct Method {
    /// The name in reports.
    pub name: String,
    /// One line.
    pub summary: String,
    /// What it starts from.
    pub origin: Origin,
    /// What is stored.
    pub form: Form,
    /// How much of it.
    pub size: Size,
    /// Whether it is trained after the table was replaced.
    pub retrained: bool,
    /// Whether every architecture takes part, or only the first: codes that are found for the whole table cost more than
    /// a training, and what they lose of the table does not depend on the network behind it.
    pub everywhere: bool,
}

/// Names that claims and charts ask for.
pub(super) const UNCOMPRESSED: &str = "uncompressed";
pub(super) const ONLINE: &str = "low-rank-retrained";
pub(super) const NOT_RETRAINED: &str = "low-rank";
pub(super) const OFFLINE: &str = "low-rank-offline";
pub(super) const OFFLINE_FACTORS: &str = "low-rank-offline-factors";

/// The codec of the paper's rival, by name and with retraining.
pub(super) fn fixed_point(retrained: bool) -> String {
    if retrained { format!("{}-retrained", FixedPoint.name()) } else { FixedPoint.name().to_owned() }
}

/// Every method, in the order of reports.
pub fn methods() -> Vec<Method> {
    let method = |name: &str, summary: &str, origin, form, size, retrained| Method {
        name: name.to_owned(),
        summary: summary.to_owned(),
        origin,
        form,
        size,
        retrained,
        everywhere: true,
    };
    let mut methods = vec![
        method(UNCOMPRESSED, "trained with the whole table", Origin::Trained, Form::Dense, Size::Whole, false),
        method(
            "uncompressed-retrained",
            "the same, trained as long again as the compressed ones are",
            Origin::Trained,
            Form::Dense,
            Size::Whole,
            true,
        ),
        method(
            ONLINE,
            "online: trained, replaced by the factor pair of its singular value decomposition, retrained",
            Origin::Trained,
            Form::Factors,
            Size::Reduction,
            true,
        ),
        method(
            NOT_RETRAINED,
            "trained, replaced by the factor pair, not retrained",
            Origin::Trained,
            Form::Factors,
            Size::Reduction,
            false,
        ),
        method(
            OFFLINE,
            "offline: the vectors replaced by their low-rank approximation before training, a whole table trained",
            Origin::Vectors,
            Form::Decoded(&LowRank),
            Size::Reduction,
            true,
        ),
        method(
            OFFLINE_FACTORS,
            "offline: the vectors replaced by a factor pair before training, the pair trained",
            Origin::Vectors,
            Form::Factors,
            Size::Reduction,
            true,
        ),
        method(
            "low-rank-random",
            "a factor pair of random numbers, trained",
            Origin::Random,
            Form::Factors,
            Size::Reduction,
            true,
        ),
    ];
    for &codec in CODECS.iter().filter(|codec| codec.name() != LowRank.name()) {
        let name = codec.name();
        let by_row = name == FixedPoint.name();
        let first = methods.len();
        let retrained = if by_row { Size::Reduction } else { Size::Claimed };
        methods.push(method(
            name,
            &format!("trained, encoded by {name} at the same bytes"),
            Origin::Trained,
            Form::Encoded(codec),
            Size::Reduction,
            false,
        ));
        methods.push(method(
            &format!("{name}-retrained"),
            &format!("the same, retrained through {name} (straight-through)"),
            Origin::Trained,
            Form::Encoded(codec),
            retrained,
            true,
        ));
        methods[first..].iter_mut().for_each(|method| method.everywhere = by_row);
    }
    for bits in [8, 16] {
        let name = format!("{}-{bits}", FixedPoint.name());
        let (form, size) = (Form::Encoded(&FixedPoint), Size::Bits(bits));
        let summary = format!("trained, codes of {bits} bits and a scale for each row");
        methods.push(method(&name, &summary, Origin::Trained, form, size, false));
        let (name, summary) = (format!("{name}-retrained"), "the same, retrained through them (straight-through)");
        methods.push(method(&name, summary, Origin::Trained, form, size, true));
    }
    for bits in [8, 4] {
        methods.push(method(
            &format!("{}-{bits}-bit", LowRank.name()),
            &format!("online, each factor in codes of {bits} bits with a scale for each row, retrained through them"),
            Origin::Trained,
            Form::EncodedFactors(&FixedPoint),
            Size::ReductionAndBits(bits),
            true,
        ));
    }
    methods
}

impl Method {
    /// The reductions at which it stands, of `all`.
    pub(super) fn reductions(&self, all: &[f64]) -> Vec<Option<f64>> {
        let some = |take: fn(f64) -> bool| all.iter().copied().filter(|&p| take(p)).map(Some).collect();
        match self.size {
            Size::Whole | Size::Bits(_) => vec![None],
            Size::Reduction => some(|_| true),
            Size::ReductionAndBits(_) => some(|p| p >= FACTORS_ENCODED_FROM),
            Size::Claimed => some(|p| p == CLAIMED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_those_that_claims_ask_for_are_there() {
        let methods = methods();
        let mut names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
        for wanted in [UNCOMPRESSED, ONLINE, NOT_RETRAINED, OFFLINE, OFFLINE_FACTORS] {
            assert!(names.contains(&wanted), "{wanted}");
        }
        for retrained in [false, true] {
            assert!(names.contains(&fixed_point(retrained).as_str()));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), methods.len());
    }

    #[test]
    fn every_codec_takes_part() {
        let methods = methods();
        for codec in CODECS {
            assert!(methods.iter().any(|method| method.name == codec.name()), "{}", codec.name());
        }
    }
}
