//! The rows of `[order]` and `[variables]` of `pib.toml`.

use super::Effect::{From, Nothing, Refused};
use super::sample::Sample;
use super::{Effect, Row};

fn set(field: &'static str, path: &'static str, value: &'static str, effect: Effect) -> Row {
    Row::new(field, effect, move |sample| sample.set("pib.toml", path, value))
}

fn of_target(field: &'static str, path: &'static str, value: &'static str, effect: Effect) -> Row {
    set(field, path, value, effect).start(|sample| sample.target = true)
}

/// An order of a project that no other row has: orders that are the same give the same image.
fn ordered(field: &'static str, path: &'static str, value: &'static str, effect: Effect) -> Row {
    set(field, path, value, effect).start(|sample| sample.set("pib.toml", "project.hostname", "\"ordered\""))
}

/// A stage without a manifest, which names variables.
fn with_bare_stage(sample: &mut Sample) {
    sample.write("stages/plain/Dockerfile.part", "RUN echo $EDITION $BOARD\nCOPY stages/plain/run /run\n");
    sample.write("stages/plain/run", "echo $SITE\n");
    sample.set("pib.toml", "stages.plain", "{ path = \"stages/plain\" }");
    sample.set("pib.toml", "variables.EDITION", "\"one\"");
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        ordered("pib.toml: order.list", "order.list", "[\"late\", \"early\"]", From("late")),
        set("pib.toml: order.list", "order.list", "[\"early\", \"facts\"]", Nothing("they come so anyway")),
        set("pib.toml: order.list", "order.list", "[\"early\", \"early\"]", Refused("is twice")),
        ordered(
            "pib.toml: order.stages.*.after",
            "order.stages.early",
            "{ after = [\"late\"] }",
            From("facts"),
        ),
        set(
            "pib.toml: order.stages.*.after",
            "order.stages.early",
            "{ after = [\"__cleanup__\"] }",
            Refused("phases"),
        ),
        ordered(
            "pib.toml: order.stages.*.before",
            "order.stages.late",
            "{ before = [\"facts\"] }",
            From("late"),
        ),
        of_target("pib.toml: target.*.order.list", "target.kiosk.order.list", "[\"facts\"]", From("facts")),
        of_target(
            "pib.toml: target.*.order.stages.*.after",
            "target.kiosk.order.stages.early",
            "{ after = [\"late\"] }",
            From("facts"),
        ),
        of_target(
            "pib.toml: target.*.order.stages.*.before",
            "target.kiosk.order.stages.late",
            "{ before = [\"facts\"] }",
            From("late"),
        ),
    ];
    rows.extend([
        set("pib.toml: variables", "variables.EDITION", "\"two\"", From("plain")).start(with_bare_stage),
        set("pib.toml: variables", "variables.SITE", "\"here\"", From("plain")).start(with_bare_stage),
        set("pib.toml: variables", "variables.BOARD", "\"mine\"", From("plain")).start(with_bare_stage),
        set("pib.toml: variables", "variables.LEVEL", "\"7\"", Nothing("only bare stages see it")),
        set("pib.toml: variables", "variables.OTHER", "\"x\"", Nothing("no stage names it"))
            .start(with_bare_stage),
        set("pib.toml: variables", "variables.OTHER", "\"x\\ny\"", Refused("line break")),
        set("pib.toml: target.*.variables", "target.kiosk.variables.EDITION", "\"two\"", From("plain"))
            .start(|sample| {
                with_bare_stage(sample);
                sample.target = true;
            }),
    ]);
    rows
}
