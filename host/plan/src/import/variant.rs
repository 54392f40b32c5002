//! The variants that a product's makefile builds.

use std::collections::BTreeMap;

use super::tree::Tree;
use crate::id::check_name;

/// How many variants are imported.
const MAX_VARIANTS: usize = 64;

/// One variant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variant {
    /// Its name as a target of `pib.toml`; empty for the product itself.
    pub(super) name: String,
    /// The variables that its rule gives.
    pub(super) given: BTreeMap<String, String>,
    /// The target whose own variables hold.
    pub(super) goal: Option<String>,
}

/// Returns the variants: the rules that call make with variables, and those with variables of their own.
pub(super) fn variants(tree: &mut Tree<'_>) -> Vec<Variant> {
    let mut makefile = tree.makefile("", &BTreeMap::new(), None);
    let targets: Vec<String> = makefile.targets().into_iter().map(str::to_owned).collect();
    let own = makefile.clone();
    let mut variants: Vec<Variant> = Vec::new();
    let assigned: Vec<String> = own.targets_with_variables();
    for target in targets.iter().chain(assigned.iter().filter(|target| !targets.contains(target))) {
        if target.starts_with('.') || target.contains(['%', '/']) {
            continue;
        }
        let calls = makefile.calls(target).into_iter();
        let mut given = calls.filter(|call| call.folder.is_none()).map(|call| call.variables);
        let given = given.rfind(|given| given.keys().any(|name| decides(name)));
        let has_own = own.own_variables(target).any(decides);
        if given.is_none() && !has_own {
            continue;
        }
        let name = target.to_lowercase().replace(['_', '.'], "-");
        if check_name(&name).is_err() || variants.iter().any(|known| known.name == name) {
            tree.leave_out(
                format!("target {target}"),
                "its name cannot be that of a target: write [target.NAME] by hand".to_owned(),
            );
            continue;
        }
        if variants.len() == MAX_VARIANTS {
            tree.leave_out(
                format!("target {target}"),
                format!("at most {MAX_VARIANTS} variants are imported"),
            );
            break;
        }
        variants.push(Variant { name, given: given.unwrap_or_default(), goal: Some(target.clone()) });
    }
    variants
}

/// Returns whether a variable decides what is built, and not only how.
fn decides(name: &str) -> bool {
    !matches!(
        name,
        "NC" | "BUILD_OPTS" | "TAG" | "CARD" | "V" | "DOCKER" | "MAKEFLAGS" | "IMAGE" | "IMAGE_XZ"
    )
}
