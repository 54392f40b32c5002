//! Reads settings into a type of the hook's own.

use std::fmt;

use serde::de::value::{Error as SerdeError, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::Value;

/// Says why settings do not fit a type.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError(SerdeError);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stage's config does not fit its hook: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

pub(crate) fn read<T: DeserializeOwned>(settings: &[(String, Value)]) -> Result<T, ConfigError> {
    let entries = settings.iter().map(|(key, value)| (key.as_str(), Setting(value)));
    T::deserialize(MapDeserializer::<_, SerdeError>::new(entries)).map_err(ConfigError)
}

struct Setting<'a>(&'a Value);

impl<'de> IntoDeserializer<'de> for Setting<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Setting<'_> {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Text(text) | Value::Secret(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Size(bytes) => visitor.visit_u64(*bytes),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(String::as_str))),
            // The paths as the project names them; where the other path is wanted, `Context::setting` has both.
            Value::Files(files) => {
                visitor.visit_seq(SeqDeserializer::new(files.iter().map(|file| file.path.as_str())))
            }
        }
    }

    // A key without a value is absent, so one that is there is never `None`.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Config {
        max_load: i64,
        names: Vec<String>,
        size: u64,
        absent: Option<String>,
        present: Option<bool>,
    }

    #[test]
    fn settings_become_a_struct() {
        let settings = [
            ("max-load".to_owned(), Value::Integer(24)),
            ("names".to_owned(), Value::List(vec!["a".to_owned()])),
            ("present".to_owned(), Value::Boolean(true)),
            ("size".to_owned(), Value::Size(7)),
        ];
        let expected =
            Config { max_load: 24, names: vec!["a".to_owned()], size: 7, absent: None, present: Some(true) };
        assert_eq!(read(&settings), Ok(expected));
    }

    #[test]
    fn choices_and_newtypes_are_read() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Choice {
            OneThing,
            Other,
        }
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Seconds(u8);
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Config {
            choice: Choice,
            timeout: Seconds,
        }
        let settings = |choice: &str| {
            [("choice".to_owned(), Value::Text(choice.to_owned())), ("timeout".to_owned(), Value::Integer(7))]
        };
        let expected = Config { choice: Choice::OneThing, timeout: Seconds(7) };
        assert_eq!(read(&settings("one-thing")), Ok(expected));
        assert_eq!(read::<Config>(&settings("other")).unwrap().choice, Choice::Other);
        let error = read::<Config>(&settings("third")).unwrap_err().to_string();
        assert!(error.contains("`third`"), "{error}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let error = read::<Config>(&[]).unwrap_err().to_string();
        assert!(error.contains("max-load"), "{error}");
        let settings = [("max-load".to_owned(), Value::Text("x".to_owned()))];
        let error = read::<Config>(&settings).unwrap_err().to_string();
        assert!(error.contains("string \"x\", expected i64"), "{error}");
    }
}
