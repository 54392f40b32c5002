//! Which engine builds which target, where there are several: so that each stage is built once, and natively where it can be.
//!
//! Targets whose chains of stages begin alike are a family. What stages have in common is a beginning, since the key of each stands on the
//! one before it. Where nothing carries built stages from one engine to another, a family stays on one engine. Where a shared
//! cache does, its members may go anywhere, but for what would be built twice at the same time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::Digest;

/// How much longer a stage takes that is emulated.
const EMULATED: usize = 2;

/// An engine that builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The platforms whose programs it runs natively, as container engines write them.
    pub platforms: Vec<String>,
    /// How many targets it builds at once.
    pub slots: usize,
}

/// A target to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its platform.
    pub platform: String,
    /// The keys of its stages, in build order.
    pub chain: Vec<Digest>,
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// On this worker.
    Running(usize),
    Done,
}

/// The tasks of a build and the workers that they are on.
#[derive(Debug)]
pub struct Placement {
    workers: Vec<Worker>,
    tasks: Vec<Task>,
    states: Vec<State>,
    /// The order in which tasks are looked at: the longest first.
    order: Vec<usize>,
    lost: BTreeSet<usize>,
    /// Whether a stage that one worker has built reaches the others.
    moves: bool,
    /// The stages that have reached the others.
    moved: BTreeSet<Digest>,
    /// The workers of families, by their first stages.
    homes: BTreeMap<Digest, usize>,
}

impl Placement {
    /// Returns a placement in which nothing has begun; `moves` says whether a stage that one worker has built reaches the others.
    pub fn new(workers: Vec<Worker>, tasks: Vec<Task>, moves: bool) -> Self {
        let states = vec![State::Waiting; tasks.len()];
        let mut order: Vec<usize> = (0..tasks.len()).collect();
        order.sort_by_key(|&task| Reverse(tasks[task].chain.len()));
        let (lost, moved, homes) = Default::default();
        Self { workers, tasks, states, order, lost, moves, moved, homes }
    }

    /// Returns a task that can begin now, and the worker that it is given to; `None` where all wait for others, or for a worker.
    pub fn place(&mut self) -> Option<(usize, usize)> {
        let waiting = self.order.iter().filter(|&&task| self.states[task] == State::Waiting);
        let (task, worker) = waiting.filter_map(|&task| Some((task, self.worker_of(task)?))).next()?;
        self.states[task] = State::Running(worker);
        if let Some(first) = self.tasks[task].chain.first() {
            self.homes.entry(*first).or_insert(worker);
        }
        Some((task, worker))
    }

    /// Notes that a task has ended, well or not; what was `built` of it has reached the others, where stages do.
    pub fn ended(&mut self, task: usize, built: bool) {
        self.states[task] = State::Done;
        if built {
            self.moved.extend(self.tasks[task].chain.iter().filter(|_| self.moves).copied());
        }
    }

    /// Notes that a worker does not answer any more, and has a task of it wait for another one.
    pub fn lost(&mut self, worker: usize, task: usize) {
        self.lost.insert(worker);
        self.homes.retain(|_, home| *home != worker);
        self.states[task] = State::Waiting;
    }

    /// Returns the tasks for which there is no worker any more.
    pub fn stranded(&self) -> Vec<usize> {
        let none = self.lost.len() == self.workers.len();
        let waiting = |task: &usize| none && self.states[*task] == State::Waiting;
        (0..self.tasks.len()).filter(waiting).collect()
    }

    /// Returns the worker that a task can begin on now.
    fn worker_of(&self, task: usize) -> Option<usize> {
        let chain = &self.tasks[task].chain;
        let home = chain.first().and_then(|first| self.homes.get(first)).copied();
        let is_moved = self.moves && chain.first().is_some_and(|first| self.moved.contains(first));
        let bound = self.building_the_same(task).filter(|_| self.moves).or(home.filter(|_| !is_moved));
        match bound {
            Some(worker) => Some(worker).filter(|&worker| self.has_slot(worker)),
            None => self.best(task),
        }
    }

    /// Returns the worker that is building a stage which this task needs and which the others do not have yet.
    fn building_the_same(&self, task: usize) -> Option<usize> {
        let own = &self.tasks[task].chain;
        let needs = |other: &[Digest]| {
            own.iter().zip(other).take_while(|(a, b)| a == b).any(|(key, _)| !self.moved.contains(key))
        };
        let mut others = self.states.iter().zip(&self.tasks);
        others.find_map(|(state, other)| match state {
            State::Running(worker) if needs(&other.chain) => Some(*worker),
            _ => None,
        })
    }

    /// Returns the worker with a slot on which a task is done soonest.
    fn best(&self, task: usize) -> Option<usize> {
        let free = (0..self.workers.len()).filter(|&worker| self.has_slot(worker));
        // With a home for the family, its work is bound to one worker: the one that has least to do.
        free.min_by_key(|&worker| {
            let (own, load) = (self.cost(task, worker), self.load(worker));
            ((own + load) * 1000 / self.workers[worker].slots.max(1), load)
        })
    }

    fn has_slot(&self, worker: usize) -> bool {
        let running = self.states.iter().filter(|state| **state == State::Running(worker)).count();
        !self.lost.contains(&worker) && running < self.workers[worker].slots
    }

    /// Returns how much a worker still has to do: what it is building, and the families that are bound to it.
    fn load(&self, worker: usize) -> usize {
        let is_its = |task: usize| match self.states[task] {
            State::Running(on) => on == worker,
            State::Done => false,
            State::Waiting => {
                let first = self.tasks[task].chain.first();
                !self.moves && first.and_then(|first| self.homes.get(first)) == Some(&worker)
            }
        };
        let mut seen = BTreeSet::new();
        let of_task = |task: usize| {
            let new = self.to_build(task).filter(|key| seen.insert(**key)).count();
            new * self.factor(task, worker)
        };
        (0..self.tasks.len()).filter(|&task| is_its(task)).map(of_task).sum()
    }

    /// Returns what a worker would have to do for a task.
    fn cost(&self, task: usize, worker: usize) -> usize {
        self.to_build(task).count() * self.factor(task, worker)
    }

    /// Returns the stages of a task that have to be built wherever it goes.
    fn to_build(&self, task: usize) -> impl Iterator<Item = &Digest> {
        self.tasks[task].chain.iter().filter(|key| !self.moved.contains(key))
    }

    fn factor(&self, task: usize, worker: usize) -> usize {
        if self.workers[worker].platforms.contains(&self.tasks[task].platform) { 1 } else { EMULATED }
    }
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
