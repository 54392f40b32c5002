//! Holds the order, its reasons and its refusals against the definition, written down a second time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::metadata::Phase;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn any_stages(most: usize) -> impl Strategy<Value = Vec<OrderInput>> {
    let some = || proptest::collection::vec(select(&NAMES[..]).prop_map(name), 0..=1);
    let phase = prop_oneof![1 => Just(Phase::Init), 6 => Just(Phase::Normal), 1 => Just(Phase::Cleanup)];
    let one =
        (phase, some(), some(), some(), proptest::option::weighted(0.2, select(&NAMES[..])), any::<bool>());
    (proptest::collection::vec(one, 1..=most), Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle())
        .prop_map(|(all, positions)| {
            let present: Vec<StageName> = NAMES.iter().take(all.len()).map(|text| name(text)).collect();
            let stage = |(at, (phase, mut dependencies, after, before, project, is_listed)): (
                usize,
                (_, Vec<StageName>, _, _, Option<&str>, bool),
            )| {
                dependencies.retain(|needed| present.contains(needed));
                let listed = is_listed.then(|| positions[at]);
                let project_after = project.into_iter().map(name).collect();
                let name = present[at].clone();
                OrderInput { name, phase, dependencies, after, before, project_after, listed }
            };
            all.into_iter().enumerate().map(stage).collect()
        })
}

/// A build, with what the definition says of it.
struct Spec<'a> {
    stages: BTreeMap<&'a StageName, &'a OrderInput>,
    /// Everything that is asked for between stages of the build, and who asks for it.
    edges: BTreeSet<Edge>,
}

impl<'a> Spec<'a> {
    fn new(stages: &'a [OrderInput]) -> Self {
        let mut edges = BTreeSet::new();
        let mut ask = |first: &StageName, second: &StageName, reason| {
            edges.insert(Edge { first: first.clone(), second: second.clone(), reason });
        };
        for stage in stages {
            stage.dependencies.iter().for_each(|other| ask(other, &stage.name, Reason::Dependency));
            stage.after.iter().for_each(|other| ask(other, &stage.name, Reason::After));
            stage.project_after.iter().for_each(|other| ask(other, &stage.name, Reason::Project));
            stage.before.iter().for_each(|other| ask(&stage.name, other, Reason::Before));
        }
        let stages: BTreeMap<_, _> = stages.iter().map(|stage| (&stage.name, stage)).collect();
        edges.retain(|edge| stages.contains_key(&edge.first) && stages.contains_key(&edge.second));
        Self { stages, edges }
    }

    fn phase(&self, name: &StageName) -> Phase {
        self.stages[name].phase
    }

    fn against_phases(&self) -> BTreeSet<Edge> {
        let against = |edge: &&Edge| self.phase(&edge.first) > self.phase(&edge.second);
        self.edges.iter().filter(against).cloned().collect()
    }

    /// Returns how many edges the shortest way from each stage to each other has; to itself, around.
    fn distances(&self) -> BTreeMap<(&StageName, &StageName), usize> {
        let mut distances = BTreeMap::new();
        for edge in &self.edges {
            distances.insert((&edge.first, &edge.second), 1);
        }
        for via in self.stages.keys() {
            for from in self.stages.keys() {
                for to in self.stages.keys() {
                    let parts = (distances.get(&(*from, *via)), distances.get(&(*via, *to)));
                    if let (Some(there), Some(on)) = parts {
                        let through = there + on;
                        let known = distances.entry((*from, *to)).or_insert(through);
                        *known = through.min(*known);
                    }
                }
            }
        }
        distances
    }

    /// Returns the groups of stages that each come before all of their group, with their shortest circle's length.
    fn knots(&self) -> BTreeMap<BTreeSet<&StageName>, usize> {
        let distances = self.distances();
        let mut knots = BTreeMap::new();
        for one in self.stages.keys() {
            let Some(around) = distances.get(&(*one, *one)) else { continue };
            let mutual = |other: &&&StageName| {
                distances.contains_key(&(*one, **other)) && distances.contains_key(&(**other, *one))
            };
            let knot: BTreeSet<&StageName> = self.stages.keys().filter(mutual).copied().collect();
            let shortest = knots.entry(knot).or_insert(*around);
            *shortest = (*shortest).min(*around);
        }
        knots
    }

    /// Returns the position in the manifest that decides a stage's turn: its own, or the first of those that need it.
    fn position(&self, stage: &OrderInput, seen: &mut BTreeSet<StageName>) -> usize {
        if let Some(position) = stage.listed {
            return position;
        }
        seen.insert(stage.name.clone());
        let needing = self.stages.values().filter(|other| other.dependencies.contains(&stage.name));
        let mut first = usize::MAX;
        for other in needing {
            if !seen.contains(&other.name) {
                first = first.min(self.position(other, seen));
            }
        }
        seen.remove(&stage.name);
        first
    }

    /// Takes, again and again, the first of the stages that wait for nothing.
    fn order(&self) -> Vec<StageName> {
        let mut placed: Vec<StageName> = Vec::new();
        while placed.len() < self.stages.len() {
            let free = self.stages.values().filter(|stage| {
                let waits = |edge: &Edge| edge.second == stage.name && !placed.contains(&edge.first);
                !placed.contains(&stage.name) && !self.edges.iter().any(waits)
            });
            let turn = |stage: &&&OrderInput| {
                let position = self.position(stage, &mut BTreeSet::new());
                (stage.phase, position, stage.listed.is_some(), stage.name.clone())
            };
            placed.push(free.min_by_key(turn).unwrap().name.clone());
        }
        placed
    }
}

fn check(stages: &[OrderInput], result: Result<BuildOrder, OrderError>) -> Result<(), TestCaseError> {
    let spec = Spec::new(stages);
    let (against, knots) = (spec.against_phases(), spec.knots());
    match result {
        Ok(order) => {
            prop_assert!(against.is_empty() && knots.is_empty(), "there is no order");
            let names = order.names();
            prop_assert_eq!(names, spec.order());
            for (at, first) in names.iter().enumerate() {
                prop_assert!(names[at + 1..].iter().all(|second| order.why(first, second).is_some()));
            }
            Ok(())
        }
        Err(OrderError::AgainstPhases { edges }) => {
            let told: BTreeSet<Edge> = edges.iter().map(|(edge, ..)| edge.clone()).collect();
            prop_assert_eq!(told.len(), edges.len(), "an edge is told twice");
            prop_assert_eq!(told, against);
            Ok(())
        }
        Err(OrderError::Cycle { cycles }) => check_cycles(&spec, &cycles),
        Err(other) => Err(TestCaseError::fail(other.to_string())),
    }
}

/// Each knot has one circle, and that is a shortest one, of edges that stages really ask for.
fn check_cycles(spec: &Spec<'_>, cycles: &[Cycle]) -> Result<(), TestCaseError> {
    let mut left = spec.knots();
    for cycle in cycles {
        let edges = &cycle.edges;
        for (edge, next) in edges.iter().zip(edges.iter().cycle().skip(1)) {
            prop_assert_eq!(&edge.second, &next.first, "the edges form no circle");
            prop_assert!(spec.edges.contains(edge), "nobody asks for: {edge}");
        }
        let around: BTreeSet<&StageName> = edges.iter().map(|edge| &edge.first).collect();
        prop_assert_eq!(around.len(), edges.len(), "a stage stands in the circle twice");
        let knot = left.keys().find(|knot| around.is_subset(knot)).cloned();
        let shortest = knot.and_then(|knot| left.remove(&knot));
        prop_assert_eq!(shortest, Some(edges.len()), "not the shortest circle of a knot not told yet");
    }
    prop_assert!(left.is_empty(), "circles among {:?} are not told", left.keys());
    let text = OrderError::Cycle { cycles: cycles.to_vec() }.to_string();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
    let edges: Vec<String> = cycles.iter().flat_map(|cycle| &cycle.edges).map(ToString::to_string).collect();
    prop_assert_eq!(lines, edges, "the text names other edges than the circles have");
    Ok(())
}

/// Calls `visit` with the items in every order.
fn permutations<T>(items: &mut [T], from: usize, visit: &mut impl FnMut(&[T])) {
    if from + 1 >= items.len() {
        return visit(items);
    }
    for at in from..items.len() {
        items.swap(from, at);
        permutations(items, from + 1, visit);
        items.swap(from, at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_order_is_the_one_of_the_definition(
        (stages, shuffled) in any_stages(8).prop_flat_map(|stages| (Just(stages.clone()), Just(stages).prop_shuffle()))
    ) {
        check(&stages, order(&stages))?;
        prop_assert_eq!(order(&stages).map(BuildOrder::into_names), order(&shuffled).map(BuildOrder::into_names));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_permutation_gives_the_same(stages in any_stages(6)) {
        let expected = order(&stages).map(BuildOrder::into_names);
        let mut seen = 0;
        let mut others = Vec::new();
        permutations(&mut stages.clone(), 0, &mut |permuted| {
            seen += 1;
            let result = order(permuted).map(BuildOrder::into_names);
            if result != expected {
                others.push(result);
            }
        });
        prop_assert_eq!(seen, (1..=stages.len()).product::<usize>());
        prop_assert!(others.is_empty(), "{expected:?}, but also {others:?}");
    }
}

#[test]
fn the_cases_are_of_all_kinds() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let results = (0..300).map(|_| order(&any_stages(8).new_tree(&mut runner).unwrap().current()));
    let (mut fine, mut cycles, mut several, mut against) = (0, 0, 0, 0);
    for result in results {
        match result {
            Ok(_) => fine += 1,
            Err(OrderError::Cycle { cycles: found }) => {
                cycles += 1;
                several += usize::from(found.len() > 1);
            }
            Err(_) => against += 1,
        }
    }
    assert!(
        fine > 50 && cycles > 30 && several > 1 && against > 30,
        "{fine} fine, {cycles} with cycles, {several} with several, {against} against phases"
    );
}
