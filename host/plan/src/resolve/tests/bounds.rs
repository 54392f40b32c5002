//! Registries that lead on for ever, and puzzles without a solution.

use std::time::{Duration, Instant};

use miette::Diagnostic as _;

use super::*;

/// Asks a registry that makes its answers up, for as long as there is something to ask; returns how often.
fn walk(
    request: &ResolveRequest,
    answer: impl Fn(&StageName) -> Vec<IndexEntry>,
    bytes: u64,
) -> (usize, Option<Box<Excess>>) {
    let (mut prefetch, mut asked) = (Prefetch::new(request), 0);
    loop {
        let wanted = prefetch.take();
        if wanted.is_empty() {
            return (asked, None);
        }
        for (name, source) in wanted {
            asked += 1;
            let candidate = |entry: IndexEntry| Candidate {
                version: entry.vers.clone(),
                source: source.clone(),
                offer: Offer::Entry(Arc::new(entry)),
            };
            let versions = answer(&name).into_iter().map(candidate).collect();
            let file = IndexFile { versions, skipped: Vec::new(), bytes };
            if let Err(excess) = prefetch.answer(&name, &source, &file) {
                return (asked, Some(excess));
            }
        }
    }
}

fn number(name: &StageName) -> usize {
    name.as_str().trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

#[test]
fn a_chain_without_an_end_is_cut() {
    let next = |name: &StageName| match name.as_str() {
        "__init__" | "__cleanup__" => vec![],
        _ => vec![entry(&format!("{name} 1.0.0: x{} *", number(name) + 1))],
    };
    let (asked, excess) = walk(&request(&["first *"]), next, 100);
    let error = ResolveError::from(excess.unwrap());
    assert!(asked < 3 * MAX_DEPTH, "{asked}");
    let text = error.to_string();
    for part in [
        "more than 200",
        "the bundled registry",
        "`first` -> `x1` -> `x2` -> (",
        " more) -> `x199` -> `x200` -> `x201`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.len() < 500 && error.help().unwrap().to_string().contains("pib.toml"), "{text}");
    // One that ends in time is none of these.
    let next = |name: &StageName| match number(name) {
        199 => vec![],
        number => vec![entry(&format!("{name} 1.0.0: x{} *", number + 1))],
    };
    assert!(walk(&request(&["first *"]), next, 100).1.is_none());
}

#[test]
fn a_tree_without_an_end_is_cut() {
    // Each version of each stage needs others.
    let wide = |name: &StageName| {
        let needs = |version: usize| {
            let all: Vec<String> =
                (0..400).map(|at| format!("y{} *", number(name) * 1000 + version * 400 + at + 1)).collect();
            entry(&format!("{name} 1.0.{version}: {}", all.join(", ")))
        };
        (0..3).map(needs).collect()
    };
    let (asked, excess) = walk(&request(&["first *"]), wide, 100);
    let excess = excess.unwrap();
    assert!(excess.measure == Measure::Stages && asked < MAX_STAGES, "{excess} {asked}");
    assert!(excess.to_string().contains("more than 10000") && excess.chain.len() < 5, "{excess}");
    let (_, excess) =
        walk(&request(&["first *"]), |name| vec![entry(&format!("{name} 1.0.0: a *, b *"))], MAX_BYTES / 4);
    assert_eq!(excess.unwrap().measure, Measure::Bytes);
    // Stages that need each other are asked for once.
    let mutual = |name: &StageName| vec![entry(&format!("{name} 1.0.0: a *, b *"))];
    assert_eq!(walk(&request(&["a *"]), mutual, 100), (4, None));
}

#[test]
fn a_puzzle_without_a_solution_is_given_up() {
    // Each of twelve stages needs a place of its own, and there are eleven.
    let mut lines = Vec::new();
    for one in 0..12 {
        let others = |place: usize| -> Vec<String> {
            (0..12).filter(|other| *other != one).map(|other| format!("!p{other} ={place}.0.0")).collect()
        };
        lines.extend((1..12).map(|place| format!("p{one} {place}.0.0: {}", others(place).join(", "))));
    }
    let index = index(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let roots: Vec<String> = (0..12).map(|one| format!("p{one} *")).collect();
    let request = request(&roots.iter().map(String::as_str).collect::<Vec<_>>());
    let began = Instant::now();
    // It is the search that ends, and no clock.
    let given_up = || began.elapsed() > Duration::from_secs(300);
    let error = resolve_unless(&request, &index, &given_up).unwrap_err();
    assert_eq!(error, ResolveError::TooHard, "after {:?}", began.elapsed());
    assert!(error.help().unwrap().to_string().contains("=1.2.3"));
    let asked = std::cell::Cell::new(0);
    let soon = || asked.replace(asked.get() + 1) > 20;
    assert_eq!(resolve_unless(&request, &index, &soon), Err(ResolveError::Cancelled));
}
