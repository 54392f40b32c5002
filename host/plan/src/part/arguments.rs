//! Reads an instruction's arguments as words, and tells at its place what is none.

use std::ops::Range;

use super::instructions::Instruction;
use super::lines::Fault;
use crate::dockerfile::{Template, TemplateFault, is_plain_command};

impl Instruction {
    /// Reads a word, which stands at this place of the arguments.
    pub(super) fn word(&self, text: &str, place: &Range<usize>) -> Result<Template, Fault> {
        Template::parse(text).map_err(|TemplateFault { at, what, help }| {
            // A word of a list stands there with escapes of its own.
            let exact = place.len() == text.len();
            let at = if exact { place.start + at.start..place.start + at.end } else { place.clone() };
            Fault::new(self.arguments.span(at), what, "here", help)
        })
    }

    /// Reads all arguments as one word.
    pub(super) fn whole_word(&self) -> Result<Template, Fault> {
        self.word(&self.arguments.text, &(0..self.arguments.text.len()))
    }

    /// Reads arguments as words that need no quotes.
    pub(super) fn bare_words(&self) -> Result<Vec<Template>, Fault> {
        let read = |place: Range<usize>| {
            let word = self.word(&self.arguments.text[place.clone()], &place)?;
            match word.bare() {
                bare if bare.starts_with('"') => {
                    let what = format!(
                        "has a {} with quotes or other characters that are no part of it",
                        self.keyword
                    );
                    let help = format!("Write {} 80/tcp.", self.keyword);
                    Err(Fault::new(self.arguments.span(place), what, "this word", help))
                }
                _ => Ok(word),
            }
        };
        self.arguments.plain_words().into_iter().map(read).collect()
    }

    /// Returns arguments that every engine takes as they are.
    pub(super) fn plain_text(&self) -> Result<String, Fault> {
        if is_plain_command(&self.arguments.text) {
            return Ok(self.arguments.text.clone());
        }
        let what = format!("has a {} whose text engines do not read alike", self.keyword);
        let help = "Write a LABEL instead.";
        Err(Fault::new(self.at.clone(), what, "this instruction", help))
    }
}
