//! Tells the pib stages of a build apart, whichever builder does it, and reports each as a step.

use std::collections::HashMap;

use pib_buildkit::status::{StatusResponse, Vertex, VertexLog, VertexStatus};
use pib_plan::assemble::BuildPlan;

use super::error::EngineError;
use super::log_lines::{Lines, shorten};
use super::mirror_state::MirrorState;
use super::refused::names_lost_layers;
use super::{merged, part_location};
use pib_event::{Event, Mask, Reporter, ReporterExt};

/// The step that output without a stage belongs to.
const BUILD: &str = "build";
/// The step of what the engine does after the last stage: it takes seconds for a big result.
const STORE: &str = "build:store";
/// What BuildKit calls that.
const EXPORTING: &str = "exporting to image";
/// The step of sending the stages' files, where they are many.
const SEND: &str = "build:send";
/// What BuildKit calls that, and how many bytes are sent before it is worth a word.
const SENDING: &str = "[internal] load build context";
const MUCH: i64 = 8 << 20;

/// The stages of a plan as steps of the operation.
pub(super) struct Stages<'a> {
    plan: &'a BuildPlan,
    reporter: &'a dyn Reporter,
    state: Vec<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Finished,
}

impl<'a> Stages<'a> {
    pub(super) fn new(plan: &'a BuildPlan, reporter: &'a dyn Reporter) -> Self {
        Self { plan, reporter, state: vec![State::Waiting; plan.stages.len()] }
    }

    /// Returns the stage whose Docker build stage is called `target`.
    pub(super) fn index(&self, target: &str) -> Option<usize> {
        self.plan.index_of(target)
    }

    pub(super) fn name(&self, stage: usize) -> Option<String> {
        self.plan.stages.get(stage).map(|stage| stage.name.to_string())
    }

    pub(super) fn step(&self, stage: Option<usize>) -> String {
        let name = stage.and_then(|stage| self.name(stage));
        name.map_or_else(|| BUILD.to_owned(), |name| format!("stage:{name}"))
    }

    pub(super) fn start(&mut self, stage: usize) {
        if let (Some(State::Waiting), Some(name)) = (self.state.get(stage).copied(), self.name(stage)) {
            self.state[stage] = State::Running;
            self.reporter.started(&self.step(Some(stage)), format!("Building stage {name}"));
        }
    }

    pub(super) fn detail(&self, stage: usize, detail: String) {
        self.reporter.detail(&self.step(Some(stage)), detail);
    }

    pub(super) fn log(&self, stage: Option<usize>, line: &str) {
        self.reporter.report(Event::Log { id: self.step(stage), line: line.to_owned() });
    }

    /// Reports that the build went wrong in this stage.
    pub(super) fn fail(&mut self, stage: Option<usize>) {
        if let Some(state) = stage.and_then(|stage| self.state.get_mut(stage))
            && *state == State::Running
        {
            *state = State::Finished;
            self.reporter.failed(&self.step(stage));
        }
    }

    pub(super) fn finish(&mut self, stage: usize, cached: bool) {
        if self.state.get(stage).is_some_and(|&state| state != State::Finished) {
            self.start(stage);
            self.state[stage] = State::Finished;
            self.reporter.finished(&self.step(Some(stage)), cached);
        }
    }

    /// Finishes the stages up to `last` that no message spoke of: they have nothing but settings, or the
    /// engine skipped them since it had what comes after them.
    pub(super) fn finish_all(&mut self, last: Option<&str>) {
        let last = last.and_then(|target| self.index(target)).unwrap_or(usize::MAX);
        for stage in 0..self.state.len().min(last.saturating_add(1)) {
            self.finish(stage, self.state[stage] == State::Waiting);
        }
    }
}

/// Follows a BuildKit build by its status messages.
pub(super) struct Progress<'a> {
    stages: Stages<'a>,
    mask: Mask,
    vertexes: HashMap<String, VertexState>,
    steps: Vec<Steps>,
    failure: Option<Failure>,
}

/// One vertex of the build: an instruction, or something of the engine's own.
#[derive(Default)]
struct VertexState {
    stage: Option<usize>,
    instruction: String,
    started: bool,
    completed: bool,
    /// Whether it is shown as a step of its own.
    told: bool,
    lines: Lines,
}

/// How many of a stage's instructions have been completed.
#[derive(Clone, Default)]
struct Steps {
    done: usize,
    total: usize,
    ran: bool,
}

struct Failure {
    stage: Option<usize>,
    step: usize,
    steps: usize,
    instruction: String,
    message: String,
    vertex: String,
}

impl<'a> Progress<'a> {
    pub(super) fn new(plan: &'a BuildPlan, mask: Mask, reporter: &'a dyn Reporter) -> Self {
        Self {
            stages: Stages::new(plan, reporter),
            mask,
            vertexes: HashMap::new(),
            steps: vec![Steps::default(); plan.stages.len()],
            failure: None,
        }
    }

    pub(super) fn take(&mut self, status: StatusResponse) {
        for vertex in status.vertexes {
            self.vertex(vertex);
        }
        for status in status.statuses {
            self.sent(&status);
        }
        for log in status.logs {
            self.log(&log);
        }
    }

    fn vertex(&mut self, vertex: Vertex) {
        let name = Name::parse(&vertex.name);
        let stage = match name.stage {
            Some(target) => self.stages.index(target),
            // BuildKit leaves the name out where there is only one stage.
            None => (name.steps > 0 && self.steps.len() == 1).then_some(0),
        };
        let instruction = self.instruction(stage, &name);
        let known = self.vertexes.entry(vertex.digest.clone()).or_default();
        if known.completed {
            return;
        }
        known.stage = stage;
        known.instruction = instruction.clone();
        let starts = vertex.started.is_some() && !known.started;
        known.started |= starts;
        known.completed = vertex.completed.is_some();
        let completed = known.completed;
        if completed {
            let (mask, stages) = (&self.mask, &self.stages);
            known.lines.finish(mask, |line| stages.log(stage, line));
        }
        if completed && known.told && vertex.error.is_empty() {
            self.stages.reporter.finished(SEND, false);
        }
        if vertex.name == EXPORTING {
            if starts {
                self.stages.reporter.started(STORE, "Storing the container image");
            }
            if completed && vertex.error.is_empty() {
                self.stages.reporter.finished(STORE, false);
            }
        }
        if let Some(stage) = stage {
            if starts && !vertex.cached {
                self.stages.start(stage);
                self.stages.detail(stage, format!("{}/{} {instruction}", name.step, name.steps));
            }
            if completed && vertex.error.is_empty() {
                self.completed(stage, &name, vertex.cached);
            }
        }
        let cancelled = vertex.error.contains("context canceled");
        if !vertex.error.is_empty() && !cancelled && self.failure.is_none() {
            let message = self.mask.apply(vertex.error);
            let (step, steps) = (name.step, name.steps);
            self.failure = Some(Failure { stage, step, steps, instruction, message, vertex: vertex.digest });
        }
    }

    /// Returns what is shown of an instruction.
    fn instruction(&self, stage: Option<usize>, name: &Name<'_>) -> String {
        let plan = self.stages.plan;
        let place = stage.filter(|_| name.steps > 0);
        let place = place.and_then(|stage| part_location::of_step(plan, stage, name.step, name.steps));
        let merged = merged::shown(plan, place, &self.mask);
        merged.unwrap_or_else(|| self.mask.apply(shorten(name.instruction)))
    }

    /// Tells how much of the stages' files has been sent.
    fn sent(&mut self, status: &VertexStatus) {
        let Some(known) = self.vertexes.get_mut(&status.vertex) else { return };
        if known.instruction != SENDING || known.completed || status.current < MUCH {
            return;
        }
        if !std::mem::replace(&mut known.told, true) {
            self.stages.reporter.started(SEND, "Sending files to the engine");
        }
        self.stages.reporter.progress(SEND, status.current.unsigned_abs(), None);
    }

    fn completed(&mut self, stage: usize, name: &Name<'_>, cached: bool) {
        let Some(steps) = self.steps.get_mut(stage) else { return };
        steps.done += 1;
        steps.total = name.steps;
        // FROM counts as a step of the first stage, and is never marked as cached.
        steps.ran |= !cached && !name.instruction.starts_with("FROM ");
        let (done, total, cached) = (steps.done, steps.total, !steps.ran);
        if done >= total {
            self.stages.finish(stage, cached);
        }
    }

    fn log(&mut self, log: &VertexLog) {
        let known = self.vertexes.entry(log.vertex.clone()).or_default();
        let (stage, stages) = (known.stage, &self.stages);
        known.lines.push(&log.msg, &self.mask, |line| stages.log(stage, line));
    }

    /// Reports what is left after the build ended well; `last` is the Docker build stage it stopped at.
    pub(super) fn finish(mut self, last: Option<&str>) {
        self.stages.finish_all(last);
    }

    /// Returns the failure of an instruction, where there was one.
    pub(super) fn failure(mut self) -> Option<EngineError> {
        let failure = self.failure?;
        let mut log_tail = self.vertexes.get_mut(&failure.vertex).map_or_else(Vec::new, |vertex| {
            let (mask, stages) = (&self.mask, &self.stages);
            vertex.lines.finish(mask, |line| stages.log(failure.stage, line));
            vertex.lines.tail()
        });
        self.stages.fail(failure.stage);
        let plan = self.stages.plan;
        let place = match failure.stage {
            Some(stage) => part_location::of_step(plan, stage, failure.step, failure.steps),
            // What an ADD fetches is a step of the engine's own, called as the ADD calls it.
            None if failure.instruction.contains("://") => part_location::of_text(plan, &failure.instruction),
            None => None,
        };
        let named = failure.stage.and_then(|stage| self.stages.name(stage));
        let stage = named.or_else(|| place.as_ref().map(|place| place.stage.clone()));
        let line = place.map(|place| place.line);
        let (line, instruction) =
            match merged::failed(plan, stage.as_deref(), line, &mut log_tail, &self.mask) {
                Some((line, instruction)) => (Some(line), instruction),
                None => (line, failure.instruction),
            };
        Some(step_failed(plan, stage, line, instruction, failure.message, log_tail))
    }
}

/// Makes the error of an instruction that failed, and recognises causes that have a remedy of their own.
pub(super) fn step_failed(
    plan: &BuildPlan,
    stage: Option<String>,
    line: Option<usize>,
    instruction: String,
    message: String,
    log_tail: Vec<String>,
) -> EngineError {
    let says = |is: fn(&str) -> bool| log_tail.iter().chain([&message]).any(|line| is(line));
    if says(|line| line.to_lowercase().contains("no space left on device")) {
        return EngineError::DiskFull { doing: format!("building at `{instruction}`") };
    }
    if names_lost_layers(&message) {
        return EngineError::LostLayers { message };
    }
    // The engine itself could not start the shell. A program that a part starts fails in the shell's words.
    if says(|line| {
        (line.contains("exec user process") || line.starts_with("exec /"))
            && line.contains("exec format error")
    }) {
        return EngineError::cannot_run(
            plan.arch,
            "the engine got `exec format error` from its kernel".to_owned(),
        );
    }
    if let Some(state) = MirrorState::of(&log_tail) {
        let (reason, help) = (state.reason(), state.remedy());
        return EngineError::Packages { stage, line, instruction, reason, help };
    }
    let exit_code = exit_code(&message);
    EngineError::BuildFailed { stage, line, instruction, exit_code, message, log_tail }
}

/// What a vertex's name tells: `[os 2/5] RUN x`, `[2/5] RUN x`, `[internal] load metadata`, `exporting`.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    stage: Option<&'a str>,
    step: usize,
    steps: usize,
    instruction: &'a str,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        let plain = Self { stage: None, step: 0, steps: 0, instruction: name };
        let Some((head, instruction)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
            return plain;
        };
        // Before the stage stands the platform, where a build has several: `[linux/arm64 os 2/5]`.
        let mut words = head.split_whitespace().rev();
        let numbers = words.next().and_then(|word| word.split_once('/'));
        let parsed = numbers.and_then(|(step, steps)| Some((step.parse().ok()?, steps.parse().ok()?)));
        let Some((step, steps)) = parsed else { return plain };
        Self { stage: words.next().filter(|word| !word.contains('/')), step, steps, instruction }
    }
}

/// Finds the exit code in what an engine says of a failed command.
pub(super) fn exit_code(message: &str) -> Option<i64> {
    // Said by BuildKit, by the classic builder ("returned a non-zero code: 1"), and by Podman.
    let keys = ["exit code: ", "non-zero code: ", "exit status "];
    let at = keys.iter().find_map(|key| Some(message.rfind(key)? + key.len()))?;
    let digits = message[at..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
