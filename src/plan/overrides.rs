//! Targets for single tables: `GLOB:rank=64`.

use std::str::FromStr;

use globset::{Glob, GlobMatcher};

use super::Target;
use crate::error::{Error, ErrorKind, Result};

/// A target for the tables whose full name matches a glob.
///
/// Text form `GLOB:KEY=VALUE` with the keys `rank`, `bits`, `reduction`, `energy` and `max-error`. The last colon divides,
/// so a glob may hold colons.
#[derive(Debug, Clone)]
pub struct Override {
    matcher: GlobMatcher,
    target: Target,
}

impl Override {
    /// The glob as it was written.
    pub fn glob(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// What the matching tables have to reach.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Whether it speaks of the tensor called `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = |hint: &str| {
            Error::new(ErrorKind::Request, "not an override")
                .expected(
                    "`GLOB:rank=64`, `GLOB:bits=4`, `GLOB:reduction=0.9`, `GLOB:energy=0.99` or `GLOB:max-error=0.1`",
                )
                .found(format!("`{}`", text.escape_debug()))
                .hint(hint)
        };
        let (glob, request) = text.rsplit_once(':').ok_or_else(|| malformed("put a colon after the glob"))?;
        let (key, value) = request.split_once('=').ok_or_else(|| malformed("give the target as `key=value`"))?;
        if glob.is_empty() {
            return Err(malformed("name the tables before the colon; `*` is all of them"));
        }
        let target = Target::parse(key.trim(), value)?;
        if matches!(target, Target::Size(_)) {
            return Err(malformed("a size is shared by all tables; give it as `--target-size`"));
        }
        let matcher = Glob::new(glob).map_err(|error| malformed("check the glob").caused_by(error))?.compile_matcher();
        Ok(Override { matcher, target })
    }
}

/// The overrides of a run, in the order given.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<Override>);

impl Overrides {
    /// Collects overrides; of several that match a table the last counts.
    pub fn new(overrides: Vec<Override>) -> Self {
        Overrides(overrides)
    }

    /// The target set for the table called `name`.
    pub fn target_for(&self, name: &str) -> Option<Target> {
        self.0.iter().rev().find(|candidate| candidate.matches(name)).map(Override::target)
    }

    /// Refuses overrides that speak of no table that is compressed, since they are most likely misspelt.
    ///
    /// # Errors
    /// [`ErrorKind::Selection`] naming the glob and the tables there are.
    pub fn check(&self, tables: &[&str]) -> Result<()> {
        match self.0.iter().find(|candidate| !tables.iter().any(|name| candidate.matches(name))) {
            None => Ok(()),
            Some(unused) => Err(Error::new(ErrorKind::Selection, "override matches no table that is compressed")
                .expected(if tables.is_empty() {
                    "no override".into()
                } else {
                    format!("a glob that matches one of `{}`", tables.join("`, `"))
                })
                .found(format!("`{}`", unused.glob().escape_debug()))),
        }
    }
}
