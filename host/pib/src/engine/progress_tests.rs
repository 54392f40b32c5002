use pib_plan::assemble::{BaseRef, Extras, StageInput, assemble};
use pib_plan::id::{Arch, Digest};

use super::*;

fn plan() -> BuildPlan {
    let stage = |name: &str, text: &str| StageInput {
        name: name.parse().unwrap(),
        version: semver::Version::new(1, 0, 0),
        args: vec![],
        part: pib_plan::part::check("part", text).unwrap(),
        files: vec![],
        native: true,
        recorded: false,
        secrets: vec![],
    };
    let stages = [stage("__init__", "RUN a\n"), stage("set", "ENV X=1\n"), stage("os", "\nRUN b\nRUN c\n")];
    let base = BaseRef::ContainerImage("base:1".to_owned());
    assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &Extras::default()).unwrap()
}

#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<String>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        let text = match event {
            Event::StepStarted { id, .. } => format!("start {id}"),
            Event::StepDetail { id, detail } => format!("detail {id} {detail}"),
            Event::StepFinished { id, cached } => format!("finish {id} {cached}"),
            Event::StepProgress { id, done, total } => format!("progress {id} {done} {total:?}"),
            Event::StepFailed { id } => format!("fail {id}"),
            Event::Log { id, line } => format!("log {id} {line}"),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

fn vertex(name: &str, state: &str) -> Vertex {
    let now = Some(pib_buildkit::status::Timestamp { seconds: 1, nanos: 0 });
    Vertex {
        digest: format!("digest of {name}"),
        name: name.to_owned(),
        cached: state == "cached",
        started: if state == "known" { None } else { now },
        completed: if matches!(state, "known" | "started") { None } else { now },
        error: if state.starts_with("error") { state.to_owned() } else { String::new() },
        ..Vertex::default()
    }
}

fn vertexes(list: &[(&str, &str)]) -> StatusResponse {
    let vertexes = list.iter().map(|(name, state)| vertex(name, state)).collect();
    StatusResponse { vertexes, ..StatusResponse::default() }
}

fn log(name: &str, text: &str) -> StatusResponse {
    let log = VertexLog {
        vertex: format!("digest of {name}"),
        msg: text.as_bytes().to_vec(),
        ..VertexLog::default()
    };
    StatusResponse { logs: vec![log], ..StatusResponse::default() }
}

#[test]
fn a_build_is_told_stage_by_stage() {
    let (plan, recorder) = (plan(), Recorder::default());
    let mut progress = Progress::new(&plan, Mask::default(), &recorder);
    let (from, a) = ("[pib_init 1/2] FROM docker.io/library/base:1", "[pib_init 2/2] RUN a");
    progress.take(vertexes(&[("[internal] load build context", "done"), (from, "known"), (a, "known")]));
    progress.take(vertexes(&[(from, "started"), (from, "done")]));
    progress.take(vertexes(&[(a, "cached"), ("[os 1/2] RUN b", "started")]));
    progress.take(log("[os 1/2] RUN b", "hello\nwor"));
    progress.take(log("[os 1/2] RUN b", "ld"));
    progress.take(vertexes(&[("[os 1/2] RUN b", "done"), ("[os 2/2] RUN c", "cached")]));
    progress.take(vertexes(&[("exporting to image", "done")]));
    progress.finish(None);
    let expected = [
        "start stage:__init__",
        "detail stage:__init__ 1/2 FROM docker.io/library/base:1",
        "finish stage:__init__ true",
        "start stage:os",
        "detail stage:os 1/2 RUN b",
        "log stage:os hello",
        "log stage:os world",
        "finish stage:os false",
        "start build:store",
        "finish build:store false",
        "start stage:set",
        "finish stage:set true",
    ];
    assert_eq!(*recorder.0.lock().unwrap(), expected);
}

#[test]
fn only_many_files_are_worth_a_step() {
    let (plan, recorder) = (plan(), Recorder::default());
    let mut progress = Progress::new(&plan, Mask::default(), &recorder);
    progress.take(vertexes(&[(SENDING, "started")]));
    for megabytes in [1, 9, 20] {
        let status = VertexStatus {
            vertex: format!("digest of {SENDING}"),
            current: megabytes << 20,
            ..VertexStatus::default()
        };
        progress.take(StatusResponse { statuses: vec![status], ..StatusResponse::default() });
    }
    progress.take(vertexes(&[(SENDING, "done")]));
    let expected = [
        "start build:send",
        "progress build:send 9437184 None",
        "progress build:send 20971520 None",
        "finish build:send false",
    ];
    assert_eq!(*recorder.0.lock().unwrap(), expected);
}

#[test]
fn a_failure_names_its_place_and_known_causes() {
    let plan = plan();
    let fail = |output: &str, error: &str| {
        let recorder = Recorder::default();
        let mut progress = Progress::new(&plan, Mask::default(), &recorder);
        progress.take(vertexes(&[("[os 2/2] RUN c", "started")]));
        progress.take(log("[os 2/2] RUN c", output));
        progress.take(vertexes(&[("[other] x", "error: context canceled"), ("[os 2/2] RUN c", error)]));
        let error = progress.failure().unwrap();
        assert_eq!(recorder.0.lock().unwrap().last().map(String::as_str), Some("fail stage:os"));
        error
    };
    match fail("a\nb", "error: executor failed running [/bin/sh -c c]: exit code: 7") {
        EngineError::BuildFailed { stage, line, instruction, exit_code, log_tail, .. } => {
            assert_eq!((stage.as_deref(), line, exit_code), (Some("os"), Some(3), Some(7)));
            assert_eq!((instruction.as_str(), log_tail), ("RUN c", vec!["a".to_owned(), "b".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    let error = fail("", "error: write /x: no space left on device");
    assert!(matches!(error, EngineError::DiskFull { .. }), "{error:?}");
    let error = fail(
        "standard_init_linux.go:228: exec user process caused: exec format error\n",
        "error: exit code: 1",
    );
    assert!(matches!(error, EngineError::Binfmt { .. }), "{error:?}");
    let error = fail("/bin/sh: 1: tool: Exec format error\n", "error: exit code: 126");
    assert!(matches!(error, EngineError::BuildFailed { .. }), "{error:?}");
}

#[test]
fn vertex_names_are_read() {
    let name = |stage, step, steps, instruction| Name { stage, step, steps, instruction };
    assert_eq!(Name::parse("[os 2/5] RUN x] y"), name(Some("os"), 2, 5, "RUN x] y"));
    assert_eq!(Name::parse("[linux/arm64 os 2/5] RUN x"), name(Some("os"), 2, 5, "RUN x"));
    assert_eq!(Name::parse("[linux/arm64 2/5] RUN x"), name(None, 2, 5, "RUN x"));
    assert_eq!(Name::parse("[2/5] RUN x"), name(None, 2, 5, "RUN x"));
    for plain in ["[internal] load build context", "exporting to image", "[", "[x] ", ""] {
        assert_eq!(Name::parse(plain), name(None, 0, 0, plain));
    }
}

#[test]
fn exit_codes_are_found() {
    assert_eq!(exit_code("executor failed running [/bin/sh -c exit 3]: exit code: 3"), Some(3));
    assert_eq!(exit_code("The command '/bin/sh -c false' returned a non-zero code: 137"), Some(137));
    assert_eq!(exit_code("process \"x\" did not complete successfully: exit code: 1"), Some(1));
    assert_eq!(exit_code("building at STEP \"RUN x\": while running runtime: exit status 3"), Some(3));
    assert_eq!(exit_code("failed to compute cache key"), None);
}
