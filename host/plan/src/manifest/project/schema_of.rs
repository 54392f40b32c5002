//! The JSON schemas of what `schema` reads with code of its own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::schema::{StageSchema, StageTable, Stages, TargetStage};

impl<T: JsonSchema> JsonSchema for Stages<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Stages_of_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

impl JsonSchema for StageSchema {
    fn schema_name() -> Cow<'static, str> {
        "StageRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<StageTable>()] })
    }
}

impl JsonSchema for TargetStage {
    fn schema_name() -> Cow<'static, str> {
        "TargetStage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "const": false }, { "type": "string" }, generator.subschema_for::<StageTable>()],
        })
    }
}
