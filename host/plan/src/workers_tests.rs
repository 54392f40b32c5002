use proptest::prelude::*;

use super::*;

const ARM: &str = "linux/arm64";
const X86: &str = "linux/amd64";

fn worker(platform: &str, slots: usize) -> Worker {
    Worker { platforms: vec![platform.to_owned()], slots }
}

/// Returns a task of stages that are known by these letters.
fn task(platform: &str, chain: &str) -> Task {
    let keys = (1..=chain.len()).map(|end| Digest::of(format!("{platform} {}", &chain[..end]).as_bytes()));
    Task { platform: platform.to_owned(), chain: keys.collect() }
}

fn all(placement: &mut Placement) -> Vec<(usize, usize)> {
    std::iter::from_fn(|| placement.place()).collect()
}

#[test]
fn a_family_stays_on_one_worker_where_stages_do_not_move() {
    let tasks = vec![task(ARM, "abc"), task(ARM, "abd"), task(ARM, "xyz"), task(ARM, "abe")];
    let workers = || vec![worker(ARM, 2), worker(ARM, 2)];
    let mut placement = Placement::new(workers(), tasks.clone(), false);
    assert_eq!(all(&mut placement), [(0, 0), (1, 0), (2, 1)]);
    placement.ended(0, true);
    assert_eq!(all(&mut placement), [(3, 0)]);
    // With a shared cache they go to others, as soon as these have what they have in common.
    let mut placement = Placement::new(vec![worker(ARM, 1), worker(ARM, 1)], tasks, true);
    assert_eq!(all(&mut placement), [(0, 0), (2, 1)]);
    placement.ended(2, true);
    assert_eq!(all(&mut placement), []);
    placement.ended(0, true);
    assert_eq!(all(&mut placement), [(1, 0), (3, 1)]);
}

#[test]
fn native_workers_come_first() {
    let tasks = vec![task(ARM, "abc"), task(X86, "abc"), task(ARM, "xyz")];
    let mut placement = Placement::new(vec![worker(X86, 1), worker(ARM, 1)], tasks, false);
    assert_eq!(all(&mut placement), [(0, 1), (1, 0)]);
    // What a native worker has no room for is emulated rather than waits.
    placement.ended(1, true);
    assert_eq!(all(&mut placement), [(2, 0)]);
}

#[test]
fn what_a_lost_worker_had_goes_to_the_others() {
    let tasks = vec![task(ARM, "abc"), task(ARM, "abd")];
    let mut placement = Placement::new(vec![worker(ARM, 2), worker(ARM, 1)], tasks, false);
    assert_eq!(all(&mut placement), [(0, 0), (1, 0)]);
    placement.lost(0, 1);
    placement.lost(0, 0);
    assert_eq!(all(&mut placement), [(0, 1)]);
    placement.ended(0, true);
    assert_eq!(all(&mut placement), [(1, 1)]);
    assert_eq!(placement.stranded(), Vec::<usize>::new());
    placement.lost(1, 1);
    assert_eq!((all(&mut placement), placement.stranded()), (vec![], vec![1]));
}

proptest! {
    /// Whatever ends or is lost in whichever order, every task is done, and no stage is built on two workers but where one was lost.
    #[test]
    fn every_task_is_done_and_no_stage_is_built_twice(
        slots in prop::collection::vec(1_usize..4, 1..4),
        chains in prop::collection::vec(("[ab]{1,3}", any::<bool>()), 1..12),
        moves in any::<bool>(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.1)), 200),
    ) {
        let workers: Vec<Worker> = slots.iter().map(|&slots| worker(ARM, slots)).collect();
        let tasks: Vec<Task> = chains.iter().map(|(chain, arm)| task(if *arm { ARM } else { X86 }, chain)).collect();
        let mut placement = Placement::new(workers.clone(), tasks.clone(), moves);
        let (mut running, mut builders) = (Vec::new(), BTreeMap::<Digest, BTreeSet<usize>>::new());
        let mut picks = picks.into_iter();
        let (mut done, mut alive) = (0, workers.len());
        loop {
            for (task, worker) in all(&mut placement) {
                for key in &tasks[task].chain {
                    // What was moved is fetched.
                    if !(moves && placement.moved.contains(key)) {
                        builders.entry(*key).or_default().insert(worker);
                    }
                }
                running.push((task, worker));
            }
            for (worker, limit) in slots.iter().enumerate() {
                prop_assert!(running.iter().filter(|(_, on)| *on == worker).count() <= *limit);
            }
            if running.is_empty() { break; }
            let Some((index, dies)) = picks.next() else { break };
            let (task, worker) = running.remove(index.index(running.len()));
            if dies && alive > 1 {
                alive -= 1;
                placement.lost(worker, task);
                let others: Vec<usize> = running.iter().filter(|(_, on)| *on == worker).map(|(task, _)| *task).collect();
                others.into_iter().for_each(|task| placement.lost(worker, task));
                running.retain(|(_, on)| *on != worker);
                builders.values_mut().for_each(|on| _ = on.remove(&worker));
            } else {
                placement.ended(task, true);
                done += 1;
            }
        }
        prop_assert_eq!(done, tasks.len());
        prop_assert!(builders.values().all(|on| on.len() <= 1), "{:?}", builders);
    }
}
