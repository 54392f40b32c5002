//! `[order]`: the order that the project itself asks for.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::bad_name::bad_name;
use super::schema::OrderSchema;
use crate::id::StageName;
use crate::manifest::{ManifestError, ManifestText};

/// The order that the project itself asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectOrder {
    /// The stages that come first among those that could come next, in this order.
    pub list: Vec<OrderedStage>,
    /// Which stages come before which others, where both are in the build.
    pub rules: Vec<OrderRule>,
}

/// A stage in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedStage {
    /// The stage.
    pub name: StageName,
    /// Where its name stands in the manifest.
    pub span: Range<usize>,
}

/// That one stage comes before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRule {
    /// The earlier stage.
    pub first: StageName,
    /// The later stage.
    pub second: StageName,
    /// Where the manifest says so.
    pub span: Range<usize>,
}

impl ProjectOrder {
    pub(super) fn check(source: &ManifestText, schema: OrderSchema) -> Result<Self, ManifestError> {
        let name = |text: &Spanned<String>| -> Result<StageName, ManifestError> {
            text.get_ref().parse().map_err(|error| bad_name(source, text, error))
        };
        let (mut list, mut seen) = (Vec::new(), BTreeSet::new());
        for text in schema.list.unwrap_or_default() {
            let stage = OrderedStage { name: name(&text)?, span: text.span() };
            if !seen.insert(stage.name.clone()) {
                let message = format!("stage `{}` is twice in the list of [order]", stage.name);
                return Err(source
                    .error(stage.span, message, "here again")
                    .with_help("Keep the place that it should have."));
            }
            list.push(stage);
        }
        let mut rules = Vec::new();
        for (stage, asked) in schema.stages {
            let own = name(&stage)?;
            for other in &asked.after {
                rules.push(OrderRule { first: name(other)?, second: own.clone(), span: other.span() });
            }
            for other in &asked.before {
                rules.push(OrderRule { first: own.clone(), second: name(other)?, span: other.span() });
            }
        }
        Ok(Self { list, rules })
    }

    /// Returns all stages that it names.
    pub fn named(&self) -> impl Iterator<Item = &StageName> {
        let listed = self.list.iter().map(|stage| &stage.name);
        listed.chain(self.rules.iter().flat_map(|rule| [&rule.first, &rule.second]))
    }

    /// Returns the names of the list.
    pub fn names(&self) -> Vec<StageName> {
        self.list.iter().map(|stage| stage.name.clone()).collect()
    }
}
